"""Many ranks in few words."""

from __future__ import annotations

from collections.abc import Sequence

from timeline.analysis.rank_types import RankSummary


def ranks_named(numbers: Sequence[int], most: int = 6) -> str:
    """Ranks in words: ``rank 3``, ``ranks 0-3 and 7``, the first of many."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    texts = [f"{a}" if a == b else f"{a}-{b}" for a, b in runs]
    if len(texts) > most:
        shown = sum(b - a + 1 for a, b in runs[:most])
        texts = [*texts[:most], f"{len(numbers) - shown:,} more"]
    word = "rank" if len(numbers) == 1 else "ranks"
    if len(texts) == 1:
        return f"{word} {texts[0]}"
    return f"{word} {', '.join(texts[:-1])} and {texts[-1]}"


def ending(ranks: Sequence[RankSummary], absent: Sequence[int], unread: dict[int, str]) -> str:
    """One sentence on how the ranks ended: first who failed first, then the others."""
    kinds: dict[tuple[object, ...], list[RankSummary]] = {}
    for each in ranks:
        kinds.setdefault((each.end, each.exit_code, each.signal), []).append(each)
    if len(kinds) == 1 and len(ranks) > 1 and not absent and not unread:
        return f"all {_short(ranks[0])}"

    def order(those: list[RankSummary]) -> tuple[bool, int]:
        failed = those[0].failed
        return not failed, min(each.end_ns for each in those) if failed else -len(those)

    parts = []
    for those in sorted(kinds.values(), key=order):
        numbers = [each.rank for each in those]
        if len(those) == 1:
            parts.append(f"rank {numbers[0]} {those[0].ending}")
        elif len(those) > max(3, len(ranks) // 2):
            parts.append(f"{len(those):,} {_short(those[0])}")
        else:
            parts.append(f"{ranks_named(numbers)} {_short(those[0])}")
    if absent:
        parts.append(f"{ranks_named(absent)} not here")
    if unread:
        parts.append(f"{ranks_named(list(unread))} unreadable")
    return "; ".join(parts)


def _short(rank: RankSummary) -> str:
    if rank.end == "exited":
        return "ended" if rank.exit_code is None else f"exited with code {rank.exit_code}"
    if rank.end == "killed":
        return f"killed by {rank.signal}" if rank.signal else "killed"
    return "still running" if rank.end == "running" else "cut off"
