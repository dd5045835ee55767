"""An estimate for the terminal: the peak, whether it fits, what is alive then, and by what."""

from __future__ import annotations

from collections.abc import Sequence

from timeline.theory.cards import CARDS, Card
from timeline.theory.estimate_types import Alive, Estimate
from timeline.theory.types import CATEGORIES
from timeline.units import format_bytes
from timeline.views.breakdown_text import sentences, table
from timeline.views.course import Measured
from timeline.views.estimate_json import verdict
from timeline.views.terminal import BOLD, DIM, HOT, Look

LAYERS_SHOWN = 12


def render(
    estimate: Estimate,
    card: Card,
    *,
    width: int = 80,
    color: bool = False,
    ascii: bool = False,
    layers: int = LAYERS_SHOWN,
) -> str:
    """The tables of an estimate, as lines that end with a newline.

    Args:
        estimate: what to show.
        card: that it is held against.
        width: columns of a line.
        color: whether to use ANSI colours.
        ascii: whether to keep to ASCII.
        layers: how many rows of what is alive at the peak; 0 is all.
    """
    look = Look(width, color, ascii)
    blocks = [
        _heading(estimate, card, look),
        _categories(estimate, look),
        _alive(estimate.alive_at_peak, layers, look),
        sentences("Not counted", estimate.not_counted, look)
        + sentences("Assumed", estimate.assumptions, look),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def list_of_cards(look: Look) -> str:
    """The table of known cards."""
    rows = [["card", "name", "compute", "memory", "a program sees"]]
    rows += [
        [card.key, card.name, ".".join(map(str, card.capability or ())),
         format_bytes(card.memory), format_bytes(card.visible)]
        for card in CARDS.values()
    ]  # fmt: skip
    lines = table(rows, look, left=2, least=(2, 3, 1))
    lines += ["", *look.lines("A size such as 24GiB will do for any other.")]
    return "\n".join(lines) + "\n"


def _heading(estimate: Estimate, card: Card, look: Look) -> list[str]:
    lines = look.lines(f"{estimate.title} on {card.title}, predicted", rest="  ")
    lines[0] = look.paint(lines[0], BOLD)
    if estimate.cut_off:
        lines += [look.paint(each, HOT) for each in look.lines(cut_sentence(estimate), rest="  ")]
    total = estimate.process_total
    lines += look.lines(
        f"Peak allocated {format_bytes(estimate.peak_allocated)} in {estimate.peak_phase}, "
        f"reserved {format_bytes(estimate.peak_reserved)}",
        rest="  ",
    )
    lines += look.lines(
        f"The process takes {format_bytes(total.low)} to {format_bytes(total.high)} of the card, "
        f"likely {format_bytes(total.expected)}",
        rest="  ",
    )
    fits = look.lines(fit_sentence(estimate, card), rest="  ")
    hot = HOT if verdict(estimate, card) == "no" else BOLD
    return lines + [look.paint(line, hot) for line in fits]


def fit_sentence(estimate: Estimate, card: Card) -> str:
    """Whether it fits, and with how much to spare."""
    room = f"the {format_bytes(card.visible)} that a program sees of it"
    spare = card.visible - estimate.process_total.expected
    said = verdict(estimate, card)
    if said == "yes":
        return f"It fits into {room}, with {format_bytes(spare)} to spare"
    if said == "maybe":
        return f"It may fit into {room}: what is known is not enough to tell"
    short = f": {format_bytes(-spare)} too much" if spare < 0 else ""
    return f"It does not fit into {room}{short}"


def cut_sentence(estimate: Estimate) -> str:
    """That the program was not followed far enough, where it was not."""
    if not estimate.cut_off:
        return ""
    return f"Cut off: {estimate.cut_off}; what comes after may need more"


def measured_sentence(estimate: Estimate, measured: Measured | None) -> str:
    """What a recording of the same program peaked at, and how far the prediction is from it."""
    if measured is None:
        return ""
    said = []
    for kind, size in (
        ("allocated", estimate.peak_allocated),
        ("reserved", estimate.peak_reserved),
    ):
        peak = measured.peaks.get(kind, 0)
        if peak:
            off = f"{100 * (size - peak) / peak:+.1f}"
            far = "as predicted" if float(off) == 0 else f"predicted {off} %"
            said.append(f"{kind} {format_bytes(peak)} ({far})")
    return f"Measured: {', '.join(said)}; {measured.name}" if said else ""


def _categories(estimate: Estimate, look: Look) -> list[str]:
    course = estimate.course.categories
    rows = [["", "at the peak", "at most"]]
    for key in CATEGORIES:
        most = max(course.get(key, ()), default=0)
        rows.append(
            [key.replace("_", " "), format_bytes(estimate.categories_at_peak.get(key, 0)),
             format_bytes(most)]
        )  # fmt: skip
    return table(rows, look, left=1)


def _alive(alive: Sequence[Alive], most: int, look: Look) -> list[str]:
    if not alive:
        return []
    shown = alive[:most] if most else alive
    rows = [["alive at the peak", "category", "made in", "tensors", "size"]]
    rows += [
        [look.plain(each.layer or "(outside of modules)"), each.category.replace("_", " "),
         look.plain(each.phase), f"{each.storages:,}", format_bytes(each.bytes)]
        for each in shown
    ]  # fmt: skip
    lines = table(rows, look, left=3, least=(3, 2, 1))
    if len(shown) < len(alive):
        rest = sum(each.bytes for each in alive[len(shown) :])
        text = (
            f"and {len(alive) - len(shown):,} more with {format_bytes(rest)}; --layers 0 shows all"
        )
        lines += [look.paint(line, DIM) for line in look.lines(text, rest="  ")]
    return lines
