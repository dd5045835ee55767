"""What happens in the process of a followed script: before its first line, and at its end.

It is called from ``inject/sitecustomize.py`` while the interpreter starts, on its way to plain
``python train.py``. The end may come from anywhere in the script's work: what was found is written
to a file, and the process ends there and then, so that nothing more of the script runs.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import sys
import threading
import traceback
from types import TracebackType
from typing import Any

from timeline.theory.allocator.settings import VARIABLES
from timeline.theory.script.tape_file import dump


class Following:
    """One script that is followed in this process.

    Args:
        asked: what the parent wants: ``scratch``, ``result``, ``card`` and so on; see `launch`.
    """

    def __init__(self, asked: dict[str, Any]) -> None:
        self.asked = asked
        self.notes: dict[str, None] = {}
        self._done = threading.Lock()
        self._exit = os._exit
        self._open, self._replace = open, os.replace
        self._course: Any = None
        self._split: Any = None

    def note(self, sentence: str) -> None:
        """Something was taken for granted."""
        self.notes.setdefault(sentence)

    def begin(self) -> None:
        """Put torch and the world in order."""
        import torch  # noqa: F401  all that follows is put on it

        from timeline.theory.cuda import kernels
        from timeline.theory.estimating import platform_of
        from timeline.theory.likeness import fake_mode
        from timeline.theory.script import (
            course,
            cuda_face,
            fences,
            lazy_face,
            libraries,
            loaders,
            older_face,
            processes_face,
            saved,
            split,
            tensor_face,
            torch_face,
        )
        from timeline.theory.taping import Taping

        # It also logs what it raises.
        logging.getLogger("torch._subclasses.fake_tensor").disabled = True
        asked = self.asked
        platform = platform_of(asked["device"], ask_cudnn=asked["ask_cudnn"])
        substituted = kernels.substituted(platform)
        substituted.__enter__()
        self._kept = substituted  # its end would take the rules away
        fake, taping = fake_mode(), Taping(platform)
        fake.__enter__()
        taping.__enter__()
        self._split = split.Split(fake, taping, self.note)
        self._split.__enter__()
        split.Calls(self._split).__enter__()
        taping.calibrate("cuda")
        self._split.card_was_used = False
        self._course = course.Course(
            self._split,
            steps=asked["steps"],
            limit_s=asked["limit_s"],
            end=self.end,
            note=self.note,
        )
        cuda_face.put_on(
            self._split,
            name=asked["card_name"],
            memory=asked["memory"],
            capability=tuple(asked["capability"]),
            processors=asked["processors"],
        )
        tensor_face.put_on(self._split, self.note)
        lazy_face.put_on(self._split)
        older_face.put_on(self._split)
        torch_face.put_on(self.note)
        processes_face.put_on(self._split, self.note)
        libraries.watch(saved.put_on(self._split, self.note), self.note)
        loaders.put_on(self._course, self.note)
        self._course.put_on()
        fences.put_up(asked["scratch"], self.note)
        self._watch_the_ends()

    def _watch_the_ends(self) -> None:
        def failed(
            kind: type[BaseException], error: BaseException, trace: TracebackType | None
        ) -> None:
            traceback.print_exception(kind, error, trace)  # for --show-output
            self.write("raised", _told(kind, error, trace))
            self._exit(0)

        def left(code: int = 0) -> None:
            self.end(f"the script ended itself with os._exit({code})", "left")

        sys.excepthook = failed
        os._exit = left  # type: ignore[assignment]
        # The last to be registered is the first to run: what the script registers comes after.
        atexit.register(self.end, "")
        threading.excepthook = lambda args: self.note(
            f"a thread of the script failed: {args.exc_type.__name__}: {args.exc_value}"
        )
        timer = threading.Timer(self.asked["limit_s"] + 2, self._too_long)
        timer.daemon = True
        timer.start()

    def _too_long(self) -> None:
        frames = sys._current_frames().get(threading.main_thread().ident or 0)
        where = traceback.extract_stack(frames)[-1] if frames else None
        at = f" at {os.path.basename(where.filename)}:{where.lineno}" if where else ""
        self.end(f"stopped after {self.asked['limit_s']:g} s{at}")

    def end(self, sentence: str, outcome: str = "followed") -> None:
        """It has been followed far enough, or is over, or was cut off where there is a sentence."""
        if self.write(outcome, sentence):
            self._exit(0)
        threading.Event().wait()  # another thread is writing, and ends the process

    def fail(self, sentence: str) -> None:
        """It could not even begin."""
        with self._open(self.asked["result"], "w", encoding="ascii") as file:
            json.dump({"outcome": "failed", "sentence": sentence}, file)
        self._exit(0)

    def write(self, outcome: str, sentence: str) -> bool:
        """Leave what was found for the parent; False if it is left or being left already."""
        if not self._done.acquire(blocking=False):
            return False
        split, course = self._split, self._course
        if split is not None and not split.card_was_used and course.forwards:
            split.as_if_on_the_card()
            self.note("the script asks for no card: all that it computes is taken to be on one")
        found = {
            "outcome": outcome,
            "sentence": sentence,
            "notes": list(self.notes),
            "forwards": course.forwards,
            "backwards": course.backwards,
            "steps": course.steps,
            "settled": course.settled,
            "repeated": course.repeated,
            "allocator": {name: os.environ[name] for name in VARIABLES if name in os.environ},
            "tape": dump(split.taping.tape),
        }
        partial = self.asked["result"] + ".part"
        with self._open(partial, "w", encoding="ascii") as file:
            json.dump(found, file)
        self._replace(partial, self.asked["result"])
        return True


def _told(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> str:
    """The error, and the last line of the user's own that it passed."""
    from timeline.theory.script.values import Unknown, is_own

    if issubclass(kind, SyntaxError):
        return f"{os.path.basename(str(error.filename))}:{error.lineno}: SyntaxError: {error.msg}"  # type: ignore[attr-defined]
    lines = traceback.extract_tb(trace)
    own = [each for each in lines if is_own(each.filename)]
    at = f"{os.path.basename(own[-1].filename)}:{own[-1].lineno}: " if own else ""
    text = str(error).strip().split("\n", 1)[0][:300].rstrip(":")
    if issubclass(kind, Unknown):
        return f"{at}{text}"
    return f"{at}{kind.__name__}: {text}" if text else f"{at}{kind.__name__}"


def start(path: str) -> None:
    """Follow what this process is about to run.

    Args:
        path: of the file in which the parent says what it wants.
    """
    with open(path, encoding="ascii") as file:
        asked = json.load(file)
    following = Following(asked)
    try:
        following.begin()
    except Exception as error:
        # Without us the script would run for real.
        following.fail(f"{type(error).__name__}: {error}")
