"""Small sums on memory, each beside what torch really takes: units, dtypes, one layer.

    python examples/articles/units_and_small_layers.py

A megabyte (MB) has 1,000,000 bytes and a mebibyte (MiB) 1,048,576: 4.9 % more.
"""

from __future__ import annotations

import torch
from torch import nn

import timeline
from timeline.units import MB, MiB, format_bytes

DTYPES = (
    torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64,
)  # fmt: skip


def in_both(size: int) -> str:
    return f"{size:>12,} B = {size / MB:.10g} MB = {size / MiB:.10g} MiB"


def tensors() -> None:
    print("One image and one batch in float32: numel() times 4")
    for name, sizes in (("RGB, 500x500", (3, 500, 500)), ("256 of 3x100x100", (256, 3, 100, 100))):
        by_theory = timeline.breakdown(nn.Identity(), inputs=sizes, train=False)
        real = torch.zeros(sizes).untyped_storage().nbytes()
        assert by_theory.categories["input"] == real
        print(f"  {name:18}{in_both(real)}")
    print("  The batch is often given as 31 MB. It is 30.72 MB: rounded up by 0.9 %.")


def dtypes() -> None:
    print("A million numbers, by dtype")
    for each in DTYPES:
        name = str(each).removeprefix("torch.")
        by_theory = timeline.breakdown(nn.Identity(), inputs=f"1000x1000:{name}", train=False)
        real = torch.zeros(1000, 1000, dtype=each).untyped_storage().nbytes()
        assert by_theory.categories["input"] == real
        print(f"  {name:10}{each.itemsize} B each {in_both(real)}")


def one_layer() -> None:
    print("A fully connected layer of 100 to 50, for one sample")
    print("  bias  activation  parameters  weights  gradients  outputs  saved")
    for bias in (True, False):
        for activation in (None, nn.ReLU()):
            layers = [nn.Linear(100, 50, bias=bias), *([activation] if activation else [])]
            model = nn.Sequential(*layers)
            told = timeline.breakdown(model, inputs=(100,))
            sizes = told.categories
            assert sizes["parameter"] == sum(
                p.untyped_storage().nbytes() for p in model.parameters()
            )
            print(
                f"  {'with' if bias else 'none':6}{'ReLU' if activation else 'none':10}"
                f"{told.parameters:>12,}{sizes['parameter']:>7,} B{sizes['gradient']:>9,} B"
                f"{told.outputs_bytes:>7,} B{sizes['activation']:>5,} B"
            )
    print("  The activation has no parameters, but an output of its own, which it saves; the layer")
    print("  itself saves its input alone, which is the network's and counts there.")


def main() -> None:
    tensors()
    print()
    dtypes()
    print()
    one_layer()
    print()
    print(
        f"Four bytes a number are a habit, not a rule: {format_bytes(4 * 10**9)} or "
        f"{format_bytes(2 * 10**9)} for 10^9 numbers in float32 or bfloat16."
    )


if __name__ == "__main__":
    main()
