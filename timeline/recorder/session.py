"""What this process writes into a recording: phases, texts and readings, one line each.

There is at most one session in a process at a time. `phase` and `mark` look for it in ``current``;
where there is none they do nothing, at the price of one global look-up.
"""

from __future__ import annotations

import os
import sys
from _thread import RLock, get_ident
from contextvars import ContextVar
from itertools import count
from os import write
from sys import exception as _exception

from timeline._version import __version__
from timeline.recorder.marks_file import MarksFile, quote
from timeline.recorder.reading import OwnMemory, open_own_memory

# Set here and not imported: typing and threading would bring collections, re and functools, 2 MiB,
# into a program that may not want them, or that has a module of such a name beside its script.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from timeline.recorder.reading import Reading

current: Session | None = None
"""The session of this process, if something records it."""

forked = False
"""Whether this process was forked from one that has this module, as a DataLoader's worker is."""

forked_while_recording = False
"""Whether that one was recorded."""

_inside: ContextVar[Open | None] = ContextVar("timeline_phase", default=None)
"""The innermost open phase, by thread and by asyncio task."""

_ENDS = -2
"""In place of a parent's number: the held line is a phase's end."""

_numbers = count()
"""One count for all sessions of a process: no phase is mistaken for one of an earlier recording."""

READING_EVERY_NS = 1_000_000
READINGS_IN_A_BURST = 512
"""A mark with its reading costs 5 µs in a loop of its own and some 25 in a busy program, whose
caches it finds cold. A bucket that holds this many readings and gains one each millisecond never
runs dry where a step with its eight marks takes more than 8 ms. A mark that finds it dry carries
time alone, and its phase is not exact unless nothing can have been higher."""

DRY_NS, DRY_AT_MOST_NS = 256_000_000, 2_048_000_000
"""Once dry, the bucket stays so until a burst is worth it: phases are exact in runs, not at random.
Twice as long each time that it is dry again at once, so that readings take 0.6 % of the time where
marks stay dense."""

CALM_NS = 8_000_000
"""After a phase that takes so long the bucket is dry no longer than the first time: slow phases
that stand among brief ones are worth a reading."""

BRIEF_NS = 1_000_000
HELD = 64
"""While marks are dense, those of a phase whose last instance took less than this are held back and
written together, at most so many: a write costs 4 µs in a busy program, as much as all else. A kill
loses what is held, under 10 ms of such phases. A phase that took longer is written as it begins,
so that what a program dies in is known."""

NAMES_KEPT = 256
"""Of a program that names each phase anew, the first so many are kept spelled out; 30 KiB."""


class Session(MarksFile):
    """The writer of one process's ``events.<pid>.jsonl``, and its exact readings.

    Attributes:
        exact: whether marks take readings that reset what they read.
        device: gives what a mark tells of the GPUs, as JSON keys; None while torch uses none.
    """

    def __init__(self, directory: str, *, exact: bool) -> None:
        """Open the file and write its first line.

        Args:
            directory: the run directory; it exists.
            exact: whether marks take readings.

        Raises:
            OSError: the file cannot be made.
        """
        self.directory = directory
        self.pid = os.getpid()
        super().__init__(directory, self.pid)
        self.exact = exact
        self.device: Callable[[], str] | None = None
        self._tokens = float(READINGS_IN_A_BURST)
        self._refilled_ns = self._now()
        self._dry_until_ns = 0
        self._dry_ns = DRY_NS
        self._spelled: dict[tuple[str, str], str] = {}
        self._held: list[tuple[int, int, int, str, str, int]] = []
        self._brief: set[str] = set()
        self._passing: tuple[tuple[int, int, int], Open] | None = None
        self._one_at_a_time = RLock()
        own, why = open_own_memory() if exact else (None, "")
        self.own: OwnMemory | None = own
        python = ".".join(map(str, sys.version_info[:3]))
        self._write(
            f'{{"k":"start","t":{self._now()},"pid":{self.pid},'
            f'"python":"{python}","version":"{__version__}"}}\n'
        )
        if why:
            self.missing(why)
        if self.own is not None:
            self.reading()

    def begin(self, opened: Open, path: str, detail: str = "") -> None:
        """A phase begins; its number is negative where nothing was written."""
        if self._fd < 0:
            return
        opened.number = number = next(_numbers)
        outer = opened.outer
        up = -1 if outer is None else outer.number
        now = self._now()
        if now < self._dry_until_ns:
            opened.path, opened.begun_ns = path, now
            if path in self._brief:
                self._held.append((number, now, get_ident(), path, detail, up))
                if len(self._held) >= HELD:
                    self._write("")
                return
        self._write(self._begin_line(number, path, detail, up, get_ident(), self._reading(now)))

    def _begin_line(
        self, number: int, path: str, detail: str, up: int, thread: int, reading: str
    ) -> str:
        named = self._spelled.get((path, detail)) or self._spell(path, detail)
        if up >= 0:
            return f'{{"k":"b","i":{number},{named},"up":{up},"th":{thread}{reading}}}\n'
        return f'{{"k":"b","i":{number},{named},"th":{thread}{reading}}}\n'

    def _spell(self, path: str, detail: str) -> str:
        """The keys of a phase's name, kept: a training begins the same few all the time."""
        more = f',"w":{quote(detail)}' if detail else ""
        named = f'"p":{quote(path)}{more}'
        if len(self._spelled) < NAMES_KEPT:
            self._spelled[path, detail] = named
        return named

    def end(self, opened: Open) -> None:
        """The phase ends."""
        number = opened.number
        if number < 0 or self._fd < 0:
            return
        now = self._now()
        # Only of phases that began while marks were dense.
        if opened.begun_ns:
            if now - opened.begun_ns < BRIEF_NS:
                if opened.path not in self._brief and len(self._brief) < NAMES_KEPT:
                    self._brief.add(opened.path)
                if now < self._dry_until_ns:
                    self._held.append((number, now, 0, "", "", _ENDS))
                    if len(self._held) >= HELD:
                        self._write("")
                    return
            else:
                self._brief.discard(opened.path)
                if now - opened.begun_ns >= CALM_NS:
                    self._dry_ns = DRY_NS // 2  # doubled when it is dry again
                    self._dry_until_ns = min(self._dry_until_ns, self._refilled_ns + DRY_NS)
        self._write(f'{{"k":"e","i":{number}{self._reading(now)}}}\n')

    def _held_lines(self) -> str:
        """What was held back, as lines in the order of time; nothing is held then."""
        lines = []
        # One by one from the front: another thread may add to it meanwhile.
        while self._held:
            number, t, thread, path, detail, up = self._held.pop(0)
            if up == _ENDS:
                lines.append(f'{{"k":"e","i":{number},"t":{t}}}\n')
            else:
                lines.append(self._begin_line(number, path, detail, up, thread, f',"t":{t}'))
        return "".join(lines)

    def text(self, text: str) -> None:
        """A text marks this moment."""
        reading = self._reading(self._now())
        self._write(f'{{"k":"m","p":{quote(text)},"th":{get_ident()}{reading}}}\n')

    def reading(self) -> None:
        """A bare reading, which belongs to no phase."""
        self._write(f'{{"k":"r"{self._reading(self._now())}}}\n')

    def reading_now(self) -> Reading | None:
        """A bare reading that is also given back, however dense marks are; None without one."""
        own = self.own
        if own is None:
            return None
        try:
            begun, t, rss, high, most = reading = own.read()
        except (OSError, ValueError, IndexError):
            return None  # the next mark finds out, and says so
        unseen = f',"x":{most}' if most else ""
        self._write(f'{{"k":"r","t":{t},"d":{t - begun},"rss":{rss},"hwm":{high}{unseen}}}\n')
        return reading

    def heap(self, number: int, begin: Sequence[int], end: Sequence[int], largest: int) -> None:
        """What the heap held as the phase of that number began and ended, and its largest size."""
        states = f'"begin":{list(begin)},"end":{list(end)},"most":{largest}'
        self._write(f'{{"k":"h","t":{self._now()},"i":{number},{states}}}\n')

    def look(self, figures: str) -> bool:
        """What the GPUs hold now, between marks. Returns whether anything is still written."""
        self._write(f'{{"k":"d","t":{self._now()}{figures}}}\n')
        return self._fd >= 0

    def fact(self, name: str, value: str) -> None:
        """Something learned on the way, such as the version of torch."""
        t = self._now()
        self._write(f'{{"k":"fact","t":{t},"name":{quote(name)},"value":{quote(value)}}}\n')

    def missing(self, sentence: str) -> None:
        """Something cannot be measured."""
        self._write(f'{{"k":"missing","t":{self._now()},"p":{quote(sentence)}}}\n')

    def passed(self, error: BaseException, opened: Open) -> None:
        """An exception leaves a phase: if the program ends with it, here is where it came from."""
        # The exception itself would keep the frames of its traceback, and all that they hold.
        known, key = self._passing, _origin(error)
        if known is not None and known[0] == key:
            inside: Open | None = known[1]
            while inside is not None:
                if inside is opened:
                    return  # the phase inside this one has it already
                inside = inside.outer
        self._passing = key, opened

    def error(self, error: BaseException) -> None:
        """What is recorded ends with an exception."""
        try:
            from timeline.recorder.raised import described

            known = self._passing
            number = known[1].number if known is not None and known[0] == _origin(error) else -1
            words = {"i": number} if number >= 0 else {}
            line = f'{{"k":"error","t":{self._now()}'
            for key, value in {**words, **described(error)}.items():
                line += f',"{key}":{quote(value) if isinstance(value, str) else value}'
            self._write(line + "}\n")
        except Exception:  # there may be no memory left for it
            pass

    def close_at_exit(self) -> None:
        """Close at the end of the program, and say what it ended with."""
        # Python keeps there what nothing caught, while it writes the traceback (3.12: last_exc).
        error = getattr(sys, "last_exc", None)
        if error is None:  # not "or": an exception may have a __bool__ or a __len__ of its own
            error = getattr(sys, "last_value", None)
        if isinstance(error, BaseException):
            self.error(error)
        self.close()

    def close(self) -> None:
        """Write the last line and close the file. Later calls of any method do nothing."""
        if self._fd < 0:
            return
        if self.own is not None:
            self.reading()
        self._write(f'{{"k":"stop","t":{self._now()}}}\n')
        self.abandon()

    def abandon(self) -> None:
        """Close the descriptors and write nothing: in a forked child the file is the parent's."""
        super().abandon()
        own, self.own = self.own, None
        self._held.clear()
        if own is not None:
            own.close()

    def _reading(self, now: int) -> str:
        """The time of a mark and, unless marks are too dense for it, its reading, as JSON keys."""
        own, device = self.own, self.device
        if (own is None and device is None) or now < self._dry_until_ns:
            return f',"t":{now}'
        tokens = self._tokens + (now - self._refilled_ns) / READING_EVERY_NS
        self._refilled_ns = now
        self._tokens = tokens = tokens if tokens < READINGS_IN_A_BURST else READINGS_IN_A_BURST
        if tokens < 1:
            again = now - self._dry_until_ns < DRY_NS
            self._dry_ns = min(2 * self._dry_ns, DRY_AT_MOST_NS) if again else DRY_NS
            self._dry_until_ns = now + self._dry_ns
            return f',"t":{now}'
        self._tokens = tokens - 1
        # First the GPU's: the readings of the process lie close to the mark's own time.
        figures = device() if device is not None else ""
        if own is None:
            return f',"t":{self._now()}{figures}'
        try:
            begun, t, rss, high, most = own.read()
        except (OSError, ValueError, IndexError) as error:
            self.own = None
            own.close()
            self.missing(f"marks carry time alone from here: {error}")
            return f',"t":{self._now()}{figures}'
        if most:
            figures = f',"x":{most}{figures}'
        return f',"t":{t},"d":{t - begun},"rss":{rss},"hwm":{high}{figures}'

    def _write(self, line: str) -> None:
        # Not in a forked child, whose lock may be held by a thread that it does not have.
        if self._fd < 0:
            return
        # What is cut off a torn line must not be another thread's that came behind it.
        with self._one_at_a_time:
            if self._held:
                line = self._held_lines() + line
            if self._fd < 0:
                return
            data = line.encode("ascii", "backslashreplace")
            try:
                written = write(self._fd, data)
            except OSError as error:
                self._write_again(error, data)
            else:
                if written < len(data):
                    self._cut(written)


def _origin(error: BaseException) -> tuple[int, int, int]:
    """What tells an exception from another, and keeps nothing of it.

    Its id alone may have been another's, which was handled and is gone: so also where it was
    raised.
    """
    trace, code, at = error.__traceback__, 0, 0
    while trace is not None:
        code, at = id(trace.tb_frame.f_code), trace.tb_lasti
        trace = trace.tb_next
    return id(error), code, at


class Open:
    """A phase that was begun here, and the one around it. Made by `enter`, ended by `leave`.

    Attributes:
        session: that has it; None once it has ended.
        number: in the recording; negative where nothing was written.
        outer: the phase around it.
        by: whoever wants to find it again among those that are open.
        handled: the id of the exception that was handled as it began.
        path: its path, and when it began, by ``begun_ns``, if marks were dense then; else 0.
    """

    # Without an __init__: where calls come densely, each function in between finds the caches cold.
    __slots__ = ("begun_ns", "by", "handled", "number", "outer", "path", "session")

    begun_ns: int
    by: object
    handled: int
    number: int
    outer: Open | None
    path: str
    session: Session | None


def enter(path: str, detail: str = "", by: object = None) -> Open | None:
    """Begin a phase inside the one that is open here; None where nothing records.

    Args:
        path: the phase's path.
        detail: what more is known of it, such as a module's class.
        by: whoever wants to find this phase again among those that are open here.
    """
    session = current
    if session is None:
        return None
    outer = _inside.get()
    # A generator leaves its phase in another order, or in another context, than it entered it:
    # what has ended meanwhile, or belongs to an earlier recording, is passed over.
    while outer is not None and outer.session is not session:
        outer = outer.outer
    opened = Open()
    opened.session = session
    opened.number = -1
    opened.outer = outer
    opened.by = by
    opened.begun_ns = 0
    # What was raised before cannot come from in here: clean-up in an except clause ends well,
    # while Python still calls that the exception of the moment. By its id: see `_origin`.
    opened.handled = id(_exception())
    session.begin(opened, path, detail)
    _inside.set(opened)
    return opened


def leave(opened: Open | None) -> None:
    """End a phase; nothing happens where it has ended before, or never began."""
    if opened is None or opened.session is None:
        return
    session, opened.session = opened.session, None
    error = _exception()
    if error is not None and id(error) != opened.handled:
        session.passed(error, opened)
    if _inside.get() is opened:
        _inside.set(opened.outer)
    session.end(opened)


class phase:
    """``with phase("name"):`` makes a phase of the recording that runs, if one runs.

    It may be nested, entered again while it is open, and used from threads and from asyncio tasks.
    The name is the phase's path as it will be shown: ``phase("eval/forward")``. An exception passes
    through and ends the phase.
    """

    __slots__ = ("_opened", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self._opened: Open | None = None

    def __enter__(self) -> phase:
        if current is not None:
            self._opened = enter(as_text(self.name), by=self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._opened is None:
            return
        # One object may be open several times, in several threads: end the innermost of here.
        opened = _inside.get()
        while opened is not None and (opened.by is not self or opened.session is None):
            opened = opened.outer
        leave(opened or self._opened)


def mark(text: str) -> None:
    """Mark this moment of the recording that runs, if one runs, with a text."""
    session = current
    if session is not None:
        session.text(as_text(text))


def activate(session: Session) -> None:
    """Make a session the one that `phase` and `mark` write to."""
    global current
    current = session


def deactivate() -> None:
    """Leave no session; phases that are open end as they are left."""
    global current
    current = None


def _in_forked_child() -> None:
    # The file, the descriptors on /proc/self (still the parent's) and the phases are the parent's.
    global forked, forked_while_recording
    forked = True
    if current is not None:
        current.abandon()
        deactivate()
        forked_while_recording = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_child)


def as_text(name: object) -> str:
    """The name as text; a ``__str__`` that raises must not do so only while something records."""
    try:
        return str(name)
    except Exception:
        return f"<{type(name).__name__}>"
