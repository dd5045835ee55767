"""Record where a Python program's memory goes, by phase and with exact peaks.

  timeline [options] script.py [args...]       record a program
  timeline [options] -m package.module [args...]
  timeline report RUN                          show a recording again, or make its charts
  timeline export RUN --to mprof               write it in another tool's format
  timeline breakdown TARGET                    say what a model should need, without running it
  timeline estimate TARGET                     predict a run's GPU memory, with no GPU
  timeline doctor                              say what can be measured here

A first word that is none of these verbs is a script; ./report is a script, too.
"""

from __future__ import annotations

import atexit
import os
import sys
from importlib import import_module

from timeline.errors import TimelineError, UsageError
from timeline.recorder.say import say

VERBS = {
    "report": "timeline.cli.report",
    "export": "timeline.cli.export",
    "breakdown": "timeline.cli.breakdown",
    "estimate": "timeline.cli.estimate",
    "doctor": "timeline.cli.doctor",
}
"""Each is a module with ``run(arguments) -> exit code``; its help is its docstring."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    Args:
        argv: the words after the program's name; by default those of this process.
    """
    words = sys.argv[1:] if argv is None else argv
    home = VERBS.get(words[0]) if words else None
    try:
        if home is not None:
            run = import_module(home).run
            return int(run(words[1:]))
        from timeline.cli.record import run_and_record

        return run_and_record(words, help=__doc__)
    except KeyboardInterrupt:
        return 130
    except TimelineError as error:
        # Only now: a run that goes well is not to wait for it.
        from timeline.views.terminal import neutral

        # A file may have any name, with line ends and what a terminal acts upon in it.
        say(neutral(str(error)))
        return 2 if isinstance(error, UsageError) else 1


def program() -> int:
    """The command line as a program of its own; returns the exit code, or ends the process."""
    code = main()
    # Under -i and PYTHONINSPECT the prompt was the recorded program's; a second one would be ours.
    if "torch" in sys.modules or sys.flags.inspect:
        _leave(code)
    return code


def _leave(code: int) -> None:
    """End without unloading torch: with its CUDA wheel that takes 1 s of CPU and 100 MiB more."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return  # nobody reads any more: the ordinary end says so
    atexit._run_exitfuncs()
    os._exit(code)
