"""Where each thread of the program is, and which phases may open there.

Of calls inside calls only the outermost is a phase. `Here.quiet` says, for the thread that asks,
which kinds of phase do not open now; the probes ask it before anything else, so that the calls
inside a phase cost one look.
"""

from __future__ import annotations

import sys
from _thread import _local

from timeline.recorder.session import Open, enter, leave

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

KINDS = ("call", "backward", "step", "data", "load")


class Quiet:
    """For each kind of phase whether it does not open in this place."""

    __slots__ = KINDS

    profile = False
    """A profiler of the program's own is told wherever it starts."""

    def __init__(self, *but: str) -> None:
        """No kind opens here, ``but`` these."""
        for kind in KINDS:
            setattr(self, kind, kind not in but)


OUTSIDE = Quiet(*KINDS)
IN_CALL = Quiet("backward")
"""autograd.grad inside forward, as for a gradient penalty, is a backward of its own."""
IN_STEP = Quiet("call", "backward")
"""A closure, as for LBFGS, runs both."""
IN_WEIGHED_CALL = Quiet("call", "backward")
"""As `IN_CALL`, but the probe is told of the modules called inside."""
NOTHING = Quiet()
"""In backward, where checkpointing runs forward again; in data, load and what is no phase."""
BUILDING = Quiet("call", "backward", "step", "data")
"""Nothing opens, but the probe is told, to find out whether the module is still being built."""


class Watch:
    """Looks on while a phase is open; here it sees nothing. See `timeline.recorder.hooks.watching`.

    None of its methods raises.
    """

    __slots__ = ()

    def begin(self, path: str, detail: str, opened: Open) -> bool:
        """The phase has begun. Returns whether the calls of modules inside are to be told."""
        return False

    def returned(self, value: Any) -> None:
        """The function whose call is the phase returns this."""

    def end(self) -> None:
        """The phase is about to end."""

    def ended(self) -> None:
        """It has ended, and its mark is written."""


class Watcher:
    """Chooses who looks on at a phase. See `timeline.recorder.hooks.anatomy`.

    Attributes:
        done: whether it has seen what it was there for. Then it is not asked any more about phases
            that come so densely that they have no reading.
        awaits_turns: whether it is asked about an optimizer's steps all the same.
    """

    done = False
    awaits_turns = False

    def watch(self, path: str, of: Any, inputs: Any) -> Watch | None:
        """Who looks on at a phase that has just begun; None for nobody."""
        return None


NOBODY = Watcher()
NOBODY.done = True


class Here(_local):
    """One object for all threads, with attributes of its own in each.

    Attributes:
        watcher: of all threads, who is told what calls return.
        quiet: which kinds of phase do not open now.
    """

    watcher: Watcher = NOBODY
    quiet: Quiet

    def __init__(self) -> None:
        # Called once in each thread that asks.
        self._around: list[tuple[Quiet, Open | None, Watch | None]] = []
        self.quiet = OUTSIDE
        self._building: tuple[int, Open] | None = None

    def open(
        self,
        inside: Quiet,
        path: str,
        detail: str = "",
        watcher: Watcher | None = None,
        of: Any = None,
        inputs: Any = None,
    ) -> None:
        """A phase opens, until `end`; within it ``inside`` says what else opens.

        ``watcher`` may look on at it while it is open, and have the calls of modules inside told;
        ``of`` and ``inputs`` are for it.
        """
        around = self.quiet
        opened = watch = None
        if around is BUILDING and self._is_building():
            inside = NOTHING
        else:
            if around is BUILDING:
                around = OUTSIDE
            try:
                opened = enter(path, detail)
            except Exception:
                # Out of stack or memory: the program will see that for itself, in its own code.
                pass
        if (
            watcher is not None
            and opened is not None
            and not (
                opened.begun_ns
                and watcher.done
                and not (inside is IN_STEP and watcher.awaits_turns)
            )
        ):
            try:
                watch = watcher.watch(path, of, inputs)
                if watch is not None and watch.begin(path, detail, opened) and inside is IN_CALL:
                    inside = IN_WEIGHED_CALL
            except Exception:
                watch = None
            except BaseException:  # Ctrl-C: nobody else would end the phase
                leave(opened)
                raise
        # The last thing done, and the first undone: an interrupt before it leaves nothing open.
        self._around.append((around, opened, watch))
        self.quiet = inside

    def pass_by(self) -> None:
        """Something begins that is no phase, and ends with `end`; within it nothing else opens."""
        self._around.append((self.quiet, None, None))
        self.quiet = NOTHING

    def call_inside(self, watch: Watch) -> None:
        """A module is called inside a weighed call, until `end`."""
        self._around.append((self.quiet, None, watch))

    def end(self) -> None:
        """The innermost `open` or `pass_by` of this thread ends."""
        if not self._around:
            # Begun before a fork.
            return
        self.quiet, opened, watch = self._around.pop()
        if watch is not None:
            watch.end()
        if opened is not None:
            try:
                leave(opened)
            except Exception:
                pass
        if watch is not None:
            watch.ended()

    def returned(self, value: Any) -> Any:
        """What the call returns that is innermost; it is handed on as it is."""
        if self._around and self._around[-1][2] is not None:
            self._around[-1][2].returned(value)
        return value

    def build(self, frame: FrameType, detail: str) -> None:
        """``load`` opens until this frame returns."""
        try:
            opened = enter("load", detail)
        except Exception:
            return
        if opened is None:
            return
        # The frame by its id: whoever holds a frame keeps what is in its f_trace.
        self._building = (id(frame), opened)
        self.quiet = BUILDING
        frame.f_trace = UntilReturn(self, opened, frame.f_trace)

    def built(self, opened: Open) -> None:
        """The construction that is this phase has ended, if it had not before."""
        # Another thread asks where the garbage collector there let go of the frame.
        if self._building is not None and self._building[1] is opened:
            self._building = None
            if self.quiet is BUILDING:
                self.quiet = OUTSIDE
        leave(opened)

    def forget(self) -> None:
        """This thread is in no phase: its frames are those of another process."""
        self._around.clear()
        self._building = None
        self.quiet = OUTSIDE

    def _is_building(self) -> bool:
        """Whether the module that was being built still is; if not, that phase ends here."""
        if self._building is None:
            return False
        frame_id, opened = self._building
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            if id(frame) == frame_id:
                return True
            frame = frame.f_back
        self.built(opened)
        return False


class UntilReturn:
    """Ends the phase of a construction when the outermost ``__init__`` returns.

    It stands in that frame's ``f_trace``. Nothing calls it there unless a debugger starts tracing,
    or lines are traced: what traces those of this very frame stands ``around`` it, and is told. But
    it is released the moment the frame has ended, before its local names are: no class's
    ``__init__`` is wrapped and no profile function is set, which would slow the construction down.
    A traceback keeps the frame, and with it the phase, of an ``__init__`` that raised; the next
    phase of the thread then finds that the frame is no longer there (`Here.open`).
    """

    __slots__ = ("_around", "_here", "_opened")

    def __init__(self, here: Here, opened: Open, around: Any = None) -> None:
        self._around = around
        self._here = here
        self._opened = opened

    def __call__(self, frame: FrameType, event: str, argument: object) -> UntilReturn:
        """What a debugger that was started meanwhile makes the interpreter call."""
        if self._around is not None:
            self._around = self._around(frame, event, argument)
        return self

    def __del__(self) -> None:
        try:
            self._here.built(self._opened)
        except Exception:
            # The interpreter is being taken down.
            pass
