"""An estimate as a JSON document, for other programs and for opening it again."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from timeline.theory.cards import Card
from timeline.theory.estimate_types import Course, Estimate
from timeline.theory.types import Breakdown
from timeline.views import breakdown_json

VERSION = 1


def render(estimate: Estimate, card: Card, breakdown: Breakdown | None = None) -> str:
    """The document of ``timeline estimate --json``: keys may be added, none goes.

    Args:
        estimate: what to tell.
        card: that it is held against.
        breakdown: the theory of the same model, if there is a model.
    """
    return (
        json.dumps(
            {
                "timeline": VERSION,
                "estimate": document(estimate, card),
                "breakdown": breakdown_json.document(breakdown) if breakdown else None,
            },
            separators=(",", ":"),
            allow_nan=False,
        )
        + "\n"
    )


def document(estimate: Estimate, card: Card) -> dict[str, Any]:
    """An estimate as the value of one key; sizes are bytes."""
    return {
        "title": estimate.title,
        "device": estimate.device,
        "peak_allocated": estimate.peak_allocated,
        "peak_reserved": estimate.peak_reserved,
        "process_total": asdict(estimate.process_total),
        "peak_phase": estimate.peak_phase,
        "categories_at_peak": dict(estimate.categories_at_peak),
        "alive_at_peak": [asdict(each) for each in estimate.alive_at_peak],
        "reserved": asdict(estimate.reserved),
        "context": asdict(estimate.context),
        "card": {
            "key": card.key,
            "name": card.name,
            "memory": card.memory,
            "visible": card.visible,
            "fits": verdict(estimate, card),
            "headroom": card.visible - estimate.process_total.expected,
        },
        "steps": estimate.steps,
        "capacity": estimate.capacity,
        "out_of_memory": estimate.out_of_memory,
        "cut_off": estimate.cut_off,
        "assumptions": list(estimate.assumptions),
        "not_counted": list(estimate.not_counted),
        "course": _course(estimate.course),
    }


def verdict(estimate: Estimate, card: Card) -> str:
    """``yes``, ``no``, or ``maybe`` where the card's memory lies in the estimate's range."""
    if estimate.out_of_memory or estimate.process_total.low > card.visible:
        return "no"
    if estimate.process_total.high <= card.visible:
        return "yes"
    return "maybe"


def _course(course: Course) -> dict[str, Any]:
    return {
        "allocated": list(course.allocated),
        "reserved": list(course.reserved),
        "categories": {name: list(column) for name, column in course.categories.items()},
        "phases": [list(each) for each in course.phases],
        "steps": list(course.steps),
    }
