"""Why the system took a part of what was written and not the rest. Standard library only."""

from __future__ import annotations

import os


def why_cut(fd: int) -> str:
    """The cause, after a write to the file's end that was short; a short write itself tells none.

    Asked without another write: where a program has given ``SIGXFSZ`` its own meaning back, one
    past its limit on files (``ulimit -f``) ends it.
    """
    try:
        # Not on Windows; and a program may have a resource.py of its own.
        from resource import RLIM_INFINITY, RLIMIT_FSIZE, getrlimit

        most = getrlimit(RLIMIT_FSIZE)[0]
        if most != RLIM_INFINITY and os.fstat(fd).st_size >= most:
            return "file too large, by the limit on files (ulimit -f)"
    except (ImportError, OSError, ValueError):
        pass
    return "the disk is full"
