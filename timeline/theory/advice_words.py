"""Words of advice that are the same for a breakdown and for a recording."""

from __future__ import annotations

INFERENCE = "for predictions only, not for training: eval() and torch.inference_mode()"
INFERENCE_COSTS = "the training itself"


def smaller_batch(size: int, *, train: bool, normalised: bool, gathered: int = 1) -> str:
    """Half the batch, and whether the same gradients can be had with it.

    A mean over half as many is twice as large a part of the sum of two.

    Args:
        size: of the batch as it is, at least 2.
        train: whether there are gradients.
        normalised: whether a layer in training normalises by its batch.
        gathered: how many batches an optimizer's step adds up as it is.
    """
    half = size // 2
    several = gathered > 1
    text = f"{'micro-batches' if several else 'a batch'} of {half} instead of {size}"
    if not train or size % 2:
        return text
    many = f"{2 * gathered} instead of {gathered} of them" if several else "two of them"
    unless = ", except through batch normalisation" if normalised else ""
    return (
        f"{text}; {many} before each optimizer step, a mean loss halved, give the same gradients"
        f"{unless}"
    )
