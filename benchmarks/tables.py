"""The results as Markdown: a table of all recorders, and one of the figures to reach.

Every number is a median, with the least and the largest behind it where there are several.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from measure import Run

MiB = 1 << 20
BARE = "bare python"


def document(results: dict[str, Any]) -> str:
    """All that was measured."""
    machine = ", ".join(f"{name}: {value}" for name, value in results["machine"].items())
    parts = [f"Machine: {machine}.", recorders(results), figures(results)]
    return "\n\n".join(part for part in parts if part)


def recorders(results: dict[str, Any]) -> str:
    """A row a recorder."""
    timed = [part for part in ("training", "dispatch") if part in results]
    judged = [part for part in ("spikes", "gil") if part in results]
    runs = [run for part in timed for one_round in results[part] for run in one_round]
    runs += [run for part in judged for run in results[part]]
    names = list(dict.fromkeys(run.runner for run in runs))
    if not names:
        return ""
    columns = {
        "recorder": lambda name: name,
        "training": lambda name: _times(results.get("training", []), name),
        "0.3 ms steps": lambda name: _times(results.get("dispatch", []), name),
        "RSS added": lambda name: _added_rss(results.get("gil", []), name),
        "after torch": lambda name: _added_warm(results.get("dispatch", []), name),
        "spikes caught": lambda name: _caught(results.get("spikes", []), name),
        "worst error": lambda name: _worst(results.get("spikes", []), name),
        "seen under the GIL": lambda name: _growth(results.get("gil", []), name),
        "longest gap": lambda name: _gap(results.get("gil", []), name),
        "B a sample": lambda name: _bytes(results.get("spikes", []), name),
    }
    return _table(list(columns), [[make(name) for make in columns.values()] for name in names])


def ratios(rounds: Iterable[Sequence[Run]], runner: str, key: str = "loop_ns") -> list[float]:
    """Of each run, its time over that of the bare runs next to it, before and after, in its round.

    The machine's speed drifts by more than what is measured; between two neighbours it is taken
    to drift evenly.
    """
    found = []
    for runs in rounds:
        bare = [(i, getattr(run, key)) for i, run in enumerate(runs) if run.runner == BARE]
        for i, run in enumerate(runs):
            if run.runner != runner or runner == BARE:
                continue
            (a, first), (b, second) = _around(i, bare)
            expected = first + (second - first) * (i - a) / (b - a)
            found.append(getattr(run, key) / expected)
    return found


def _around(i: int, bare: list[tuple[int, int]]) -> tuple[tuple[int, int], tuple[int, int]]:
    before = max(each for each in bare if each[0] < i)
    after = min(each for each in bare if each[0] > i)
    return before, after


def _times(rounds: list[list[Run]], name: str) -> str:
    if name == BARE:
        loops = [run.loop_ns / 1e9 for runs in rounds for run in runs if run.runner == BARE]
        return _spread(loops, "{:.2f} s") if loops else "–"
    found = ratios(rounds, name)
    return _spread(found, "×{:.3f}") if found else "–"


def _spread(values: Sequence[float], form: str) -> str:
    middle = form.format(statistics.median(values))
    if len(values) < 2:
        return middle
    return f"{middle} ({_plain(form, min(values))}–{_plain(form, max(values))})"


def _plain(form: str, value: float) -> str:
    return form.format(value).strip("× s")


def _of(runs: Iterable[Run], name: str) -> list[Run]:
    return [run for run in runs if run.runner == name]


def added_mib(runs: Sequence[Run], name: str, place: str) -> float | None:
    """MiB of RSS at a named place more than bare, in the median; None if it was not measured."""
    ours = [run.rss[place] for run in _of(runs, name) if place in run.rss]
    bare = [run.rss[place] for run in _of(runs, BARE) if place in run.rss]
    if not ours or not bare:
        return None
    return (statistics.median(ours) - statistics.median(bare)) / MiB


def _added(runs: Sequence[Run], name: str, place: str) -> str:
    if name == BARE:
        here = [run.rss[place] / MiB for run in _of(runs, BARE) if place in run.rss]
        return f"{statistics.median(here):.1f} MiB" if here else "–"
    added = added_mib(runs, name, place)
    return "–" if added is None else f"{added:+.1f} MiB"


def _added_rss(runs: list[Run], name: str) -> str:
    return _added(runs, name, "start")


def _added_warm(rounds: list[list[Run]], name: str) -> str:
    return _added([run for runs in rounds for run in runs], name, "warm")


def _judged(runs: list[Run], name: str) -> Run | None:
    return next((run for run in runs if run.runner == name and name != BARE), None)


def _caught(runs: list[Run], name: str) -> str:
    run = _judged(runs, name)
    return f"{run.caught} of {run.spikes}" if run else "–"


def _worst(runs: list[Run], name: str) -> str:
    run = _judged(runs, name)
    return f"{max(run.errors, key=abs) / MiB:+.1f} MiB" if run and run.errors else "–"


def _growth(runs: list[Run], name: str) -> str:
    run = _judged(runs, name)
    return f"{max(run.seen_share, 0):.0%}" if run else "–"


def _gap(runs: list[Run], name: str) -> str:
    run = _judged(runs, name)
    return f"{run.longest_gap_ns / 1e6:.0f} ms" if run else "–"


def _bytes(runs: list[Run], name: str) -> str:
    run = _judged(runs, name)
    return f"{run.bytes_a_sample:.0f}" if run else "–"


def figures(results: dict[str, Any]) -> str:
    """A row for each figure that timeline has to reach: what was asked, what was measured."""
    rows = [
        (what, f"{goal:g} {unit}".strip(), f"{value:.{digits}f} {unit}".strip(), value <= goal)
        for what, value, goal, unit, digits in _measured(results)
    ]
    if not rows:
        return ""
    body = [[*row[:3], "yes" if row[3] else "**no**"] for row in rows]
    return _table(["figure", "at most", "measured", "reached"], body)


def _measured(results: dict[str, Any]) -> Iterable[tuple[str, float, float, str, int]]:
    for part, text, goal in (
        ("training", "training, slowdown", 1.01),
        ("dispatch", "0.3 ms steps, slowdown", 1.15),
    ):
        for name in _ours(results, part):
            yield (
                f"{text}, {name}",
                statistics.median(ratios(results[part], name)),
                goal,
                "",
                3,
            )
    for part, text in (("spikes", "of the run"), ("phases", "of each phase")):
        for run in results.get(part, []):
            if run.runner.startswith("timeline"):
                errors = run.phase_errors if part == "phases" else run.errors
                missed = run.spikes - (run.caught if part == "spikes" else len(errors))
                worst = max(map(abs, errors), default=0) / MiB
                yield f"spikes missed {text}, {run.runner}", missed, 0, "", 0
                yield f"peak error {text}, {run.runner}", worst, 1, "MiB", 2
    for run in results.get("gil", []):
        if run.runner.startswith("timeline"):
            interval_ns = int(run.runner.split()[1]) * 1e6
            gap = run.longest_gap_ns / interval_ns
            yield f"longest gap under the GIL, {run.runner}", gap, 5, "intervals", 1
            added = added_mib(results["gil"], run.runner, "start")
            if added is not None:
                yield f"RSS added to the target, {run.runner}", added, 3, "MiB", 2
    yield from _of_micro(results.get("micro"))
    yield from _of_large(results.get("large"))


def _ours(results: dict[str, Any], part: str) -> list[str]:
    runs = [run for runs in results.get(part, []) for run in runs]
    return list(dict.fromkeys(r.runner for r in runs if r.runner.startswith("timeline")))


def _of_micro(micro: dict[str, Any] | None) -> Iterable[tuple[str, float, float, str, int]]:
    if not micro:
        return
    yield "import timeline", micro["import"]["ms"], 15, "ms", 1
    yield "import timeline, RSS", micro["import"]["mib"], 1.5, "MiB", 2
    yield "heavy modules that it imports", len(micro["import"]["heavy"]), 0, "", 0
    yield "phase() with nothing recording", micro["idle_ns"]["median"] / 1000, 0.5, "µs", 3
    yield "a mark with its exact reading", micro["mark_us"]["exact"], 12, "µs", 1


def _of_large(large: dict[str, Any] | None) -> Iterable[tuple[str, float, float, str, int]]:
    if not large:
        return
    size = "1,000,000 samples, 3,000 phases: "
    yield size + "load and analyse", large["load"] + large["analyze"], 1, "s", 2
    yield size + "PNG", large["png"], 3, "s", 2
    yield size + "HTML", large["html"], 5, "s", 2
    yield size + "HTML", large["html_bytes"] / 1e6, 14, "MB", 2
    page = large.get("page")
    if page:
        yield size + "page ready", page["ready_s"], 3, "s", 2
        yield size + "worst frame of a wheel zoom", page["worst_frame_ms"], 150, "ms", 0
        yield size + "page's maximum off by", abs(page["maximum_off"]), 0, "B", 0


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
