"""What the C library holds on the heap: in use, and free but kept from the system."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_FIELDS = (
    "arena", "ordblks", "smblks", "hblks", "hblkhd",
    "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
)  # fmt: skip

Heap = tuple[int, int]
"""Bytes in use, pieces with mappings of their own included, and bytes free that malloc keeps."""

_found: list[Callable[[], Heap] | None] = []


def heap_reader() -> Callable[[], Heap] | None:
    """A function that reads the heap in some 10 us; None where the C library tells nothing.

    glibc's ``mallinfo2`` (2.33 and later) sums over all arenas. Other libraries, such as musl, have
    no such function; one that is preloaded in malloc's place leaves glibc's own heap all but empty,
    which `in_use` under what tensors hold then shows.
    """
    if not _found:
        _found.append(_heap_reader())
    return _found[0]


def _heap_reader() -> Callable[[], Heap] | None:
    if not sys.platform.startswith("linux"):
        return None
    import ctypes  # torch has imported it

    class Info(ctypes.Structure):
        _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS]

    try:
        read = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError):
        return None
    read.restype = Info
    read.argtypes = []

    def heap() -> Heap:
        told = read()
        return told.uordblks + told.hblkhd, told.fordblks

    return heap
