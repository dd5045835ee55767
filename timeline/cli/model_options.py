"""The options that say what model is meant and what is done with it, alike in every verb."""

from __future__ import annotations

import argparse

from timeline.errors import UsageError

NAMES = ("input", "batch", "dtype", "optimizer", "precision", "loss", "inference")


def add(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Let a verb's parser, or a group of it, take them."""
    parser.add_argument(
        "--input",
        metavar="SIZES",
        action="append",
        default=[],
        help="sizes of an input without the batch, such as 3x224x224, 128:int64 or "
        "input_ids=128:int64; may be given several times",
    )
    parser.add_argument("--batch", metavar="N", type=int, help="size of the batch; 1 if left out")
    parser.add_argument("--dtype", help="what the model is cast to, such as bf16")
    parser.add_argument(
        "--optimizer", metavar="NAME[,OPTION=VALUE...]", help="such as adam or sgd,momentum=0.9"
    )
    parser.add_argument(
        "--precision", choices=("fp32", "bf16", "fp16"), help="bf16 and fp16 are autocast"
    )
    parser.add_argument(
        "--loss", choices=("sum", "cross_entropy"), default="sum", help="by default sum"
    )
    parser.add_argument(
        "--inference", action="store_true", help="one inference, not a training step"
    )


def at_least(options: argparse.Namespace, **least: int) -> None:
    """Refuse a number below its least; one that was left out is none.

    Raises:
        UsageError: a number is too small.
    """
    for name, smallest in least.items():
        value = getattr(options, name)
        if value is not None and value < smallest:
            raise UsageError(f"--{name} {value} cannot be: give {smallest} or more")
