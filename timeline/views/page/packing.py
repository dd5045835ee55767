"""Columns of integers as text that a browser unpacks to the very same integers.

Neighbours differ little, so a column is stored as differences; these are split into byte planes
(all lowest bytes, then all next ones), since the high bytes are nearly all zero and deflate finds
that; base64 makes it text. The other half is ``assets/unpack.js``. A million readings of training
take 5 to 8 MB.
"""

from __future__ import annotations

import base64
import zlib
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from timeline.recording.types import Ints

LARGEST = 2**53
"""Up to here a number of JavaScript is an exact integer: 8 PiB, or 104 days in nanoseconds."""


class Packed(TypedDict):
    """Where a column lies and how to unpack it.

    ``pack`` is the number of the text, ``n`` the rows, ``planes`` the bytes a row, and ``sum`` says
    that the rows are differences.
    """

    pack: int
    n: int
    planes: int
    sum: bool


class Packer:
    """Packs columns, and keeps their texts in the order of their numbers."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def pack(self, column: Ints | NDArray[np.bool_], *, differences: bool = False) -> Packed:
        """Pack one column.

        Args:
            column: [n]; the magnitudes are under `LARGEST`, or lose their last bits in the browser.
            differences: whether neighbours are close, as in times and sizes.
        """
        values = column.astype(np.int64)
        if differences:
            values = np.diff(values, prepend=np.int64(0))
        # Zigzag: 0, -1, 1, -2 become 0, 1, 2, 3, so that small negative rows have small bytes too.
        folded = ((values << 1) ^ (values >> 63)).view(np.uint64)
        planes = max((int(folded.max()).bit_length() + 7) // 8, 1) if len(folded) else 1
        rows = folded.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :planes]
        self.texts.append(_deflated(np.ascontiguousarray(rows.T).tobytes()))
        return Packed(pack=len(self.texts) - 1, n=len(values), planes=planes, sum=differences)


def _deflated(data: bytes) -> str:
    # Level 4: level 9 takes three times as long for 1 % of what is mostly noise.
    squeeze = zlib.compressobj(4, zlib.DEFLATED, -15)
    return base64.b64encode(squeeze.compress(data) + squeeze.flush()).decode("ascii")
