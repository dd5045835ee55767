"""A tensor in a few characters: ``f32[16,64,56,56]``, as compilers of tensors write it."""

from __future__ import annotations

from collections.abc import Sequence

_SHORT = {
    "float64": "f64", "float32": "f32", "float16": "f16", "bfloat16": "bf16", "int64": "i64",
    "int32": "i32", "int16": "i16", "int8": "i8", "uint64": "u64", "uint32": "u32",
    "uint16": "u16", "uint8": "u8", "complex128": "c128", "complex64": "c64",
}  # fmt: skip
"""Of what is common; other dtypes have their names."""


def tensor(shape: Sequence[int] | None, dtype: str | None, between: str = ",") -> str:
    """The dtype and shape of a tensor; nothing where there is no shape."""
    if shape is None:
        return ""
    return f"{_SHORT.get(dtype or '', dtype or '')}[{between.join(map(str, shape))}]"
