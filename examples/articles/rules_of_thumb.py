"""Four rules of thumb on the memory of a network, and by how much they are wrong.

    python examples/articles/rules_of_thumb.py

VGG16 of torchvision at 224x224, as in the table of the course CS231n. Nothing is allocated.
"""

from __future__ import annotations

from torchvision.models import vgg16

import timeline
from timeline.theory.types import Breakdown
from timeline.units import MB, format_bytes

BATCH = 8


def told(optimizer: str | None, *, train: bool = True) -> Breakdown:
    return timeline.breakdown(vgg16, optimizer, (3, 224, 224), batch=BATCH, train=train)


def main() -> None:
    one = timeline.breakdown(vgg16, inputs=(3, 224, 224), train=False)
    print("VGG16, one image: output and weights by layer")
    for each in one.layers:
        if each.kind in ("Conv2d", "MaxPool2d", "Linear"):
            shape = "x".join(map(str, each.output_shape[1:]))
            numbers = each.output_bytes // 4
            print(f"  {each.kind:10}{shape:14}{numbers:>11,}{each.parameters:>13,}")
    print(f"  {one.parameters:,} parameters, {format_bytes(one.categories['parameter'])}")
    print()

    sgd = told("sgd")
    parameter = sgd.categories["parameter"]
    for rule, optimizer, copies in (
        ("SGD keeps nothing", "sgd", 0),
        ("SGD with momentum keeps one copy of the parameters", "sgd,momentum=0.9", 1),
        ("Adam keeps two copies of the parameters", "adam", 2),
    ):
        state = told(optimizer).categories["optimizer_state"]
        wrong = state - copies * parameter
        print(f"{rule}: {format_bytes(state)}, {wrong} B more than the rule says")

    forward, at_peak = sgd.categories["activation"], sgd.peak.categories
    beyond = at_peak["activation"] + at_peak["temporary"]
    print(f"Backward doubles what forward keeps: forward keeps {format_bytes(forward)}.")
    print(
        f"  At the peak, in {sgd.peak.phase}, {format_bytes(beyond)} are saved or on their way "
        f"back, {beyond / forward:.2f} times as much,"
    )
    print(f"  beside {format_bytes(at_peak['gradient'])} of gradients of the parameters.")
    print(
        f"A network keeps the outputs of its layers: those are {format_bytes(sgd.outputs_bytes)},"
    )
    print(
        f"  and it saves {format_bytes(forward)}: a ReLU in place has no output of its own, and a"
    )
    print("  max-pooling saves indices of 8 bytes.")
    print(
        f"One image of 500x500 in float32 is {3 * 500 * 500 * 4 / MB:g} MB, which are "
        f"{format_bytes(3 * 500 * 500 * 4)}"
    )


if __name__ == "__main__":
    main()
