"""What torch's allocator holds on each GPU, at every mark and now and then in between.

Nothing happens before the program itself has initialised CUDA: torch calls what is queued for that
moment. From there marks carry the allocator's figures, and a thread that sleeps nearly always looks
at them between marks (docs/decisions/0005).
"""

from __future__ import annotations

import _thread
import os
import sys

from timeline.recorder import session as sessions
from timeline.recorder.hooks.torch_allocator import Allocator
from timeline.recorder.hooks.torch_snapshot import History

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from timeline.recorder.session import Session

LOOK_EVERY_S = 0.1
UNCHANGED_FOR = 4
"""So many looks are not written where they saw what the one before saw: half a megabyte an hour."""

MOST_DEVICES = 16

_allocator: Allocator | None = None
_looking: Looking | None = None
_waiting = False
_snapshot = False


def install(torch: Any, *, snapshot: bool = False) -> None:
    """From the program's initialisation of CUDA on its GPUs are watched. Never raises.

    Args:
        torch: the module.
        snapshot: whether torch's own history of allocations is recorded and written.
    """
    global _waiting, _snapshot
    _snapshot = snapshot
    cuda = torch.cuda
    if not hasattr(torch._C, "_cuda_memoryStats"):  # torch for the CPU alone
        return
    try:
        if cuda.is_initialized():
            _begin()
        elif not _waiting:
            # As torch.cuda._lazy_call would, without the text of the stack, which takes a while.
            cuda._queued_calls.append((_begin, []))
            _waiting = True
    except Exception as error:
        _missing(error)


def uninstall() -> None:
    """Watch no more. What the program asks torch for stays true."""
    global _looking
    looking, _looking = _looking, None
    if looking is not None:
        looking.close_history()
        looking.end()
    if _allocator is not None:
        _allocator.restore()


def _begin() -> None:
    """CUDA is being initialised, by the program. Never raises: torch would raise it there."""
    global _allocator, _looking
    session = sessions.current
    if session is None or session.pid != os.getpid() or _looking is not None:
        return
    try:
        torch = sys.modules["torch"]
        if _allocator is None:
            _allocator = Allocator(torch)
        _allocator.exact = session.exact
        _tell_devices(torch, session)
        _allocator.read()
        if session.exact:
            _allocator.exchange()
        _looking = Looking(session, _allocator, _history(torch, session))
        session.device = _looking.figures
    except Exception as error:
        _missing(error)


def _history(torch: Any, session: Session) -> History | None:
    if not _snapshot:
        return None
    try:
        history = History(torch, session)
    except Exception as error:
        session.missing(f"no snapshot: torch cannot record its history: {error!r}")
        return None
    import atexit

    # Before the session's own end, which was registered earlier and comes later.
    atexit.register(history.close)
    return history


def _tell_devices(torch: Any, session: Session) -> None:
    """Which GPU is which, by its UUID: CUDA counts in another order than the driver."""
    for device in range(min(torch._C._cuda_getDeviceCount(), MOST_DEVICES)):
        uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
        if uuid is not None:
            session.fact(f"cuda{device}", str(uuid))


def _missing(error: Exception) -> None:
    if sessions.current is not None:
        sessions.current.missing(f"torch's memory on the GPU cannot be read: {error!r}")


class Looking:
    """The readings of one session: those of its marks, and a thread's in between."""

    def __init__(self, session: Session, allocator: Allocator, history: History | None) -> None:
        """Start the thread."""
        self._session = session
        self._history = history
        self._allocator = allocator
        self._told = _thread.allocate_lock()
        self._told.acquire()
        self._before = ""
        self._unchanged = 0
        try:
            # Not threading.Thread: the program's own list of its threads stays its own.
            _thread.start_new_thread(self._look_on, ())
        except RuntimeError:
            session.missing("torch's memory on the GPU between marks: no thread can be started")

    def figures(self) -> str:
        """What a mark tells of the GPUs, as JSON keys; empty where nothing can be read any more."""
        try:
            rows = self._allocator.read()
            if self._history is not None:
                peak = max(max(row[0], row[1]) for _, row in rows)
                self._history.reached(peak, self._allocator.handed_out)
            return _as_keys(rows)
        except Exception as error:
            self._session.device = None
            self._session.missing(f"torch's memory on the GPU ends here: {error!r}")
            return ""

    def close_history(self) -> None:
        """Write torch's history, if it is recorded."""
        if self._history is not None:
            import atexit

            atexit.unregister(self._history.close)
            self._history.close()

    def end(self) -> None:
        """End the thread; it is not waited for."""
        self._session.device = None
        if self._told.locked():
            self._told.release()

    def _look_on(self) -> None:
        try:
            while not self._told.acquire(True, LOOK_EVERY_S):
                figures = _as_keys(self._allocator.look())
                self._unchanged = self._unchanged + 1 if figures == self._before else 0
                if self._unchanged % UNCHANGED_FOR:
                    continue
                self._before = figures
                if figures and not self._session.look(figures):
                    return
        except Exception as error:
            if self._session.device is not None:
                self._session.missing(f"torch's memory on the GPU between marks: {error!r}")


def _as_keys(rows: list[tuple[int, list[int]]]) -> str:
    if not rows:
        return ""
    devices = ",".join(f'"{device}":[{",".join(map(str, row))}]' for device, row in rows)
    return f',"cuda":{{{devices}}}'
