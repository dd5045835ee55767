"""One directory for all ranks of a run, which each of them finds and none of them waits for.

The first to come writes ``ranks.json`` with what all were told by their launcher; making a file
that must not exist is atomic on every file system, a shared one too. Who finds another's there is
of another run. Each rank then makes ``rank-0003`` in it, which is a run directory of its own.
"""

from __future__ import annotations

import os
import time

from timeline.errors import RecordingError, RecordingExistsError
from timeline.recording.format import FORMAT_VERSION, META, RANKS, rank_name, rank_number
from timeline.recording.writer import new_run_directory, not_made, write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from timeline.recorder.ranks import Rank

MOST_GROUPS = 10_000

WRITTEN_WITHIN_S = 2.0
"""Between making the file and writing its one line lie microseconds, on a slow server a second."""

_UUID = r"([0-9a-f]{8})(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def run_name(rank: Rank) -> str:
    """What the run is called in the name of its directory; empty where it has no name."""
    import re  # 5 ms and half a MiB, for ranks alone

    # torchrun makes up a UUID. A part of it tells runs apart as well; ranks.json tells for sure.
    found = re.fullmatch(_UUID, rank.run)
    return found[1] if found else rank.run


def join(stem: str, suffix: str, rank: Rank, *, numbered: bool, force: bool) -> str:
    """Make this rank's run directory in the one of all ranks. Returns its absolute path.

    Args:
        stem, suffix: the two parts of the absolute path of the directory of all ranks, between
            which goes what tells a restart, or another run of the same name, apart.
        rank: this process.
        numbered: whether a number is put behind a path that another run has taken. What the same
            run has taken, before its launcher began anew with other nodes, always gets one: a job
            must not end because of its recording.
        force: whether the recording of another run gives way.

    Raises:
        RecordingExistsError: the path is taken.
        RecordingError: the directory cannot be made.
    """
    restart = f"-r{rank.restart}" if numbered or rank.restart else ""
    for number in range(1, MOST_GROUPS):
        group = f"{stem}{restart}{f'-{number}' if number > 1 else ''}{suffix}"
        own = _join(group, rank, numbered=numbered, force=force)
        if own:
            return own
    raise RecordingError(f"{stem}{suffix} and {MOST_GROUPS:,} after it are taken: clear some away")


def _join(group: str, rank: Rank, *, numbered: bool, force: bool) -> str:
    """The path of the rank's directory; empty where this group's directory is not for us."""
    ours = rank.group()
    theirs = _claimed(group, ours)
    same = theirs == ours
    own = os.path.join(group, rank_name(rank.rank))
    if same:
        try:
            os.mkdir(own)
            rank.place = _place(group)
            return own
        except FileExistsError:
            pass
        except OSError as error:
            raise not_made(own, error) from None
    # The same job may come by twice: its launcher began anew with other nodes. Where a rank before
    # us has overwritten the claim, only what lies there tells whose it was.
    before = _read(os.path.join(own, META)).get("rank") if same and force else theirs
    if numbered or _of_job(before, rank):
        return ""
    if not force:
        raise RecordingExistsError(
            f"{group} holds another recording: choose another with -o, or overwrite it with --force"
        )
    if not same:
        write_json(group, RANKS, {"timeline": FORMAT_VERSION, **ours})
    if rank.rank == 0:
        _clear_beyond(group, rank.world)
    new_run_directory(own, force=True)
    rank.place = _place(group)
    return own


def _place(group: str) -> str:
    """The same for all hosts that share the file system, where each may mount it elsewhere."""
    try:
        return str(os.stat(group).st_ino or "")
    except OSError:
        return ""


def _of_job(theirs: object, rank: Rank) -> bool:
    return bool(rank.run) and isinstance(theirs, dict) and theirs.get("run") == rank.run


def _claimed(group: str, ours: dict[str, object]) -> dict[str, Any]:
    """What the directory's ``ranks.json`` says, which is made here if it is not there."""
    path = os.path.join(group, RANKS)
    try:
        os.makedirs(group, exist_ok=True)
        if os.listdir(group) and not os.path.exists(path):
            raise RecordingExistsError(
                f"{group} exists and is not a recording of ranks: choose another with -o"
            )
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        if not os.path.isdir(group):
            raise RecordingExistsError(
                f"{group} exists and is no directory: choose another with -o"
            ) from None
    except (OSError, ValueError) as error:
        raise not_made(group, error) from None
    else:
        try:
            os.write(fd, _line({"timeline": FORMAT_VERSION, **ours}))
        except OSError as error:
            raise not_made(path, error) from None
        finally:
            os.close(fd)
        return ours
    end = time.monotonic() + WRITTEN_WITHIN_S
    while not (theirs := _read(path)) and time.monotonic() < end:
        time.sleep(0.01)
    return {key: theirs.get(key) for key in ours}


def _line(document: dict[str, object]) -> bytes:
    import json

    return (json.dumps(document) + "\n").encode("ascii")


def _read(path: str) -> dict[str, Any]:
    import json

    try:
        with open(path, encoding="utf-8") as file:
            found = json.loads(file.read(1 << 16))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _clear_beyond(group: str, world: int) -> None:
    """Overwriting, delete the recordings of ranks that this run does not have."""
    for name in os.listdir(group):
        number = rank_number(name)
        if number is not None and number >= world:
            path = os.path.join(group, name)
            new_run_directory(path, force=True)
            try:
                os.rmdir(path)
            except OSError:
                pass  # files that are not ours stay
