"""Many ranks in few words."""

from __future__ import annotations

from collections.abc import Sequence


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
