"""Tensors in a few characters."""

from __future__ import annotations

import pytest

from timeline.recording.anatomy import WeighedLayer
from timeline.views.page.anatomy import _layer
from timeline.views.tensors import tensor


@pytest.mark.parametrize(
    ("shape", "dtype", "text"),
    [
        ((16, 64, 56, 56), "float32", "f32[16,64,56,56]"),
        ((2, 3), "bfloat16", "bf16[2,3]"),
        ((), "int64", "i64[]"),
        ((4,), "bool", "bool[4]"),
        ((4,), "float8_e4m3fn", "float8_e4m3fn[4]"),
        ((4, 5), None, "[4,5]"),
        (None, None, ""),
    ],
)
def test_dtype_and_shape_stand_together(shape, dtype, text):
    assert tensor(shape, dtype) == text


def test_the_page_has_the_dtype_of_each_output_and_escapes_it():
    row = WeighedLayer("conv", "Conv2d", 10, 40, 0, 40, 7, (2, 3), "float32", 24, 1)
    assert '<td data-value="24">f32[2, 3]</td>' in _layer(row, 0)
    hostile = WeighedLayer("conv", "Conv2d", 10, 40, 0, 40, 7, (2,), "<b>", 24, 1)
    assert "<b>" not in _layer(hostile, 0)
