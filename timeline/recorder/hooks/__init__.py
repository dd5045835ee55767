"""Phases of torch without being asked: `install` when recording starts, `uninstall` when it ends.

``importing`` waits for torch; ``torch_hooks`` and ``keras_hooks`` list the functions that get a
probe, and ``planting`` puts it into their own code; ``torch_phases`` says which call is which
phase, and ``nesting`` where each thread is. See docs/phases.md.
"""

from __future__ import annotations

import os
import sys

from timeline.recorder import session as sessions
from timeline.recorder.hooks.importing import ModuleWatcher, is_importing

_installed = False
_watcher: ModuleWatcher | None = None
_anatomy = 0
_snapshot = False


def install(*, anatomy: int = 0, snapshot: bool = False) -> None:
    """From here torch's calls become phases; at once, or as soon as torch has been imported.

    Calling it again does nothing. It never raises: what this torch has no hook for is a sentence
    in the recording.

    Args:
        anatomy: the number of the training step to weigh; 0 for none, -1 for an early one.
        snapshot: whether torch's own history of GPU memory is recorded and written.
    """
    global _installed, _watcher, _anatomy, _snapshot
    if _installed:
        return
    _installed, _anatomy, _snapshot = True, anatomy, snapshot
    torch = sys.modules.get("torch")
    if torch is not None and not is_importing(torch):
        _plant()
        return
    _watcher = ModuleWatcher("torch", _plant)
    if torch is None:
        _watcher.watch()
    else:
        _watcher.at_end_of(torch.__spec__)


def uninstall() -> None:
    """Put every function back as it was."""
    global _installed, _watcher
    _installed = False
    watcher, _watcher = _watcher, None
    if watcher is not None:
        watcher.stop()
    planted = sys.modules.get("timeline.recorder.hooks.torch_hooks")
    if planted is not None:
        planted.uproot()


def close_anatomy() -> None:
    """Let go of a step that is being weighed, and say that it did not end."""
    phases = sys.modules.get("timeline.recorder.hooks.torch_phases")
    if phases is not None:
        phases.Probe.forget_anatomy()


def _plant() -> None:
    try:
        # Only now: it needs what torch has imported anyway (ast, inspect), and nobody else does.
        from timeline.recorder.hooks import torch_hooks

        torch_hooks.plant(_anatomy, snapshot=_snapshot)
    except Exception as error:
        if sessions.current is not None:
            sessions.current.missing(f"no phases for torch: {error!r}")


def _in_forked_child() -> None:
    # Nothing records here: a DataLoader's worker should not pay for it. The frames that the child
    # inherited are still on its stack, so that the thread would stay in the phase of the fork.
    if _installed:
        uninstall()
        phases = sys.modules.get("timeline.recorder.hooks.torch_phases")
        if phases is not None:
            phases.probe.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_child)
