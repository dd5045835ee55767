"""Write a recording in the format of another tool: --to mprof, for `mprof plot` and `mprof peak`.

RUN is a run directory, also one that is still being written, or a file of mprof.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

from timeline.cli.output import write_whole
from timeline.errors import RecordingExistsError, UsageError
from timeline.interchange import mprof_writer
from timeline.interchange.loading import load
from timeline.recorder.say import say
from timeline.recording.types import Recording

FORMATS = ("mprof",)


def run(arguments: list[str]) -> int:
    """Run the verb; returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.to not in FORMATS:
        raise UsageError(f"there is no export to {options.to!r}: use --to {', '.join(FORMATS)}")
    recording = load(options.run)
    path = Path(options.output or default_name(recording))
    if path.exists() and not path.is_dir() and not options.force:
        raise RecordingExistsError(f"{path} exists; choose another name with -o, or use --force")
    write_whole(path, partial(mprof_writer.write, recording))
    say(f"wrote {path}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="timeline export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="the run directory or mprofile_*.dat")
    parser.add_argument("--to", metavar="FORMAT", required=True, help="the format: mprof")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="the file (default: mprofile_<start of the run>.dat)"
    )
    parser.add_argument("--force", action="store_true", help="replace a file that exists")
    return parser


def default_name(recording: Recording) -> str:
    """The name that mprof would have given: it lists and plots only files named so."""
    start = time.localtime(recording.run.started_time_ns // 10**9)
    return f"mprofile_{time.strftime('%Y%m%d%H%M%S', start)}.dat"
