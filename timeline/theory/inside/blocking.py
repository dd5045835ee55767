"""How oneDNN cuts a product of bfloat16 into blocks, and what it holds for one block a thread.

Sizes and search are those of brgemm_matmul_utils.cpp in oneDNN (src/cpu/x64/matmul) for x86 with
AVX-512 and without AMX: for each thread a block of the left matrix where it is turned, one of the
right, and one of the result in 32 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

WIDE = 64
"""Columns in a block."""

_PAIRS = 32
"""Rows of the right matrix go together in pairs, 16 pairs at a time."""

_SLACK = 128
"""What each buffer may be moved by, to begin at a whole cache line."""

_ADDRESSES = 16 * 40
"""Addresses of a thread's blocks."""


@dataclass(frozen=True, slots=True)
class Product:
    """A product of ``batch`` matrices: (rows, length) times (length, columns)."""

    rows: int
    columns: int
    length: int
    batch: int = 1
    turned: bool = False
    """The numbers of a row of the left matrix are not next to each other."""

    @property
    def copies_left(self) -> bool:
        """Whether blocks of the left matrix are copied: turned, or rows that fight for a cache."""
        far = self.length >= 4096 and _power_of_two(self.length)
        return (self.turned and self.rows > 1) or (far and self.rows >= 1024)

    @property
    def step(self) -> int:
        """As much of the length as is summed at once."""
        extended = self.length > 1024 and not self.turned
        return min(self.length, 1024 if extended else 512)


@lru_cache(maxsize=4096)
def scratch(product: Product, threads: int) -> int:
    """The bytes that oneDNN holds while it multiplies."""
    rows, together, sharing = _blocks(product, threads)
    step, columns = product.step, min(WIDE, product.columns)
    buffers = [_ADDRESSES, 2 * _up(columns, WIDE) * _up(step, _PAIRS)]
    if product.copies_left:
        row = _up(step, _PAIRS)
        row += _PAIRS if row >= 512 and _power_of_two(row) else 0
        buffers.append(2 * rows * row)
    if sharing > 1:
        buffers.append(4 * product.columns * product.rows)
    else:
        buffers.append(4 * columns * rows * (together if step < product.length else 1))
    return sum(threads * each + _SLACK for each in buffers)


def _blocks(product: Product, threads: int) -> tuple[int, int, int]:
    """Rows in a block, blocks of columns that go together, and threads that share the length."""
    most = min(256, product.rows)
    chunks = -(-product.columns // WIDE)
    few = threads > product.batch * chunks
    least = min(16 if few else 32, product.rows)
    split = few and product.batch == 1 and product.turned
    split = split and product.length >= 2048 and _power_of_two(product.length)
    start = min(threads, 4) if split else 1
    best, chosen = 1.0, (least, 1, 1)
    for sharing in range(start, 0, -1):
        found = False
        for together in range(min(16, chunks) if product.copies_left else 1, 0, -1):
            for rows, parts in _cuts(product.rows, most, least):
                work = product.batch * parts * -(-chunks // together)
                group = threads // sharing
                if start == 1 and work < group * 3 and work % group:
                    continue
                uneven = _imbalance(product, threads, rows, together, sharing)
                if uneven < best:
                    best, chosen, found = uneven, (rows, together, sharing), True
        if not found:
            uneven = _imbalance(product, threads, least, 1, sharing)
            if uneven < best:
                best, chosen = uneven, (least, 1, sharing)
    return chosen


def _cuts(rows: int, most: int, least: int) -> Iterator[tuple[int, int]]:
    for each in range(most, least - 1, -1):
        yield each, -(-rows // each)


def _imbalance(product: Product, threads: int, rows: int, together: int, sharing: int) -> float:
    """How unevenly work is shared so: the mean of five parts, of which the least wins."""
    chunks = -(-product.columns // WIDE)
    groups = -(-chunks // together)
    cuts = -(-product.rows // rows)
    team = threads // sharing
    parts = (
        _left_over(cuts * groups * product.batch, team),
        (rows * cuts) % product.rows / product.rows,
        (groups * together - chunks) / chunks,
        (threads - team * sharing) / threads,
        _left_over(product.length, sharing * product.step),
    )
    return round(sum(parts) / 5, 6)  # of single precision there


def _left_over(work: int, block: int) -> float:
    rest = work % block
    return (block - rest if work < block else min(block - rest, rest)) / block


def _up(number: int, step: int) -> int:
    return -(-number // step) * step


def _power_of_two(number: int) -> bool:
    return number & (number - 1) == 0
