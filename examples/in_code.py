"""Record from inside the code: `@record` around the training, `phase` and `mark` where it matters.

Run it with plain ``python examples/in_code.py``: the recording and its charts are made when
``train`` returns. Under ``python -m timeline examples/in_code.py`` the same marks become part of
that recording, and without ``@record`` they cost nothing.
"""

import torch
from torch import nn

from timeline import mark, phase, record


class SmallCNN(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
        )
        self.classify = nn.Linear(64 * 4 * 4, classes)

    def forward(self, images):
        return self.classify(self.features(images).flatten(1))


def make_batches(count, batch_size=64):
    with phase("make batches"):
        torch.manual_seed(0)
        images = torch.randn(count, batch_size, 3, 32, 32)
        labels = images.mean(dim=(2, 3, 4)).mul(1000).long().remainder(10)
        return list(zip(images, labels, strict=True))


@record
def train(epochs=3):
    batches = make_batches(20)
    model = SmallCNN()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loss_of = nn.CrossEntropyLoss()
    for epoch in range(epochs):
        if epoch == 1:
            # As one does in fine-tuning: from here on the first layers stay as they are.
            mark("features frozen")
            model.features.requires_grad_(False)
        with phase(f"epoch {epoch + 1}"):
            for images, labels in batches:
                optimizer.zero_grad()
                loss = loss_of(model(images), labels)
                loss.backward()
                optimizer.step()
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}")
    return model


if __name__ == "__main__":
    train()
