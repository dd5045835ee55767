"""The results as Markdown: a table of all recorders, and one of the figures to reach.

Every number is a median, with the least and the largest behind it where there are several.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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


def _judged(runs: list[Run], name: str) -> list[Run]:
    return [] if name == BARE else _of(runs, name)


def _caught(runs: list[Run], name: str) -> str:
    judged = _judged(runs, name)
    if not judged:
        return "–"
    return f"{sum(run.caught for run in judged)} of {sum(run.spikes for run in judged)}"


def _worst(runs: list[Run], name: str) -> str:
    errors = [error for run in _judged(runs, name) for error in run.errors]
    return f"{max(errors, key=abs) / MiB:+.1f} MiB" if errors else "–"


def _growth(runs: list[Run], name: str) -> str:
    shares = [run.seen_share for run in _judged(runs, name)]
    return f"{max(statistics.median(shares), 0):.0%}" if shares else "–"


def _gap(runs: list[Run], name: str) -> str:
    gaps = [run.longest_gap_ns / 1e6 for run in _judged(runs, name)]
    return _spread(gaps, "{:.0f} ms") if gaps else "–"


def _bytes(runs: list[Run], name: str) -> str:
    sizes = [run.bytes_a_sample for run in _judged(runs, name)]
    return f"{statistics.median(sizes):.0f}" if sizes else "–"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: what, how much, in what, and how much it may be (None: nothing was asked)."""

    what: str
    value: float
    unit: str
    goal: float | None
    digits: int = 2

    def row(self) -> list[str]:
        """As a line of the table."""
        unit = f" {self.unit}" if self.unit else ""
        measured = f"{self.value:.{self.digits}f}{unit}"
        if self.goal is None:
            return [self.what, "–", measured, ""]
        reached = "yes" if self.value <= self.goal else "**no**"
        return [self.what, f"{self.goal:g}{unit}", measured, reached]


def figures(results: dict[str, Any]) -> str:
    """A row for each figure that timeline has to reach: what was asked, what was measured."""
    rows = [
        *_of_slowdown(results),
        *_of_spikes(results),
        *_of_gil(results.get("gil", [])),
        *_of_micro(results.get("micro")),
        *_of_large(results.get("large")),
        *_of_ranks(results.get("ranks")),
        *_of_children(results.get("children")),
    ]
    head = ["figure", "at most", "measured", "reached"]
    return _table(head, [figure.row() for figure in rows]) if rows else ""


def _of_slowdown(results: dict[str, Any]) -> Iterable[Figure]:
    if "turns" in results:
        turns = results["turns"]
        beside = statistics.median(turns["wall"])
        text = f"training, {len(turns['wall'])} turns in {len(turns['by_process'])} processes"
        yield Figure(f"{text}, slowdown by the sampler", beside, "", 1.01, 3)
        low, high = middle_of_median(turns["wall"])
        yield Figure(f"{text}, the median's 95 % interval, from", low, "", None, 3)
        yield Figure(f"{text}, the median's 95 % interval, to", high, "", None, 3)
        if "micro" in results:
            # The turns have the marks in both: so many a step, and what `micro` found for one.
            each_ns = results["micro"]["modules"]["added"]["sparse_us"] / 2 * 1000
            by_marks = turns["marks_a_step"] * each_ns / turns["step_ns"]
            yield Figure(f"{text}, slowdown with its marks", beside * (1 + by_marks), "", 1.01, 3)
    for part, text, goal in (
        ("training", "training, slowdown of whole runs", None),
        ("dispatch", "0.3 ms steps, slowdown", 1.15),
    ):
        rounds = results.get(part, [])
        for name in _ours([run for runs in rounds for run in runs]):
            wall = statistics.median(ratios(rounds, name))
            cpu = statistics.median(ratios(rounds, name, "cpu_ns"))
            yield Figure(f"{text}, {name}", wall, "", goal, 3)
            yield Figure(f"{text}, {name}, in CPU time of the process", cpu, "", None, 3)


def middle_of_median(values: Sequence[float]) -> tuple[float, float]:
    """Where the median of what these are a sample of lies, 19 times of 20 (by the binomial)."""
    ranked = sorted(values)
    half = 0.98 * len(ranked) ** 0.5
    low = max(int(len(ranked) / 2 - half), 0)
    return ranked[low], ranked[-1 - low]


def _of_spikes(results: dict[str, Any]) -> Iterable[Figure]:
    for part, text in (("spikes", "the run"), ("phases", "each phase")):
        runs = results.get(part, [])
        for name in _ours(runs):
            spikes = sum(run.spikes for run in _of(runs, name))
            if part == "spikes":
                seen = sum(run.caught for run in _of(runs, name))
                errors = [error for run in _of(runs, name) for error in run.errors]
            else:
                errors = [error for run in _of(runs, name) for error in run.phase_errors]
                seen = len(errors)
            worst = max(map(abs, errors), default=0) / MiB
            yield Figure(f"spikes missed, {text}, {name}", spikes - seen, "", 0, 0)
            yield Figure(f"peak error, {text}, {name}", worst, "MiB", 1)


def _of_gil(runs: list[Run]) -> Iterable[Figure]:
    for name in _ours(runs):
        interval_ns = int(name.split()[1]) * 1e6
        gaps = [run.longest_gap_ns / interval_ns for run in _of(runs, name)]
        text = f"longest gap under the GIL, {name}"
        yield Figure(text, statistics.median(gaps), "intervals", 5, 1)
        added = added_mib(runs, name, "start")
        if added is not None:
            yield Figure(f"RSS added to the target, {name}", added, "MiB", 3)


def _ours(runs: Iterable[Run]) -> list[str]:
    return list(dict.fromkeys(r.runner for r in runs if r.runner.startswith("timeline")))


def _of_micro(micro: dict[str, Any] | None) -> Iterable[Figure]:
    if not micro:
        return
    for key, text in (
        ("import", "`import timeline`"),
        ("import all", "`from timeline import record, phase, mark, Recorder`"),
    ):
        yield Figure(text, micro[key]["ms"], "ms", 15, 1)
        yield Figure(f"{text}, RSS", micro[key]["mib"], "MiB", 1.5)
        yield Figure(f"{text}, heavy modules", len(micro[key]["heavy"]), "", 0, 0)
    yield Figure("`phase()` with nothing recording", micro["idle_ns"]["median"] / 1000, "µs", 0.5)
    yield Figure("a mark with its exact reading", micro["mark_us"]["exact"], "µs", 12, 1)
    text = "the least that it can be: two reads, a reset and a line, in the same loop"
    yield Figure(text, micro["mark_us"]["prototype"], "µs", None, 1)
    yield Figure("a mark where marks are dense", micro["mark_us"]["alone"], "µs", None, 1)
    added = micro["modules"]["added"]
    text = "each of the two marks of a module's call"
    yield Figure(f"{text}, with its exact reading", added["sparse_us"] / 2, "µs", 12, 1)
    least = micro["modules"]["bare"]["least_us"]
    yield Figure(
        "the least that it can be, in the same place without a recorder", least, "µs", None, 1
    )
    yield Figure(f"{text}, where marks are dense", added["dense_us"] / 2, "µs", None, 1)
    yield Figure("added to a call inside a module's call", added["inner_us"], "µs", None)


def _of_ranks(ranks: dict[str, Any] | None) -> Iterable[Figure]:
    if not ranks:
        return
    size = f"{ranks['ranks']:,} ranks of an hour at 10 Hz: "
    yield Figure(size + "on disk", ranks["bytes"] / 1e9, "GB", None)
    for name, what in (("merge", "merged"), ("views", "merged, PNG and HTML")):
        yield Figure(size + what, ranks[name]["wall_s"], "s", 60)
        yield Figure(size + f"{what}, processors", ranks[name]["cpu_s"], "s", None)
        yield Figure(size + f"{what}, memory", ranks[name]["bytes"] / 2**20, "MiB", 1024)
    yield Figure(size + "HTML", ranks["html_bytes"] / 1e6, "MB", 5)


def _of_large(large: dict[str, Any] | None) -> Iterable[Figure]:
    if not large:
        return
    size = "1,000,000 samples, 3,000 phases: "
    yield Figure(size + "load and analyse", large["load"] + large["analyze"], "s", 1)
    yield Figure(size + "PNG", large["png"], "s", 3)
    yield Figure(size + "HTML", large["html"], "s", 5)
    yield Figure(size + "HTML", large["html_bytes"] / 1e6, "MB", 14)
    page = large.get("page")
    if page:
        yield Figure(size + "page ready", page["ready_s"], "s", 3)
        yield Figure(size + "worst frame of a wheel zoom", page["worst_frame_ms"], "ms", 150, 0)
        yield Figure(size + "page's maximum off by", page["maximum_off"], "B", 0, 0)


def _of_children(children: dict[str, Any] | None) -> Iterable[Figure]:
    if not children:
        return
    for name, error in children["errors"].items():
        goal = 3 if name.endswith(".pss") else None
        yield Figure(f"8 workers: {name} off by", abs(error) * 100, "%", goal)
    text = "20 processes at 10 ms: CPU of all that samples, of one core"
    yield Figure(text, children["share"] * 100, "%", 3)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
