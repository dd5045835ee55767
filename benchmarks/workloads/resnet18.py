"""ResNet-18 trained on random 3x64x64 images: large operations, a few marks a second."""

import sys
import time

from witness import Witness, take_turns


def main(steps, in_turns=False, warm_up=3, batch_size=32):
    witness = Witness()
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset
    from torchvision.models import resnet18

    torch.manual_seed(0)
    count = (steps + warm_up) * batch_size
    images = torch.randn(256, 3, 64, 64).repeat(-(-count // 256), 1, 1, 1)[:count]
    loader = DataLoader(TensorDataset(images, torch.randint(10, (count,))), batch_size)
    model = resnet18(weights=None, num_classes=10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    loss_of = nn.CrossEntropyLoss()

    def step(batch, labels):
        optimizer.zero_grad()
        loss = loss_of(model(batch), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    batches = iter(loader)
    for _ in range(warm_up):
        step(*next(batches))
    witness.memory("warm")
    if in_turns:
        return take_turns(lambda: step(*next(batches)))
    took = []
    with witness.loop(steps):
        for batch, labels in batches:
            began = time.monotonic_ns()
            step(batch, labels)
            took.append(time.monotonic_ns() - began)
    witness.close(step_ns=sorted(took)[len(took) // 2])


if __name__ == "__main__":
    main(int(sys.argv[1]), in_turns=sys.argv[2:] == ["--turns"])
