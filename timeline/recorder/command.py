"""The command line of plain Python that runs a program as this interpreter would have run it."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

INJECT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "inject")
"""The directory of our sitecustomize."""

FEWEST_FILES = 32
"""Of open files, the limit from which our part, with six of its own, leaves the program enough."""

LOADED_FIRST = ("contextvars", "fcntl", "importlib", "resource", "timeline", "warnings")
"""What our part imports in the program that plain Python would not have, and that is a file which
one beside the script could stand before. A test holds this list to what is imported."""


def interpreter_options() -> list[str]:
    """What this interpreter was given before ``-m timeline``: ``-u``, ``-W error``, ``-X dev``."""
    options: list[str] = []
    words = iter(sys.orig_argv[1:])
    for word in words:
        if word == "--check-hash-based-pycs":
            options += [word, next(words, "default")]
            continue
        if not word.startswith("-") or word in ("-", "--"):
            break
        # One word may hold several: -um is -u and -m.
        for at, letter in enumerate(word[1:], 1):
            if letter in "mc":
                if at > 1:
                    options.append(word[:at])
                return options
            if letter in "WX":
                options.append(word)
                if at == len(word) - 1:
                    options.append(next(words, ""))
                break
        else:
            options.append(word)
    return options


def why_no_phases(target: Sequence[str]) -> str:
    """Why our part cannot be run in the program, or nothing."""
    flags = sys.flags
    if flags.isolated or flags.ignore_environment or flags.no_site:
        return "Python was started with -I, -E or -S, and does not look for the recorder's part"
    if _open_files() < FEWEST_FILES:
        return f"fewer than {FEWEST_FILES} open files are allowed, and the program may need them"
    if os.pathsep in INJECT:
        return f"PYTHONPATH cannot hold the recorder's directory, with a {os.pathsep} in {INJECT}"
    home = working_directory()
    if target[0] != "-m":
        script = os.path.realpath(target[0])
        home = script if os.path.isdir(script) else os.path.dirname(script)
    places = [] if flags.safe_path else [home]
    places += [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    for place in places:
        for name in LOADED_FIRST:
            found = _module_file(place, name)
            if found:
                return f"{found} would be hidden by the {name} that the recorder has to import"
    return ""


def _open_files() -> float:
    try:
        import resource

        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return float("inf") if allowed == resource.RLIM_INFINITY else allowed
    except (ImportError, AttributeError, OSError, ValueError):
        return float("inf")


def _module_file(place: str, name: str) -> str:
    path = os.path.join(place, name)
    for file in (path + ".py", os.path.join(path, "__init__.py")):
        if os.path.isfile(file):
            ours = os.path.dirname(os.path.dirname(INJECT))
            return "" if os.path.realpath(os.path.dirname(file)) == os.path.realpath(ours) else file
    return ""


def working_directory() -> str:
    """The working directory; empty where it was deleted, which stops no program."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def own_name() -> str:
    """The name that this Python was called by, if calling it so again finds it."""
    name = sys.orig_argv[0] if sys.orig_argv else ""
    for place in [""] if os.path.dirname(name) else os.get_exec_path():
        path = os.path.join(place, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            same = os.path.abspath(path) == os.path.abspath(sys.executable)
            return name if same else sys.executable
    return sys.executable
