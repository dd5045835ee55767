"""What the C library holds on the heap: in use, and free but kept from the system."""

from __future__ import annotations

import re
import sys
from mmap import mmap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_FIELDS = (
    "arena", "ordblks", "smblks", "hblks", "hblkhd",
    "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
)  # fmt: skip

Heap = tuple[int, int, int]
"""Bytes in use, pieces with mappings of their own included; bytes free that malloc keeps; and how
large the heap is, which is both without those pieces."""

NO_HEAP = (-1, -1, -1)
"""Nobody tells."""

_TEXT = 1 << 16
"""``malloc_info`` writes up to 18 KB of the first arena; of what comes after none is read."""

_LIMITS = re.compile(rb'<system type="(current|max)" size="(\d+)"/>')

_found: list[tuple[Callable[[], Heap], Callable[[], int] | None] | None] = []


def heap_reader() -> Callable[[], Heap] | None:
    """A function that reads the heap; None where the C library tells nothing.

    glibc's ``mallinfo2`` (2.33 and later) sums over all arenas. It goes through every free block,
    some 40 ns each: 10 us in a fresh process, some 100 in one that has run for a while. Other
    libraries, such as musl, have no such function; one that is preloaded in malloc's place leaves
    glibc's own heap all but empty, which `in_use` under what tensors hold then shows.
    """
    found = _readers()
    return None if found is None else found[0]


def largest_reader() -> Callable[[], int] | None:
    """A function that tells how large the heap has been at most; None where nothing tells.

    glibc keeps that of each arena, and writes it with much else (``malloc_info``, XML); here it is
    the first arena's, of which nearly all memory comes, and what the others have now.
    """
    found = _readers()
    return None if found is None else found[1]


def _readers() -> tuple[Callable[[], Heap], Callable[[], int] | None] | None:
    if not _found:
        _found.append(_make_readers())
    return _found[0]


def _make_readers() -> tuple[Callable[[], Heap], Callable[[], int] | None] | None:
    if not sys.platform.startswith("linux"):
        return None
    import ctypes  # torch has imported it

    class Info(ctypes.Structure):
        _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS]

    # What is found by name in it is made anew: the functions are ours alone. The GIL is kept.
    library = ctypes.pythonapi
    try:
        read = library["mallinfo2"]
    except AttributeError:
        return None
    read.restype = Info
    read.argtypes = []

    def heap() -> Heap:
        told = read()
        return told.uordblks + told.hblkhd, told.fordblks, told.arena

    try:
        opened, write = library["fmemopen"], library["malloc_info"]
        back, flush = library["rewind"], library["fflush"]
    except AttributeError:
        return heap, None
    opened.restype = ctypes.c_void_p
    opened.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    write.argtypes = [ctypes.c_int, ctypes.c_void_p]
    back.restype = None
    back.argtypes = flush.argtypes = [ctypes.c_void_p]
    # Not on the heap, where it would lie between the program's blocks.
    text = mmap(-1, _TEXT)
    place = ctypes.addressof(ctypes.c_char.from_buffer(text))
    stream = opened(place, _TEXT, b"w")
    if not stream:
        return heap, None

    def largest() -> int:
        back(stream)
        write(0, stream)
        flush(stream)
        found = dict(_LIMITS.findall(text[: text.find(b"</heap>")]))
        if len(found) < 2:
            return -1
        return int(found[b"max"]) + max(int(read().arena) - int(found[b"current"]), 0)

    return heap, largest
