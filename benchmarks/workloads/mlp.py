"""A small MLP on one thread, a step in about 0.3 ms: all dispatch, thousands of marks a second."""

import sys
import time

from witness import Witness, take_turns


def main(steps, in_turns=False, warm_up=500):
    witness = Witness()
    import torch
    from torch import nn

    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = nn.Sequential(
        nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loss_of = nn.CrossEntropyLoss()
    batch, labels = torch.randn(64, 64), torch.randint(10, (64,))

    def step():
        optimizer.zero_grad()
        loss = loss_of(model(batch), labels)
        loss.backward()
        optimizer.step()

    for _ in range(warm_up):
        step()
    witness.memory("warm")
    if in_turns:
        return take_turns(step)
    took = []
    with witness.loop(steps):
        for _ in range(steps):
            began = time.monotonic_ns()
            step()
            took.append(time.monotonic_ns() - began)
    witness.close(step_ns=sorted(took)[len(took) // 2])


if __name__ == "__main__":
    main(int(sys.argv[1]), in_turns=sys.argv[2:] == ["--turns"])
