"""Tensors as torch made them before they had a device: ``torch.cuda.FloatTensor`` and its like."""

from __future__ import annotations

from typing import Any

import torch

from timeline.theory.script.split import Split

_KINDS = {
    "Float": torch.float32, "Double": torch.float64, "Half": torch.float16,
    "BFloat16": torch.bfloat16, "Byte": torch.uint8, "Char": torch.int8, "Short": torch.int16,
    "Int": torch.int32, "Long": torch.int64, "Bool": torch.bool,
}  # fmt: skip


class _OnCard(type):
    """Of the classes that stand for those of the card: a call makes a tensor there."""

    dtype: torch.dtype
    is_card: Any

    def __call__(cls, *words: Any, **options: Any) -> torch.Tensor:
        if words and not isinstance(words[0], int | torch.Size):
            return torch.as_tensor(words[0], dtype=cls.dtype, device="cuda")
        sizes = words[0] if words and isinstance(words[0], torch.Size) else words or (0,)
        return torch.empty(sizes, dtype=cls.dtype, device="cuda")

    def __instancecheck__(cls, each: object) -> bool:
        return isinstance(each, torch.Tensor) and each.dtype is cls.dtype and cls.is_card(each)


def put_on(split: Split) -> None:
    """Let a script make tensors by these classes, and ask by them."""
    cuda: Any = torch.cuda
    tensor: Any = torch.Tensor
    names = {}
    for kind, dtype in _KINDS.items():
        name = f"{kind}Tensor"
        made = _OnCard(name, (), {"dtype": dtype, "is_card": staticmethod(split.on_card)})
        setattr(cuda, name, made)
        names[f"torch.cuda.{name}"] = made
    real_type, real_default, real_new = (
        tensor.type,
        torch.set_default_tensor_type,
        tensor.new_tensor,
    )

    def type_(each: Any, dtype: Any = None, *args: Any, **kwargs: Any) -> Any:
        dtype = names.get(dtype, dtype)
        if isinstance(dtype, _OnCard):
            return each.to("cuda", dtype.dtype)
        told = real_type(each) if dtype is None else real_type(each, dtype, *args, **kwargs)
        # Twice: torch looks its own methods up by name where a mode is open.
        if isinstance(told, str) and split.on_card(each) and ".cuda." not in told:
            return told.replace("torch.", "torch.cuda.", 1)
        return told

    def default(kind: Any) -> None:
        kind = names.get(kind, kind)
        if isinstance(kind, _OnCard):
            torch.set_default_dtype(kind.dtype)
            torch.set_default_device("cuda")
        else:
            real_default(kind)

    def new_tensor(each: Any, content: Any, *, dtype: Any = None, device: Any = None,
                   requires_grad: bool = False) -> torch.Tensor:  # fmt: skip
        if not split.on_card(each):
            return real_new(each, content, dtype=dtype, device=device, requires_grad=requires_grad)
        made = torch.tensor(content, dtype=dtype or each.dtype, device=device or each.device)
        return made.requires_grad_(requires_grad)

    def new(each: Any, *words: Any, **options: Any) -> torch.Tensor:
        if words and not isinstance(words[0], int | torch.Size):
            return new_tensor(each, words[0])
        return each.new_empty(words[0] if words and isinstance(words[0], torch.Size) else words)

    tensor.type, tensor.new_tensor, tensor.new = type_, new_tensor, new
    torch.set_default_tensor_type = default
