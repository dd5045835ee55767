"""Train ResNet-18 on scikit-learn's handwritten digits: a training script as people write them.

It knows nothing of timeline. The digits (1797 images of 8x8) come with scikit-learn, so nothing is
downloaded; they are brought to 3x64x64.
"""

import argparse
import time

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision.models import resnet18


class Digits(Dataset):
    """The digits as images of 3x64x64, and their labels."""

    def __init__(self, size=64):
        digits = load_digits()
        self.images = torch.tensor(digits.images, dtype=torch.float32) / 16.0
        self.labels = torch.tensor(digits.target, dtype=torch.long)
        self.size = size

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        image = self.images[index].expand(1, 3, 8, 8)
        image = nn.functional.interpolate(image, size=self.size, mode="bilinear")
        return (image[0] - 0.3) / 0.35, self.labels[index]


def make_optimizer(name, parameters):
    if name == "adamw":
        return torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.01)
    return torch.optim.SGD(parameters, lr=0.02, momentum=0.9, weight_decay=5e-4)


def train(model, loader, loss_of, optimizer, limit):
    """Train for one epoch of at most that many steps. Returns the steps and the mean loss."""
    model.train()
    total = 0.0
    steps = 0
    for images, labels in loader:
        if steps == limit:
            break
        optimizer.zero_grad()
        loss = loss_of(model(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item()
        steps += 1
    return steps, total / max(steps, 1)


@torch.no_grad()
def evaluate(model, loader):
    """The share of the images that the model names right."""
    model.eval()
    right = seen = 0
    for images, labels in loader:
        right += (model(images).argmax(dim=1) == labels).sum().item()
        seen += len(labels)
    return right / seen


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--optimizer", choices=["sgd", "adamw"], default="sgd")
    parser.add_argument("--steps", type=int, default=-1, help="at most so many steps an epoch")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    digits = Digits()
    order = torch.randperm(len(digits)).tolist()
    train_loader = DataLoader(Subset(digits, order[300:]), args.batch_size, shuffle=True)
    test_loader = DataLoader(Subset(digits, order[:300]), args.batch_size)

    model = resnet18(weights=None, num_classes=10)
    loss_of = nn.CrossEntropyLoss()
    optimizer = make_optimizer(args.optimizer, model.parameters())

    for epoch in range(1, args.epochs + 1):
        started = time.perf_counter()
        steps, loss = train(model, train_loader, loss_of, optimizer, args.steps)
        took = time.perf_counter() - started
        print(f"epoch {epoch}: {steps} steps in {took:.1f} s, mean loss {loss:.4f}", flush=True)
    print(
        f"accuracy on {len(test_loader.dataset)} unseen digits: {evaluate(model, test_loader):.1%}"
    )


if __name__ == "__main__":
    main()
