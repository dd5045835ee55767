"""What rank 0 shows when its program has ended: the ranks of its run, as far as they are there."""

from __future__ import annotations

import sys
from pathlib import Path

from timeline.errors import TimelineError
from timeline.recorder.ranks import MOST_AT_THE_END
from timeline.recorder.say import say
from timeline.recording.format import CHARTS


def show_ranks(directory: str, *, charts: bool) -> None:
    """Print the table of all ranks and make their charts. What fails costs itself and a sentence.

    It waits for no other rank: one that has not ended is shown as running.

    Args:
        directory: of all ranks.
        charts: whether to make ``report.png`` and ``report.html`` there.
    """
    try:
        # Not before the program has ended: these import numpy, and the charts much more.
        from timeline.recording.group import find_group

        group = find_group(directory)
        if group is None:
            say(f"nothing is recorded: {directory} is not there any more")
            return
        if group.world > MOST_AT_THE_END:
            say(f"recorded in {directory}: see timeline report {directory}")
            return
        from timeline.analysis.ranks import analyze_ranks
        from timeline.cli.views import OfRanks
        from timeline.views.terminal import look_of

        analysis = analyze_ranks(group)
        views = OfRanks(analysis)
        if sys.stderr is not None:
            sys.stderr.write("\n" + views.text(look_of(sys.stderr)))
            sys.stderr.flush()
    except TimelineError as error:
        say(f"no table: {error}")
        return
    except Exception as error:
        say(f"no table: {type(error).__name__}: {error}")
        say(f"recorded in {directory}")
        return
    made = []
    for name in CHARTS if charts else ():
        try:
            views.write(Path(directory, name), theme="light")
        except Exception as error:
            say(f"no {name}: {type(error).__name__}: {error}")
        else:
            made.append(name)
    say(f"recorded in {directory}" + (f", with {' and '.join(made)}" if made else ""))
    if any(each.end == "running" for each in analysis.ranks):
        say(f"some ranks had not ended yet: see timeline report {directory}")
