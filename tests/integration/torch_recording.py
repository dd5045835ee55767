"""What the tests of torch's phases share: a real session around real torch, read back as text."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from timeline.recorder import hooks
from timeline.recorder import session as sessions


class Recorded:
    """A session with torch's hooks, and the phases it wrote, in the order of their begins."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory()
        self.session = sessions.Session(self._directory.name, exact=True)
        self.path = Path(self._directory.name, f"events.{self.session.pid}.jsonl")
        self._shown = 0

    def __enter__(self) -> Recorded:
        sessions.activate(self.session)
        hooks.install()
        return self

    def __exit__(self, *error: object) -> None:
        hooks.uninstall()
        sessions.deactivate()
        self.session.close()
        self._directory.cleanup()

    def events(self) -> list[dict]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def new(self) -> list[str]:
        """Since it was last asked, such as ``step/forward Net < step/optimizer LBFGS``.

        The phase around a phase stands behind ``<``; a phase that has no end ends in ``...``.
        """
        events = self.events()
        begun = {e["i"]: e for e in events if e["k"] == "b"}
        ended = {e["i"] for e in events if e["k"] == "e"}
        fresh, self._shown = events[self._shown :], len(events)
        return [
            named(e)
            + (f" < {named(begun[e['up']])}" if "up" in e else "")
            + ("" if e["i"] in ended else "...")
            for e in fresh
            if e["k"] == "b"
        ]

    def missing(self) -> list[str]:
        return [e["p"] for e in self.events() if e["k"] == "missing"]


def named(begin: dict) -> str:
    return f"{begin['p']} {begin.get('w', '')}".rstrip()
