"""Makes the charts of a finished recording, in a process of their own.

matplotlib takes 57 MiB and half a second, and is never imported in the process that is recorded.
"""

from __future__ import annotations

import os

from timeline.recorder.spawn import WorkerError, interpreter, library_root, python_path
from timeline.recording.format import CHARTS
from timeline.units import format_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CHARTS_S = 60.0
"""A million samples take some 10 s on a slow machine."""

_BOOTSTRAP = """\
import json, sys
# Behind our own: a json.py beside the user's script must not stand for the library's.
sys.path += [entry for entry in json.loads(sys.argv.pop(1)) if entry not in sys.path]
from timeline.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def make_charts(directory: str) -> str:
    """Make ``report.png`` and ``report.html`` of a finished recording.

    Returns:
        One line for the user: the peak and where the charts are, or why there are none.
    """
    import json
    import subprocess

    png, html = (os.path.join(directory, name) for name in CHARTS)
    again = f"not all charts were made, see python -m timeline report {directory}"
    path = json.dumps([library_root(), *python_path()])
    try:
        child = subprocess.run(
            [
                *(interpreter(), "-P", "-c", _BOOTSTRAP, path),
                *("report", directory, "--json", "-o", png, "-o", html),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CHARTS_S,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        return f"{again}: they took over {CHARTS_S:g} s"
    except (OSError, ValueError, WorkerError) as error:
        return f"{again}: {error}"
    if child.returncode:
        said = child.stderr.decode("utf-8", "replace").strip().splitlines()
        why = said[-1].removeprefix("timeline: ") if said else f"exit code {child.returncode}"
        return f"{again}: {why}"
    return f"{_peak(json.loads(child.stdout))}charts in {html} and {os.path.basename(png)}"


def _peak(document: dict[str, Any]) -> str:
    host = document["channels"].get("host.rss")
    if not host:
        return ""
    phase = host["peak_phase"]
    return f"peak {format_bytes(host['peak'])}{f' in {phase}' if phase else ''}; "
