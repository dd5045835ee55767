"""Runs in the interpreter of a recorded program while it starts, and leaves no trace.

The launcher puts this directory first on PYTHONPATH, so that ``site`` imports this module in place
of the sitecustomize that the program would have had. See timeline/recorder/launch.py.
"""

import os
import sys


def _enter(here: str) -> None:
    del sys.modules[__name__]
    for entry in [entry for entry in sys.path if os.path.abspath(entry) == here]:
        sys.path.remove(entry)
    sys.path_importer_cache.pop(here, None)
    words = os.environ.pop("TIMELINE_RECORDS").split(":", 5)
    exact, fd, was, anatomy, snapshot, directory = words
    rest = os.environ.pop("PYTHONPATH")[len(here) + 1 :]
    if was == "set":
        os.environ["PYTHONPATH"] = rest
    # By the place of this file: from a checkout as well, and whatever else is called timeline.
    root = os.path.dirname(os.path.dirname(os.path.dirname(here)))
    known = root in sys.path_importer_cache
    sys.path.insert(0, root)
    try:
        from timeline.recorder.bootstrap import start
    finally:
        sys.path.remove(root)
        if not known:
            sys.path_importer_cache.pop(root, None)
    start(
        directory,
        exact=exact == "exact",
        fd=int(fd),
        anatomy=int(anatomy),
        snapshot=snapshot == "1",
    )


try:
    _enter(os.path.dirname(os.path.abspath(__file__)))
except Exception:
    # No phases. The launcher sees that there is no file of them, and says so.
    pass

# The one that we stood in for, if there is one. If there is none, site expects just the error that
# this raises; if it fails, site says so as it would have.
import sitecustomize  # type: ignore[import-not-found] # noqa: E402, F401
