"""Say what can be measured here, and why not the rest.

What is measured was tried on this machine, not looked up; of packages the version is told, and none
is imported. The exit code is 0 whatever was found.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from timeline import __version__
from timeline.cli.doctor_spikes import Mark, mark_from_beside, own_mark
from timeline.cli.output import show
from timeline.recorder.reading import counter_slack
from timeline.recorder.surroundings import Surroundings
from timeline.units import format_bytes
from timeline.views.terminal import look_of, neutral, wrap

VERSION = 1
"""Of the document that --json prints."""

_MARKS: dict[Mark, tuple[str, str, str]] = {
    "yes": ("✓", "+", "32"),
    "no": ("✗", "-", "31"),
    "note": ("·", ".", "2"),
}
"""As it is drawn, in ASCII, and its colour."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        about: what it is, in a word or two.
        mark: whether it can be had, or is only worth knowing.
        text: a sentence: what was found, and why not where it was not.
    """

    about: str
    mark: Mark
    text: str


def run(arguments: list[str]) -> int:
    """Run the verb; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="timeline doctor",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print a document for programs")
    options = parser.parse_args(arguments)
    findings = list(examine())
    if options.json:
        document = {"timeline": VERSION, "doctor": [asdict(each) for each in findings]}
        show(json.dumps(document, indent=1) + "\n")
    else:
        show(_text(findings))
    return 0


def _text(findings: list[Finding]) -> str:
    look = look_of(sys.stdout)
    about_width = max(len(each.about) for each in findings)
    lines = []
    for each in findings:
        drawn, plain, color = _MARKS[each.mark]
        mark = plain if look.ascii else drawn
        words = neutral(each.text, ascii=look.ascii).split()
        first = f"{mark} {each.about.ljust(about_width)}  "
        block = wrap(words, look.width, first=first, rest=" " * len(first))
        if look.color:
            block[0] = f"\x1b[{color}m{mark}\x1b[0m" + block[0][len(mark) :]
        lines += block
    return "\n".join(lines) + "\n"


def examine() -> Iterator[Finding]:
    """Look at everything that decides what a recording here will hold."""
    yield Finding("timeline", "note", f"{__version__}, in Python {platform.python_version()}")
    system = platform.platform()
    yield Finding("system", "note", f"{system}, {os.cpu_count() or 1} CPUs")
    yield _tried("marks", own_mark)
    yield _tried("sampling", mark_from_beside)
    yield _slack(platform.system(), platform.release(), os.cpu_count() or 1, _page_size())
    yield _tried("children", _children)
    yield _tried("PSS", _pss)
    yield _tried("limits", _limits)
    yield _tried("OOM killer", _oom_counts)
    yield _package("psutil", "psutil", "host memory where the kernel's own files are missing")
    yield _package(
        "memory_profiler",
        "memory-profiler",
        "its table of lines by --lines, its readings by --backend",
    )
    yield _package("torch", "torch", "its phases are recorded without a change to the script")
    yield _package("matplotlib", "matplotlib", "the PNG")
    yield _package("bokeh", "bokeh", "the HTML page, which needs no network and no server")
    yield _package("nvidia-ml-py", "nvidia-ml-py", "asks NVIDIA's driver about GPUs")
    yield from _gpus()


def _tried(about: str, trial: Callable[[], tuple[Mark, str]]) -> Finding:
    try:
        mark, text = trial()
    except Exception as error:  # a doctor that dies tells nothing
        mark, text = "no", f"could not be tried: {type(error).__name__}: {error}"
    return Finding(about, mark, text)


def _page_size() -> int:
    return os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def _slack(system: str, release: str, cpus: int, page: int) -> Finding:
    """By how much the kernel's counters of RSS may be off (docs/report.md)."""
    version = re.match(r"(\d+)\.(\d+)", release)
    if system != "Linux" or not version:
        return Finding("accuracy", "note", "RSS is what this system counts")
    if (int(version[1]), int(version[2])) >= (6, 2):
        slack = counter_slack(cpus)
        text = f"RSS may be off by up to {format_bytes(slack)} for each kind of page on {cpus} CPUs"
    else:
        text = f"RSS may be off by up to {format_bytes(64 * page)} a thread"
    return Finding("accuracy", "note", f"{text}: the kernel counts in batches")


def _pss() -> tuple[Mark, str]:
    """Whether shared pages can be counted once."""
    try:
        said = Path("/proc/self/smaps_rollup").read_bytes()
    except OSError as error:
        return "no", f"no /proc/PID/smaps_rollup here ({error.strerror})"
    found = re.search(rb"^Pss: +(\d+) kB$", said, re.MULTILINE)
    if not found:
        return "no", "this kernel's smaps_rollup tells no Pss"
    own = format_bytes(int(found[1]) << 10)
    return "yes", f"shared pages of a program and its children are counted once: {own} here"


def _children() -> tuple[Mark, str]:
    """Whether a child of a program is found, and how."""
    if not os.path.exists("/proc/self/status"):
        return "note", "are looked for with psutil, among all processes"
    from timeline.recorder.processes.finding import ByLists, best_finder
    from timeline.recorder.processes.notices import Notices

    command = [sys.executable, "-I", "-S", "-c", "input()"]
    try:
        given = Notices()
    except (OSError, AttributeError) as error:
        no_notices = f"one that lives less than 10 ms may go unseen (no notices: {error})"
    else:
        with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
            child.kill()
        told = {pid for _, _, pid, _ in given.take()}
        accounts = given.accounts()
        given.close()
        if child.pid in accounts:
            return (
                "yes",
                "the kernel gives notice of each, however brief, with its peak: of one it did",
            )
        if child.pid in told:
            return "yes", (
                "the kernel gives notice of each, however brief: of one it did; the peak of one "
                "that ended before it could be read is told to root alone"
            )
        no_notices = "the kernel gave no notice of a child that there was"
    if not isinstance(best_finder(), ByLists):
        text = "are looked for among all processes: no lists here (CONFIG_PROC_CHILDREN)"
        return "note", f"{text}; {no_notices}"
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        listed = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
        child.kill()
    if str(child.pid) not in listed:
        return "no", "the kernel's list of children did not have a child that there was"
    return "yes", f"are found by the kernel's own lists: a child was; {no_notices}"


def _limits() -> tuple[Mark, str]:
    """What a program started from here may have at the most."""
    around = Surroundings(os.getpid())
    sizes: dict[str, int] = {}
    for limit in around.limits:
        name, size = limit["name"], limit["bytes"]
        if isinstance(name, str) and isinstance(size, int):
            sizes[name] = min(size, sizes.get(name, size))
    if not sizes:
        return "no", "no limit can be read here, not even the machine's memory"
    said = ", ".join(f"{name} {format_bytes(size)}" for name, size in sizes.items())
    nested = len(around.cgroups)
    seen = f"{nested} nested cgroups are" if nested > 1 else f"{nested or 'no'} cgroup is"
    return "yes", f"{said}; {seen} seen"


def _oom_counts() -> tuple[Mark, str]:
    """Whether a kill by the kernel's OOM killer would be known as one."""
    around = Surroundings(os.getpid())
    if any("oom_kill" in each.counts() for each in around.cgroups):
        return "yes", "its kills are counted by cgroup here, so that one is told by name"
    if "oom_kill" in str(around.counted()["machine"]):
        return "note", "its kills are counted here, of the whole machine alone"
    return "no", "its kills are not counted here: a SIGKILL is told, and not whose it was"


def _gpus() -> Iterator[Finding]:
    """Each GPU that a program started from here would see, read once as a recording does it."""
    # As a stream opens: what it says is what a recording would say.
    from timeline.recorder.probes.nvml import open_stream
    from timeline.recorder.streams import Unavailable, Watched

    try:
        streams = open_stream(Watched(os.getpid(), "", interval_ns=0))
    except Unavailable as why:
        yield Finding("GPU", "no", str(why).removeprefix("no GPU: "))
        return
    except Exception as error:
        yield Finding("GPU", "no", f"could not be tried: {type(error).__name__}: {error}")
        return
    for stream in streams:
        row = stream.read()
        about = stream.about()
        missing = "; ".join(stream.missing())
        if not row:
            yield Finding(stream.name, "no", f"{about}: {missing}")
        else:
            text = f"{about}: {format_bytes(row[2])} used now" + (f"; {missing}" * bool(missing))
            yield Finding(stream.name, "yes", text)


def _package(about: str, distribution: str, purpose: str) -> Finding:
    # Not imported: torch alone takes seconds.
    try:
        return Finding(about, "yes", f"{metadata.version(distribution)}: {purpose}")
    except metadata.PackageNotFoundError:
        return Finding(about, "no", f"not installed: {purpose}")
