"""Follows a script in a process of its own, as plain Python would run it.

The command is ``python [options] train.py args`` with this interpreter's options: ``__main__``,
``sys.argv`` and ``sys.path`` are Python's own. Our part comes in by a ``sitecustomize`` in a
directory that is put first on ``PYTHONPATH``, as it does for a recorded script.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timeline.errors import FollowingError, TimelineError
from timeline.theory.cards import Card
from timeline.theory.script.ends import Ends
from timeline.theory.script.fences import OFFLINE
from timeline.theory.script.tape_file import load
from timeline.theory.tape import Tape

INJECT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "inject")
VARIABLE = "TIMELINE_FOLLOWS"
GRACE_S = 60
"""Beyond its limit: a process that has not answered then is ended."""

LAST_LINES = 5


@dataclass(frozen=True, slots=True)
class Followed:
    """What a script asked of the card.

    Attributes:
        tape: its storages and their lives.
        steps: of its first optimizer.
        on_tape: how many of them the allocator is to be asked for, the tape's last repeated.
        allocator: the variables of its environment that tell torch's allocator what to do.
        trained: whether it ran a backward at all.
        notes: what was taken for granted, in sentences.
        printed: the last lines that it printed.
        cut_off: why it was not followed to where its training repeats itself; empty if it was.
    """

    tape: Tape
    steps: int
    on_tape: int
    allocator: dict[str, str]
    trained: bool
    notes: tuple[str, ...]
    printed: str
    cut_off: str = ""


def follow(
    command: Sequence[str],
    title: str,
    card: Card,
    device: str,
    *,
    steps: int | None = None,
    limit_s: float = 120.0,
    show: bool = False,
    ask_cudnn: bool = False,
) -> Followed:
    """Run a command of Python to the point where its training repeats itself.

    Args:
        command: the interpreter, its options, then the script or ``-m`` and a module, and its
            arguments.
        title: what to call the script in a sentence.
        card, device: what it is to find, and the name by which the rules know it.
        steps: how many to follow; None until the peak of one repeats.
        limit_s: seconds after which it is enough.
        show: whether what it prints is shown on stderr.
        ask_cudnn: whether the kernels are noted that cuDNN is to be asked about.

    Raises:
        FollowingError: it failed before it asked anything of a card, or never did.
        TimelineError: Python could not be started.
    """
    # A signal first lets the directory go: the outer of the two closes last.
    with Ends() as ends, tempfile.TemporaryDirectory(prefix="timeline-estimate-") as scratch:
        asked = Path(scratch, "asked.json")
        result = Path(scratch, "result.json")
        asked.write_text(
            json.dumps(
                {
                    "scratch": os.path.join(scratch, "files"),
                    "result": str(result),
                    "device": device,
                    "card_name": card.name or "NVIDIA GPU",
                    "memory": card.visible,
                    "capability": card.capability or (8, 0),
                    "processors": card.processors or 80,
                    "steps": steps,
                    "limit_s": limit_s,
                    "ask_cudnn": ask_cudnn,
                }
            ),
            encoding="ascii",
        )
        for name in ("files", "tmp"):
            Path(scratch, name).mkdir()
        printed = Path(scratch, "printed.txt")
        environment = _environment(asked, scratch)
        ended = _run(command, environment, printed, ends, show=show, limit_s=limit_s)
        said = _last_lines(printed)
        if not result.exists():
            raise FollowingError(f"{title} cannot be followed: {ended}{_after(said)}")
        return _read(json.loads(result.read_text(encoding="ascii")), title, said)


def _read(found: dict[str, Any], title: str, said: str) -> Followed:
    sentence = str(found["sentence"])
    if found["outcome"] == "failed":
        raise FollowingError(f"{title} cannot be followed with this torch: {sentence}")
    steps = int(found["steps"])
    notes = list(found["notes"])
    cut_off = ""
    if found["outcome"] == "raised":
        if not steps:
            hint = _hint(sentence) or _refused(notes)
            raise FollowingError(f"{title} cannot be followed: {sentence}{hint}")
        cut_off = f"the script failed after {steps} steps ({sentence})"
    elif found["outcome"] == "left":
        notes.insert(0, sentence)
    else:
        cut_off = sentence
    if not found["forwards"]:
        raise FollowingError(
            f"{title} called no model: there is nothing to estimate"
            + (f" ({sentence})" if sentence else "")
            + _after(said)
        )
    if not found["backwards"]:
        notes.insert(0, "the script trained nothing: its inference is estimated")
    tape = load(found["tape"])
    on_tape = tape.steps + int(found["repeated"])
    trained, allocator = bool(found["backwards"]), dict(found["allocator"])
    return Followed(tape, steps, on_tape, allocator, trained, tuple(notes), said, cut_off)


def _hint(sentence: str) -> str:
    if any(word in sentence for word in ("DataDependent", "DynamicOutput", "UnsupportedFake")):
        return (
            "; what it does there depends on values: keep the size fixed, such as by torch.where, "
            "or leave the line out with `if 'TIMELINE_ESTIMATES' not in os.environ:`"
        )
    return ""


def _refused(notes: list[str]) -> str:
    """What was refused on the way to a failure: most likely its cause."""
    refused = next((each for each in notes if each.endswith("was refused")), "")
    if not refused:
        return ""
    return f"; {refused}: what it downloads or asks others for must be on this machine before"


def _environment(asked: Path, scratch: str) -> dict[str, str]:
    environment = {**os.environ, **OFFLINE}
    before = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = INJECT + (os.pathsep + before if before else "")
    environment[VARIABLE] = f"{'unset' if before is None else 'set'}:{asked}"
    environment["TIMELINE_ESTIMATES"] = "1"
    environment["TMPDIR"] = os.path.join(scratch, "tmp")
    environment["MPLBACKEND"] = "Agg"
    environment["CUDA_VISIBLE_DEVICES"] = ""  # no driver is started, whatever slips through
    return environment


def _run(
    command: Sequence[str],
    environment: dict[str, str],
    printed: Path,
    ends: Ends,
    *,
    show: bool,
    limit_s: float,
) -> str:
    """Run it to its end; how it ended, in words."""
    with printed.open("wb") as out:
        try:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno() if show else out,
                stderr=sys.stderr.fileno() if show else subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise TimelineError(f"{command[0]} cannot be started: {error.strerror}") from error
        ends.started(process)
        try:
            code = process.wait(limit_s + GRACE_S)
        except subprocess.TimeoutExpired:
            return f"it did not end in {limit_s + GRACE_S:g} s"
        finally:
            ends.end()
            process.wait()
    if code < 0:
        return f"its process was killed by {signal.Signals(-code).name}"
    return f"its process ended with code {code}"


def _last_lines(printed: Path) -> str:
    try:
        text = printed.read_bytes()[-4000:].decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.strip().splitlines()[-LAST_LINES:])


def _after(said: str) -> str:
    return f"; it printed last: {said.splitlines()[-1]}" if said else ""
