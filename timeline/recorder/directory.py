"""What a recording is called, and where it goes."""

from __future__ import annotations

import os
import sys
import time

from timeline.errors import RecordingError
from timeline.recorder.joining import join, run_name
from timeline.recording.writer import new_run_directory, not_made

TYPE_CHECKING = False
if TYPE_CHECKING:
    from timeline.recorder.ranks import Rank

SUFFIX = ".timeline"


def make_directory(
    wanted: str, name: str, *, numbered: bool, force: bool, rank: Rank | None = None
) -> str:
    """Make the run directory. Returns its absolute path.

    Args:
        wanted: the path; empty for ``NAME-YYYYMMDD-HHMMSS.timeline`` in the working directory.
        name: what the recording is called.
        numbered: whether a number is put behind a path that is taken, as a default one's is.
        force: whether a recording at ``wanted`` gives way.
        rank: which of several processes this is, whose run directories go into one.

    Raises:
        RecordingExistsError: the path is taken.
        RecordingError: the directory cannot be made.
    """
    # Ranks come to one name by what their launcher told all of them; their clocks may differ.
    told = run_name(rank) if rank else time.strftime("%Y%m%d-%H%M%S")
    stem = "-".join(part for part in (_file_name(name), told and _file_name(told)) if part)
    try:
        path = os.path.abspath(wanted or f"{stem}{SUFFIX}")
    except OSError as error:
        raise RecordingError(f"there is no working directory to record in: {error}") from None
    if rank is not None:
        stem, suffix = _parts(path)
        return join(stem, suffix, rank, numbered=numbered, force=force)
    if numbered and not force:
        return _first_free(path)
    new_run_directory(path, force=force)
    return path


def script_name() -> str:
    """What this program is called: its script's stem, ``notebook`` or ``session``."""
    if "ipykernel" in sys.modules:
        return "notebook"
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    if not isinstance(file, str) or not file:
        return "session"
    stem = os.path.splitext(os.path.basename(file))[0]
    if stem == "__main__":  # python -m package
        stem = os.path.basename(os.path.dirname(os.path.abspath(file)))
    return stem or "session"


def _first_free(path: str) -> str:
    # mkdir alone tells who made it: two ranks of one job ask for the same name in one second, and
    # a directory that is there and empty may be the other's.
    stem, suffix = _parts(path)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        for number in range(1, 10_000):
            free = path if number == 1 else f"{stem}-{number}{suffix}"
            try:
                os.mkdir(free)
            except FileExistsError:
                continue
            return free
    except (OSError, ValueError) as error:
        raise not_made(path, error) from None
    raise RecordingError(f"{path} and 10,000 numbered after it are taken: clear some away")


def _parts(path: str) -> tuple[str, str]:
    return (path[: -len(SUFFIX)], SUFFIX) if path.endswith(SUFFIX) else (path, "")


def _file_name(name: str) -> str:
    """The name with what no file system minds, and short enough for every one of them."""
    plain = "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
    return plain.strip("-.")[:40] or "session"
