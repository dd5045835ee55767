"""`timeline.load`: whatever holds a recording, as a Recording."""

from __future__ import annotations

import stat
from os import PathLike
from pathlib import Path

from timeline.errors import DamagedRecordingError, NoRecordingError
from timeline.interchange import cuda_snapshot, mprof
from timeline.recording.format import rank_name
from timeline.recording.group import find_group
from timeline.recording.reader import load_directory
from timeline.recording.types import Recording

_HEAD = 256


def load(path: str | PathLike[str]) -> Recording:
    """Read the recording at a path: a run directory, a file of memory_profiler's ``mprof``, or a
    CUDA memory snapshot.

    A run that is still going on can be read too, and so can one that was cut off.

    Args:
        path: a directory such as ``train-20260801-120000.timeline``, ``mprofile_….dat``, or
            what ``torch.cuda.memory._dump_snapshot`` wrote.

    Raises:
        NoRecordingError: nothing is there, or it may not be read.
        DamagedRecordingError: what is there is no recording, or not enough of one, or the
            directory of all ranks of a run.
        NewerFormatError: a newer version of timeline wrote it.
    """
    place = Path(path)
    if "\0" in str(place):
        raise NoRecordingError(f"{str(place)!r} is no path: it holds a null character")
    try:
        group = find_group(place)
        if group is not None:
            one = next(iter(group.ranks.values()), place / rank_name(0))
            raise DamagedRecordingError(
                f"{place} holds {len(group.ranks):,} ranks: give one of them, such as {one}, or "
                "look at all by timeline report"
            )
        if place.is_dir():
            return load_directory(place)
        return _load_file(place)
    except FileNotFoundError as error:
        raise NoRecordingError(f"{place}: no such file or directory") from error
    except OSError as error:
        raise NoRecordingError(f"{place} cannot be read: {error.strerror or error}") from error


def _load_file(path: Path) -> Recording:
    # A pipe or a device is not even opened: it may never end.
    if not stat.S_ISREG(path.stat().st_mode):
        raise DamagedRecordingError(
            f"{path} is neither a file nor a directory; give the path of a recording"
        )
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if mprof.is_mprof(head):
        return mprof.load(path)
    if cuda_snapshot.looks_like(head):
        return cuda_snapshot.read(path)
    if not head:
        raise DamagedRecordingError(f"{path} is empty")
    if (path.parent / "meta.json").is_file():
        raise DamagedRecordingError(
            f"{path} is one file of a recording; give its directory, {path.parent}"
        )
    raise DamagedRecordingError(
        f"{path} is no run directory of timeline, no file of mprof and no CUDA memory snapshot"
    )
