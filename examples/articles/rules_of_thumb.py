"""Rules of thumb on the memory of a network: each by theory, by a real step, and how wrong it is.

    python examples/articles/rules_of_thumb.py

VGG16 of torchvision at 224x224, as in the table of the course CS231n. The theory allocates nothing;
the real step, which it is held against, takes 2.5 GB and some seconds.
"""

from __future__ import annotations

import torch
from torchvision.models import vgg16

import timeline
from timeline.theory.types import Breakdown
from timeline.units import MB, format_bytes

BATCH = 16
MEASURED_BATCH = 2
IMAGE = 3 * 224 * 224


def told(optimizer: str, batch: int = BATCH) -> Breakdown:
    return timeline.breakdown(vgg16, optimizer, (3, 224, 224), batch=batch)


def off(rule: float, truth: float) -> str:
    """By how much a rule is wrong, of the truth."""
    return f"{100 * (rule / truth - 1):+.2f} %"


def table() -> None:
    one = timeline.breakdown(vgg16, inputs=(3, 224, 224), train=False)
    print("VGG16, one image: numbers of output and weights by layer, as in CS231n")
    rows = [each for each in one.layers if each.kind in ("Conv2d", "MaxPool2d", "Linear")]
    numbers, weights = IMAGE, 0
    print(f"  {'image':10}{'3x224x224':14}{IMAGE:>11,}{0:>13,}")
    for each in rows:
        shape = "x".join(map(str, each.output_shape[1:]))
        biases = each.output_shape[1] if each.parameters else 0
        numbers += each.output_bytes // 4
        weights += each.parameters - biases
        row = f"{each.output_bytes // 4:>11,}{each.parameters - biases:>13,}"
        print(f"  {each.kind:10}{shape:14}{row}")
    print(f"  138M parameters: {weights:,} and {one.parameters - weights:,} biases that the table")
    print(
        f"    leaves out, {format_bytes(one.categories['parameter'])}; {off(138e6, one.parameters)}"
    )
    print("  24M numbers, 93 MB an image: the rows of that table, of which the first is the image")
    print(f"    of {IMAGE:,} itself, add up to {numbers:,}, which are {numbers * 4 / MB:.1f} MB;")
    print(f"    {off(24e6, numbers)}")
    print()


def states() -> None:
    parameter = told("sgd").categories["parameter"]
    for rule, optimizer, copies in (
        ("SGD keeps nothing", "sgd", 0),
        ("SGD with momentum keeps one copy of the parameters", "sgd,momentum=0.9", 1),
        ("Adam keeps two copies of the parameters", "adam", 2),
        ("Adam with amsgrad keeps two copies", "adam,amsgrad=true", 2),
    ):
        state = told(optimizer).categories["optimizer_state"]
        wrong = state - copies * parameter
        how = f", {off(copies * parameter, state)}" if wrong else ""
        print(f"{rule}: {format_bytes(state)}, {wrong:,} B more than the rule says{how}")
    print("  Adam counts its steps for each tensor, 4 B; amsgrad has a third copy.")
    print()


def backward() -> None:
    """The rule says that backward needs as much again as forward has kept."""
    sgd = told("sgd")
    kept = sgd.categories["activation"]
    at_peak = sgd.peak.categories
    beyond = at_peak["activation"] + at_peak["temporary"]
    print("Backward doubles what forward keeps.")
    print(
        f"  Of {BATCH} images forward keeps {format_bytes(kept)}. At the peak, in {sgd.peak.phase},"
    )
    times = beyond / kept
    print(f"  {format_bytes(beyond)} are saved or on their way back: {times:.2f} times as much,")
    print("  since what is saved goes while gradients come;")
    print(f"  the rule is wrong by {off(2, times)}.")
    gradients = format_bytes(at_peak["gradient"])
    print(f"  Beside them stand gradients of parameters, {gradients} by then: they do not grow")
    print("  with the batch, so that no factor on activations tells of them.")
    wrong = off(sgd.outputs_bytes, kept)
    print(f"A network keeps the outputs of its layers, {format_bytes(sgd.outputs_bytes)}.")
    print(f"  It keeps {format_bytes(kept)}, so that the rule is wrong by {wrong}: a")
    print("  ReLU in place has no output of its own, and a max-pooling saves indices of 8 bytes.")
    print()


def real() -> None:
    """A step with momentum, by torch's own allocator."""
    model = vgg16()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    images = torch.zeros(MEASURED_BATCH, 3, 224, 224)
    saved: dict[int, int] = {}
    own = {p.untyped_storage().data_ptr() for p in (*model.parameters(), images)}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(images).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    state = [kept["momentum_buffer"] for kept in optimizer.state.values()]
    standing = [*model.parameters(), *model.buffers(), images, *state]
    stands = sum(each.untyped_storage().nbytes() for each in standing)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        model(images).sum().backward()
        optimizer.step()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda each: each.start_ns()):
        now += event.nbytes()
        most = max(most, now)

    by_theory = told("sgd,momentum=0.9", MEASURED_BATCH)
    print(f"A real step of {MEASURED_BATCH} images with momentum beside the theory")
    for name, estimate, measured in (
        ("kept by forward", by_theory.categories["activation"], sum(saved.values())),
        ("optimizer state", by_theory.categories["optimizer_state"],
         sum(each.untyped_storage().nbytes() for each in state)),
        ("peak of the step", by_theory.peak.bytes, stands + most),
    ):  # fmt: skip
        print(
            f"  {name:18}{format_bytes(estimate):>10} by theory {format_bytes(measured):>10} "
            f"measured, {off(estimate, measured)}"
        )


def main() -> None:
    table()
    states()
    backward()
    real()


if __name__ == "__main__":
    main()
