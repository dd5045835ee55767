"""Runs in the interpreter of a followed script while it starts.

The parent puts this directory first on PYTHONPATH, so that ``site`` imports this module in place
of the sitecustomize that the script would have had. See timeline/theory/script/launch.py.
"""

import os
import sys


def _enter(here: str) -> None:
    del sys.modules[__name__]
    for entry in [entry for entry in sys.path if os.path.abspath(entry) == here]:
        sys.path.remove(entry)
    sys.path_importer_cache.pop(here, None)
    was, asked = os.environ.pop("TIMELINE_FOLLOWS").split(":", 1)
    rest = os.environ.pop("PYTHONPATH")[len(here) + 1 :]
    if was == "set":
        os.environ["PYTHONPATH"] = rest
    # By the place of this file: from a checkout as well, and whatever else is called timeline.
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(here))))
    sys.path.insert(0, root)
    try:
        from timeline.theory.script.child import start

        start(asked)
    finally:
        sys.path.remove(root)


_enter(os.path.dirname(os.path.abspath(__file__)))

# The one that we stood in for, if there is one. If there is none, site expects just the error that
# this raises; if it fails, site says so as it would have.
import sitecustomize  # type: ignore[import-not-found] # noqa: E402, F401
