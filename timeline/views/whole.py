"""A file that is replaced as a whole: whoever opens it sees the old one or the new one."""

from __future__ import annotations

import os
from pathlib import Path


def replace(path: str | os.PathLike[str], content: bytes) -> None:
    """Put the content in the place of the file; after an error that is left as it was.

    Args:
        path: of the file, which need not exist.
        content: all of it.

    Raises:
        OSError: the file cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name[:200]}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
