"""Show a recording: a table on the terminal, or a chart, page, text or document in a file.

RUN is a run directory, also one that is still being written, or a file of memory_profiler's mprof.
An estimate's FILE.json opens, too.
A directory of ranks is shown as one run: who peaked, who was slow, who died; RUN/rank-0003 is one.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from timeline.analysis.analyze import analyze
from timeline.cli.views import OfEstimate, OfRanks, OfRun, Views, deliver
from timeline.errors import UsageError
from timeline.interchange import estimates
from timeline.interchange.loading import load
from timeline.recording.format import FACTS
from timeline.recording.group import find_group

SUFFIXES = (".html", ".png", ".json", ".txt")


def run(arguments: list[str]) -> int:
    """Run the verb; returns the exit code."""
    options = _parser().parse_args(arguments)
    source = Path(options.run)
    outputs = [_output(Path(each), source) for each in options.output]
    if options.theme and not any(each.suffix.lower() == ".png" for each in outputs):
        raise UsageError("--theme is for a chart: give -o FILE.png with it")
    views = _views(source)
    deliver(views, outputs, theme=options.theme or "light", json=options.json)
    return 0


def _views(source: Path) -> Views:
    """What there is to show at a path: a recording, those of all ranks of a run, an estimate."""
    if estimates.is_one(source):
        return OfEstimate(*estimates.read(source))
    group = find_group(source)
    if group is None:
        return OfRun(analyze(load(source)))
    if group.world == 1 and group.ranks:
        return OfRun(analyze(load(group.ranks[0])))
    from timeline.analysis.ranks import analyze_ranks

    return OfRanks(analyze_ranks(group))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="timeline report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="the run directory or mprofile_*.dat")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        action="append",
        default=[],
        help="write FILE, by its suffix .html, .png, .json or .txt; may be given several times",
    )
    parser.add_argument("--json", action="store_true", help="print the document of the run")
    parser.add_argument("--theme", choices=("light", "dark"), help="colours of a .png")
    return parser


def _output(path: Path, source: Path) -> Path:
    """The path, if something can be written there and it is not part of what is read.

    Raises:
        UsageError: its suffix is unknown, or it would replace a part of the recording.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"{path} has no suffix that says what to write: use one of {', '.join(SUFFIXES)}"
        )
    # A chart is made again in a second, the recording never.
    facts = (source, *(source / name for name in FACTS))
    if os.path.realpath(path) in map(os.path.realpath, facts):
        raise UsageError(f"{path} is part of the recording; choose another name")
    return path
