"""What all views say of the target's children: the sums, and a table that stays short."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from timeline.analysis.processes import TOTAL
from timeline.analysis.types import HOST, Analysis, ChannelSummary, ProcessSummary
from timeline.recording.types import UNKNOWN
from timeline.units import format_bytes, format_duration

ONCE = "each page counted once"
SHARED_OUT = "shared pages counted once (PSS)"
SHARED_OUTSIDE = (
    "; less than the target's RSS, since processes of other programs, or of other ranks, have "
    "pages of it too, and of these it counts a share"
)
IN_EACH = "shared pages counted in each process (RSS)"

HEADINGS = ("process", "pid", "lived", "peak RSS", "PSS")
"""Of a table of processes."""

_TOTALS = (TOTAL, "total.pss", "total.rss")
"""The first that was read is what a chart stacks. PSS comes after: a page that a process of another
program has too, as libraries beside other jobs, counts by a part, so that target and children
together may be less than the target."""

ASKED = ("SIGTERM", "SIGINT", "SIGHUP", "SIGPIPE")
"""By these a process is asked to end: a pool ends all its workers so."""

SMALLEST = 0.01
"""Of the target's peak. Importing torch starts programs of some hundred KiB: telling of them in
every terminal and picture would hide the children that count."""


def matters(analysis: Analysis) -> bool:
    """Whether the children had enough memory, together or one of them, to be told of unasked.

    The page's table and the document tell of all others too.
    """
    host = _summary(analysis, HOST)
    if host is None or not _read(analysis, HOST):
        return True
    sums = (_summary(analysis, name) for name in ("children.rss", "children.pss"))
    most = [each.peak for each in sums if each] + [each.peak for each in analysis.processes]
    return max(most, default=0) >= max(SMALLEST * host.peak, 1)


def band_channel(analysis: Analysis) -> str:
    """The channel of target and children together that a chart stacks.

    One that counts shared pages once, where there is any reading of it; empty without children that
    matter.
    """
    if not matters(analysis):
        return ""
    return next((name for name in _TOTALS if _read(analysis, name)), "")


def meaning(channel: str) -> str:
    """How a sum of a family treats shared pages."""
    return IN_EACH if channel.endswith(".rss") else SHARED_OUT if channel != TOTAL else ONCE


@dataclass(frozen=True, slots=True)
class Sum:
    """Target, children and both, at the moment when both had the most, in bytes.

    Attributes:
        remark: why this is less than the target's RSS alone, where it is.
    """

    channel: str
    target: int
    children: int
    total: int
    t_ns: int
    remark: str = ""


def sums(analysis: Analysis) -> list[Sum]:
    """With shared pages counted once, and with them counted in each process, as far as read."""
    once = next((name for name in _TOTALS[:-1] if _read(analysis, name)), "")
    return [_sum(analysis, name) for name in (once, _TOTALS[-1]) if name and _read(analysis, name)]


def sum_sentences(analysis: Analysis) -> list[str]:
    """The sums in words; of children that do not matter nothing is said."""
    return [_in_words(each) for each in sums(analysis)] if matters(analysis) else []


def _in_words(each: Sum) -> str:
    what = "the same by RSS, which counts shared pages in each process"
    what = what if each.channel.endswith(".rss") else meaning(each.channel)
    return (
        f"With children ~{format_bytes(each.total)} at {format_duration(each.t_ns / 1e9)}: "
        f"target {format_bytes(each.target)} + children {format_bytes(each.children)}; "
        f"{what}{each.remark}"
    )


def _sum(analysis: Analysis, name: str) -> Sum:
    curve = analysis.curves[name]
    at = int(curve.value.argmax())
    total, t = int(curve.value[at]), int(curve.t_ns[at])
    if name == TOTAL:  # it is the target's memory with the children's on it
        own = min(_own_at(analysis, t), total)
        return Sum(name, own, total - own, total, t)
    children = analysis.curves.get("children" + name.removeprefix("total"))
    # Both are of one stream: one row, one moment.
    same = children is not None and len(children.t_ns) == len(curve.t_ns)
    of_children = int(children.value[at]) if children is not None and same else 0
    remark = SHARED_OUTSIDE if total < _own_at(analysis, t) else ""
    return Sum(name, total - of_children, of_children, total, t, remark)


def _own_at(analysis: Analysis, t_ns: int) -> int:
    """The target's RSS at a moment, by the last reading before; 0 where there is none."""
    host = analysis.curves.get(HOST)
    at = int(np.searchsorted(host.t_ns, t_ns, side="right")) - 1 if host is not None else -1
    return int(host.value[at]) if host is not None and at >= 0 else 0


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: a process, or several of one kind.

    Attributes:
        pid: 0 for several.
        count: how many processes.
        begin_ns, end_ns: of their lives; ``ended`` where all have ended.
        peak, pss: the largest of any; ``UNKNOWN`` where none was read.
        killed: by which signals they were killed, such as were not asked to end.
    """

    label: str
    pid: int
    count: int
    begin_ns: int
    end_ns: int
    ended: bool
    peak: int
    exact: bool
    pss: int
    command: str = ""
    killed: str = ""

    @property
    def name(self) -> str:
        """The label, with how many there are of it."""
        return self.label if self.count == 1 else f"{self.count:,} × {self.label}"

    @property
    def figures(self) -> tuple[str, str, str, str]:
        """The cells after the name, as `HEADINGS` has them."""
        begin, end = (format_duration(t / 1e9) for t in (self.begin_ns, self.end_ns))
        sign = "" if self.exact else "~"
        end = end if self.ended else "the end"
        return (
            str(self.pid) if self.pid else "",
            f"{begin} – {end}" + (f", {self.killed}" if self.killed else ""),
            f"{sign}{format_bytes(self.peak)}" if self.peak != UNKNOWN else "–",
            f"~{format_bytes(self.pss)}" if self.pss != UNKNOWN else "–",
        )


def rows(analysis: Analysis, most: int) -> list[Row]:
    """The processes in at most ``most`` lines, the largest first.

    Where they are more, those of one name share a line; where names are more, the last is of the
    rest.
    """
    everyone = sorted(analysis.processes, key=lambda each: (-each.peak, each.begin_ns))
    if len(everyone) <= most:
        return [_of([each], each.label) for each in everyone]
    named: dict[str, list[ProcessSummary]] = {}
    for each in everyone:
        named.setdefault(each.label, []).append(each)
    groups = list(named.items())
    lines = [_of(group, label) for label, group in groups[:most]]
    if len(groups) > most:
        rest = [each for _, group in groups[most - 1 :] for each in group]
        lines[-1] = _of(rest, "other processes")
    return lines


def _of(group: Sequence[ProcessSummary], label: str) -> Row:
    highest = max(group, key=lambda each: each.peak)
    alone = len(group) == 1
    return Row(
        label=label,
        pid=highest.pid if alone else 0,
        count=len(group),
        begin_ns=min(each.begin_ns for each in group),
        end_ns=max(each.end_ns for each in group),
        ended=all(each.ended for each in group),
        peak=highest.peak,
        exact=highest.exact,
        pss=max(each.pss for each in group),
        command=highest.command if alone else "",
        killed=_killed(group),
    )


def _killed(group: Sequence[ProcessSummary]) -> str:
    signals = Counter(each.signal for each in group if each.signal and each.signal not in ASKED)
    if len(group) == 1:
        return "".join(signals)
    return ", ".join(f"{count:,} by {signal}" for signal, count in sorted(signals.items()))


def shown_beside(analysis: Analysis, name: str) -> bool:
    """Whether a channel of the family is drawn without being asked for: the stacked one alone."""
    family = name.startswith(("children.", "total.")) or name == "host.pss"
    if not family or not _read(analysis, HOST):
        return True
    band = band_channel(analysis)
    return name == band or not (band or sums(analysis))


def _read(analysis: Analysis, name: str) -> bool:
    return name in analysis.curves and len(analysis.curves[name].t_ns) > 0


def _summary(analysis: Analysis, name: str) -> ChannelSummary | None:
    return next((each for each in analysis.channels if each.channel.name == name), None)
