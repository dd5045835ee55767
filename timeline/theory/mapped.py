"""Gives back what loading shared libraries has left in this process's resident memory."""

from __future__ import annotations

import ctypes
import mmap
import re
import sys
from collections.abc import Iterator
from contextlib import suppress

_HEAD = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r-[-x]p \S+ \S+ [1-9]\d*\s+(\S.*)")


def forget_libraries() -> int:
    """Unmap pages of libraries that are as they are in their files; returns how many bytes.

    To load a library its tables of symbols and relocations are read, which nobody reads again: with
    torch's CUDA wheel these are most of 220 MiB, in libraries that a process without CUDA never
    calls. A page that is needed comes again from the kernel's cache. Linux alone; elsewhere, and
    where it is not allowed, nothing is done.
    """
    if sys.platform != "linux":
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    libc.madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    total = 0
    with suppress(OSError):
        for begin, end, resident in list(_untouched()):
            if libc.madvise(begin, end - begin, mmap.MADV_DONTNEED) == 0:
                total += resident
    return total


def _untouched() -> Iterator[tuple[int, int, int]]:
    """Begin, end and resident bytes of each mapping of a library that has no page of its own.

    One that was written to, as the tables that hold addresses are before they are made read-only,
    has such pages, in memory or on the swap, and they are nowhere else.
    """
    head: re.Match[str] | None = None
    resident = own = 0
    with open("/proc/self/smaps", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            name, _, rest = line.partition(":")
            if name == "Rss":
                resident = int(rest.split()[0]) * 1024
            elif name == "Anonymous":
                own = int(rest.split()[0])
            elif name == "Swap":
                own += int(rest.split()[0])
                if head is not None and ".so" in head[3] and resident and not own:
                    yield int(head[1], 16), int(head[2], 16), resident
            elif "-" in name:
                head = _HEAD.match(line)
