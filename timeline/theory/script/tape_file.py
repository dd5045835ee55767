"""A tape as a value of JSON, to be carried from one process to another."""

from __future__ import annotations

from typing import Any

from timeline.theory.tape import Act, Amount, Convolution, Event, Storage, Tape


def dump(tape: Tape) -> dict[str, Any]:
    """The value of a tape; one that goes on growing is cut where it is."""
    count, length = len(tape.storages), len(tape.events)
    return {
        "storages": [
            [*each.amount, each.layer, each.phase, each.category, each.host, each.reason,
             each.may_fail, each.asks and each.asks.as_value()]
            for each in tape.storages[:count]
        ],
        "events": [
            [event.act.name, event.which]
            for event in tape.events[:length]
            if event.act not in (Act.BORN, Act.GONE) or event.which < count
        ],
        "phases": list(tape.phases),
        "assumptions": list(tape.assumptions),
        "not_counted": list(tape.not_counted),
    }  # fmt: skip


def load(value: dict[str, Any]) -> Tape:
    """The tape of such a value."""
    return Tape(
        storages=[
            Storage(
                Amount(low, expected, high), layer, phase, category, host, reason, may_fail,
                asks=Convolution.of_value(asks) if asks else None,
            )
            for low, expected, high, layer, phase, category, host, reason, may_fail, asks
            in value["storages"]
        ],
        events=[Event(Act[act], which) for act, which in value["events"]],
        phases=list(value["phases"]),
        assumptions=dict.fromkeys(value["assumptions"]),
        not_counted=dict.fromkeys(value["not_counted"]),
    )  # fmt: skip
