"""The words for how a run ended and for the room that it left, which all views share."""

from __future__ import annotations

from timeline.analysis.types import Analysis
from timeline.units import format_bytes

FAR = 0.2
"""Of the machine's memory: every run has that limit, and few come near it."""


def death_sentences(analysis: Analysis) -> list[str]:
    """What stands under the sentence of a death: the evidence, the last seconds, what grew."""
    death = analysis.death
    if death is None:
        return []
    said = [death.evidence]
    if death.cause != "exception":
        said.append(death.last)
    if death.grew and death.last in said:
        each = ", ".join(f"{g.path} {format_bytes(g.bytes, signed=True)}" for g in death.grew)
        said.append(f"grew most in that time: {each}")
    return [_sentence(each) for each in said if each]


def headroom_sentence(analysis: Analysis) -> str:
    """The room to the nearest limit; nothing where no limit is known but a machine's far away."""
    for each in analysis.headroom:
        far = each.room > FAR * each.limit.bytes
        if not each.hard or (far and each.limit.name.startswith("machine")):
            continue
        least = "" if each.exact else "~"
        said = (
            f"Headroom {format_bytes(max(each.room, 0))}: {each.limit.channel} had up to "
            f"{least}{format_bytes(each.peak)} of the {format_bytes(each.limit.bytes)} that "
            f"{each.limit.name} allows"
        )
        if each.cache > each.peak // 20:
            said += (
                f", of which {format_bytes(each.cache)} was page cache, which the kernel takes back"
            )
        return said
    return ""


def _sentence(text: str) -> str:
    # What begins with the name of a class or a file is left as it is written there.
    name = "." in text.split(" ", 1)[0]
    return text if name else text[:1].upper() + text[1:]
