"""Runs a program as plain Python in a process of its own, and samples it from beside.

The command is ``python [options] script.py args`` with this interpreter's options, and nothing of
ours in it: ``__main__``, ``sys.argv``, tracebacks, ``multiprocessing`` and exit codes are Python's
own. The part that marks phases comes in by a ``sitecustomize`` in a directory that is put
first on ``PYTHONPATH``, and takes directory and variables away again before the program begins.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from timeline.errors import TimelineError
from timeline.recorder.beside import Beside
from timeline.recorder.command import (
    INJECT,
    interpreter_options,
    own_name,
    why_no_phases,
    working_directory,
)
from timeline.recorder.forwarding import Forwarding
from timeline.recorder.overall import high_water_kib, make_overall
from timeline.recorder.probes import resolve
from timeline.recorder.say import say
from timeline.recorder.target import name_of
from timeline.recording.alive import stat_fields
from timeline.recording.format import events_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from timeline.recorder.overall import Overall
    from timeline.recorder.ranks import Rank

VARIABLE = "TIMELINE_RECORDS"


NOT_ENTERED = "no phases: the program's Python did not load the recorder's part"


class Ended:
    """How a program ended.

    Attributes:
        code: its exit code; None if a signal killed it, or if it is not known.
        signal: that signal's number, or 0.
        missing: a sentence for each thing that was lost, where the recording cannot hold it.
        recorded: whether the recording could begin. Else what lies in the directory is another's.
    """

    def __init__(self, code: int | None, signal: int = 0) -> None:
        self.missing: tuple[str, ...] = ()
        self.recorded = True
        self.code = code
        self.signal = signal


def run(
    target: Sequence[str],
    directory: str,
    *,
    interval_ns: int,
    exact: bool,
    backend: str,
    rank: Rank | None = None,
    anatomy: int = 0,
    snapshot: bool = False,
) -> Ended:
    """Run a program to its end and record it.

    Args:
        target: a script and its arguments, or ``-m``, a module and its arguments.
        directory: the run directory, absolute; it exists.
        interval_ns: time between two samples.
        exact: whether the kernel's high-water mark is read and reset.
        backend: a name of `timeline.recorder.probes.BACKENDS`.
        rank: which of several processes the program is.
        anatomy: the number of the training step to weigh; 0 for none, -1 for an early one.
        snapshot: whether torch's own history of GPU memory is recorded and written.

    Raises:
        UsageError: there is no such backend, or it cannot be used here.
        TimelineError: Python could not be started.
    """
    source = resolve(backend)
    exact = exact and source == "linux"
    if not sys.executable:
        raise TimelineError("this program has no Python interpreter of its own to run another with")
    overall = make_overall() if exact else None
    environment = None
    missing = []
    why = why_no_phases(target)
    if not why:
        environment = _environment(directory, exact, overall, anatomy, snapshot)
    else:
        missing.append(f"no phases: {why}")
        if exact:
            missing.append("the program's own ru_maxrss: it tells the peak since our last reading")
    with Forwarding() as signals:
        # A script whose name looks like an option; the word is not in the program's sys.argv.
        ends = ["--"] if target[0].startswith("-") and target[0] != "-m" else []
        process = _start([*interpreter_options(), *ends, *target], environment)
        signals.to(process.pid)
        beside = None
        try:
            beside = Beside(
                process.pid,
                directory,
                argv=target,
                cwd=working_directory(),
                interval_ns=interval_ns,
                exact=exact,
                backend=source,
                overall=overall,
                missing=missing,
                rank=rank.document() if rank else None,
            )
            beside.start()
        except (TimelineError, OSError) as error:
            # The program runs already, and goes on.
            beside = None
            say(f"nothing is recorded: {error}")
        ended, last = _wait(process, signals)
        if beside is not None:
            marks = os.path.join(directory, events_name(process.pid))
            entered = not environment or os.path.exists(marks)
            _stop(beside, ended, last, [] if entered else [NOT_ENTERED])
            beside.settle()
        ended.recorded = beside is not None
    if overall is not None:
        overall.close()
    return ended


def _stop(beside: Beside, ended: Ended, last: int, missing: list[str]) -> None:
    try:
        beside.stop(
            end="killed" if ended.signal else "exited",
            exit_code=ended.code,
            signal=name_of(ended.signal),
            last=last,
            missing=missing,
        )
    except TimelineError as error:
        say(f"the recording's end could not be written: {error}")
        ended.missing = (beside.lost,) if beside.lost else ()


def _environment(
    directory: str, exact: bool, overall: Overall | None, anatomy: int, snapshot: bool
) -> dict[str, str]:
    environment = dict(os.environ)
    before = environment.get("PYTHONPATH")
    # An empty PYTHONPATH is none, but an empty part of one is the working directory.
    environment["PYTHONPATH"] = INJECT + (os.pathsep + before if before else "")
    fd = -1
    if overall is not None:
        fd = overall.fd
        os.set_inheritable(fd, True)
    marks = "exact" if exact else "time"
    was = "unset" if before is None else "set"
    environment[VARIABLE] = f"{marks}:{fd}:{was}:{anatomy}:{snapshot:d}:{directory}"
    return environment


def _start(words: list[str], environment: dict[str, str] | None) -> subprocess.Popen[bytes]:
    try:
        process = subprocess.Popen(
            [own_name(), *words],
            executable=sys.executable,
            env=environment,
            # The program has every descriptor that it would have had. Ours are closed by exec.
            close_fds=False,
        )
    except OSError as error:
        raise TimelineError(f"{sys.executable} cannot be started: {error.strerror}") from None
    # Inherited by the program, as it would be; for us it would lose how it ended. Before, it would
    # not be inherited; and no Python gets to its end in the time between.
    if hasattr(signal, "SIGCHLD") and signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return process


def _wait(process: subprocess.Popen[bytes], signals: Forwarding) -> tuple[Ended, int]:
    """How the program ended, and the maximum that the kernel knows of its last moments, in bytes.

    It is not reaped before that is known: till then its number is its own, for signals and samples.
    """
    last = 0
    if hasattr(os, "waitid"):
        try:
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            signals.no_more()
            alone = _waited_for_no_child(process.pid)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            # Not below what this process had when it became the program; and of the program's
            # children too, once it has waited for them.
            inherited = high_water_kib()
            if alone and usage.ru_maxrss > inherited:
                last = usage.ru_maxrss << 10
        except ChildProcessError:
            signals.no_more()
            process.returncode = 0  # for subprocess; nothing is known
            say("the program's exit code is not known: something else in this process took it")
            return Ended(None), 0
    code = process.wait()
    signals.no_more()
    if code < 0 and os.name == "posix":
        return Ended(None, -code), last
    return Ended(code), last


def _waited_for_no_child(pid: int) -> bool:
    """Whether an ended process never reaped a child: every process has at least one page fault."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = stat_fields(file.read())
        return fields[8] == b"0" and fields[10] == b"0"
    except (OSError, ValueError, IndexError):
        return False
