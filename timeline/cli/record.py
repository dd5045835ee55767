"""The verb without a word: run a program, record it, show the recording."""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from timeline._version import __version__
from timeline.cli.apart import apart, end_at_once
from timeline.cli.ranks import show_ranks
from timeline.errors import TimelineError, UsageError
from timeline.recorder.command import working_directory
from timeline.recorder.directory import make_directory
from timeline.recorder.launch import Ended, run
from timeline.recorder.lines import ask_for
from timeline.recorder.options import DEFAULT_STEP, checked_interval, checked_step
from timeline.recorder.probes import BACKENDS, resolve
from timeline.recorder.ranks import own_rank
from timeline.recorder.say import say
from timeline.recorder.target import name_of
from timeline.recording.format import SUMMARY

if TYPE_CHECKING:
    from types import FrameType

    from timeline.analysis.types import Analysis
    from timeline.recording.types import Recording

WITH_VALUE = ("-o", "--output", "--interval", "--backend", "--anatomy", "--lines")
"""Options that take the next word. All that stands behind the script is the script's."""


def run_and_record(words: list[str], *, help: str) -> int:
    """Run a program and record it; returns its exit code, or ends by the signal that killed it.

    Args:
        words: options, then a script or ``-m`` and a module, then the program's own arguments.
        help: what ``--help`` says first.

    Raises:
        TimelineError: there is nothing to run, or nowhere to record it.
    """
    options, target = _split(words)
    chosen = _parser(help).parse_args(options)
    if not target:
        raise UsageError("there is no script to run: see timeline --help")
    if chosen.output == "":
        raise UsageError("-o names no directory: see timeline --help")
    interval_ns = _interval_ns(chosen.interval)
    resolve(chosen.backend)
    _step(chosen.anatomy)
    name = _module_name(target) if target[0] == "-m" else _script_name(target[0])
    rank = own_rank()
    directory = make_directory(
        chosen.output or "", name, numbered=not chosen.output, force=chosen.force, rank=rank
    )
    if chosen.lines:
        ask_for(directory, chosen.lines)
    ended = run(
        target,
        directory,
        interval_ns=interval_ns,
        exact=not chosen.no_exact,
        backend=chosen.backend,
        rank=rank,
        anatomy=_step(chosen.anatomy),
        snapshot=chosen.snapshot,
    )
    _stop_at_ctrl_c(directory, ended)
    charts = not chosen.no_charts
    if rank is None or rank.world == 1:
        # Else a line said why not, and a table would be of what another recorded there.
        if ended.recorded:
            apart(lambda: show(directory, charts=charts, ended=ended), directory)
    elif rank.rank == 0:
        # After a signal the launcher waits to start all ranks again, or to say what happened.
        group = os.path.dirname(directory)
        apart(lambda: show_ranks(group, charts=charts and not ended.signal), group)
    _flush()
    return _end_as(ended)


def _stop_at_ctrl_c(directory: str, ended: Ended) -> None:
    """From now on Ctrl-C ends this process at once, as the program ended."""

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # asked for once is enough
        # No KeyboardInterrupt: one in a weak reference's callback is lost, one in the text that a
        # namedtuple evaluates makes Python end by SIGINT, and one in an extension module's start
        # can abort it: whatever the exit code was.
        end_at_once()
        say(f"stopped; the recording is complete: see timeline report {directory}")
        _flush()
        os._exit(_end_as(ended))

    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, stop)


def show(directory: str, *, charts: bool, ended: Ended | None = None) -> None:
    """Print the table and make the charts. What fails costs itself and a sentence.

    Args:
        directory: the run directory, finished.
        charts: whether to make ``report.png`` and ``report.html``.
        ended: how the program ended, for a recording that could not be told so.
    """
    if not os.path.isdir(directory):
        say(f"nothing is recorded: {directory} is not there any more")
        return
    try:
        # Not before the program has ended: these import numpy, and the charts much more.
        from timeline.analysis.analyze import analyze
        from timeline.interchange.loading import load

        recording = load(directory)
        if ended is not None and recording.run.end == "running":
            recording = _ended(recording, ended)
        analysis = analyze(recording)
    except TimelineError as error:
        say(f"no table: {error}")
        return
    except Exception as error:
        say(f"no table: {_why(error)}")
        say(f"recorded in {directory}; timeline report {directory} tries again")
        return
    if sys.stderr is not None:
        try:
            _print_table(analysis)
        except Exception as error:
            say(f"no table: {_why(error)}")
    made = []
    for view in ("png", "html") if charts else ():
        path = Path(directory, f"report.{view}")
        try:
            importlib.import_module(f"timeline.views.{view}").write(analysis, path)
        except Exception as error:
            say(f"no {path.name}: {_why(error)}")
        else:
            made.append(path.name)
    say(f"recorded in {directory}" + (f", with {' and '.join(made)}" if made else ""))


def _ended(recording: Recording, ended: Ended) -> Recording:
    """The recording of a program that has ended, where no file tells it: a full disk."""
    run = replace(
        recording.run,
        end="killed" if ended.signal else "exited",
        exit_code=ended.code,
        signal=name_of(ended.signal),
        seen_to_end=False,
        ended_ns=max(recording.run.ended_ns, time.monotonic_ns()),
    )
    why = f"the recording's end could not be written: {SUMMARY} is not there"
    series = dict(recording.series)
    for name, one in series.items():
        if one.channel.exact:
            # Whatever kept the end from being written may have kept rows and lines as well.
            channel = replace(one.channel, exact=False, reason=why)
            series[name] = replace(one, channel=channel)
    return replace(
        recording, run=run, series=series, missing=(*recording.missing, *ended.missing, why)
    )


def _print_table(analysis: Analysis) -> None:
    from timeline.views import text
    from timeline.views.terminal import look_of

    look = look_of(sys.stderr)
    table = text.render(analysis, width=look.width, color=look.color, ascii=look.ascii)
    sys.stderr.write("\n" + table)
    sys.stderr.flush()


def _why(error: Exception) -> str:
    """What failed, in a line: numpy's reason for not being imported is a page of advice."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # What it was comes last there, as in a traceback.
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__


def _flush() -> None:
    try:
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError, RuntimeError):
        # Nobody reads it any more, or Ctrl-C came in the midst of a write. Python would try again
        # at its end, and make the exit code 120.
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        except OSError:
            pass


def _end_as(ended: Ended) -> int:
    """The exit code of a program that exited; otherwise this process ends by the same signal."""
    if ended.code is not None:
        return ended.code
    if not ended.signal:  # nobody knows: not a success, at least
        return 1
    try:
        import resource

        # The program has dumped its core, if it was to; a second one would be ours.
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    except (ImportError, AttributeError, OSError, ValueError):
        pass
    try:
        signal.signal(ended.signal, signal.SIG_DFL)
    except (OSError, ValueError):  # SIGKILL and SIGSTOP have no handler
        pass
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {ended.signal})
    os.kill(os.getpid(), ended.signal)
    return 128 + ended.signal


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Our options, and the command: a script or ``-m`` and a module, and what stands behind."""
    at = 0
    while at < len(words):
        word = words[at]
        if word == "--":
            return words[:at], words[at + 1 :]
        if word == "-m":
            if at + 1 == len(words):
                raise UsageError("-m names no module: see timeline --help")
            return words[:at], words[at:]
        if word.startswith("-m") and not word.startswith("--"):
            return words[:at], ["-m", word[2:], *words[at + 1 :]]
        if not word.startswith("-") or word == "-":
            return words[:at], words[at:]
        at += 2 if word in WITH_VALUE else 1
    return words, []


def _parser(help: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="timeline",
        usage="timeline [options] script.py [args...]",
        description=help,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"timeline {__version__}")
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        help="the run directory; NAME-YYYYMMDD-HHMMSS.timeline by default",
    )
    parser.add_argument(
        "--interval", metavar="S", default="0.01", help="seconds between two samples (0.01)"
    )
    parser.add_argument(
        "--no-exact", action="store_true", help="leave the kernel's high-water mark alone"
    )
    parser.add_argument("--no-charts", action="store_true", help="the table only")
    parser.add_argument("--force", action="store_true", help="overwrite the recording in DIR")
    parser.add_argument(
        "--backend", metavar="NAME", default="auto", help=f"one of {', '.join(BACKENDS)}"
    )
    parser.add_argument(
        "--snapshot",
        action="store_true",
        help="have torch record its allocations on GPUs, and keep a snapshot of the peak",
    )
    parser.add_argument(
        "--anatomy",
        metavar="STEP",
        default=DEFAULT_STEP,
        help="the training step to weigh in full; by default auto: an early one, for no more than "
        "its own time again; or off",
    )
    parser.add_argument(
        "--lines",
        metavar="FUNCTION",
        action="append",
        default=[],
        help="memory line by line in a function: of the script, or module.function; may be given "
        "several times",
    )
    return parser


def _step(text: str) -> int:
    try:
        step: int | None = checked_step(text)
    except UsageError:
        step = None
    if step is None or (step == 0 and text.isdigit()):
        raise UsageError(
            f"--anatomy is {text!r}: give the number of a step, from 1 on, auto or off"
        )
    return step


def _interval_ns(text: str) -> int:
    try:
        return checked_interval(float(text))
    except (UsageError, ValueError):
        raise UsageError(
            f"--interval is {text!r}: give seconds over 0 and up to an hour, such as 0.01"
        ) from None


def _script_name(script: str) -> str:
    """What the recording of a script is called.

    Raises:
        UsageError: it is nothing that Python can run.
    """
    if script == "-":
        return "stdin"
    if not script:
        raise UsageError("there is no script '': see timeline --help")
    path = Path(script)
    try:
        if path.is_dir():
            if not any((path / name).is_file() for name in ("__main__.py", "__main__.pyc")):
                raise UsageError(f"{script} is a directory without a __main__.py: name a script")
        elif not path.exists():
            raise UsageError(f"there is no script {script}: see timeline --help")
        elif path.is_file():
            path.open("rb").close()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"the script {script} cannot be read: {why}") from None
    return path.absolute().stem if path.name in ("", "..") else path.stem


def _module_name(target: list[str]) -> str:
    """What the recording of a module is called.

    Raises:
        UsageError: there is no package or module of its first name.
    """
    module = target[1]
    first = module.partition(".")[0]
    here = [] if sys.flags.safe_path else [working_directory()]
    sys.path[:0] = here
    try:
        found = importlib.util.find_spec(first) is not None
    except (ImportError, ValueError):
        found = bool(first)
    finally:
        del sys.path[: len(here)]
    if not found:
        raise UsageError(f"there is no module {first or module!r} to run with -m")
    return module
