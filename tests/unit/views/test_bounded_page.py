"""A page of a long run carries a bounded part of it, and says what it leaves out."""

from __future__ import annotations

import pytest
from synthetic import recording

from timeline import analyze
from timeline.analysis.types import HOST
from timeline.views import html
from timeline.views.page import bounded as module
from timeline.views.page.bounded import OTHERS, bounded


@pytest.fixture
def small_page(monkeypatch):
    """Limits so small that a test need not be long."""
    monkeypatch.setattr(module, "MOST_READINGS", 1000)
    monkeypatch.setattr(module, "MOST_PHASES", 100)
    monkeypatch.setattr(module, "MOST_PATHS", 20)


def test_what_fits_is_carried_as_it_is():
    analysis = analyze(recording(300, 30))
    assert bounded(analysis) is analysis


def test_readings_phases_and_paths_are_bounded_and_each_is_said(small_page):
    names = tuple(f"epoch {i}" for i in range(400))
    whole = analyze(recording(5000, 400, paths=names))
    part = bounded(whole)
    assert len(part.curves[HOST].t_ns) < 1500
    assert part.curves[HOST].high.max() == whole.channels[0].peak
    assert len(part.instances) == 100
    assert len(part.phases) == 20
    assert whole.channels[0].peak_phase in {each.path for each in part.phases}
    assert part.instances.paths[-1] == OTHERS
    assert {each.path for each in part.phases} == set(part.instances.paths[:-1])
    assert [note.split(" ")[0] for note in part.notes] == ["of", "of", "400"]
    page = html.render(whole)
    assert "of the 5,800 readings of host.rss" in page
    assert "of the 400 paths" in page


def test_the_whole_runs_peak_is_the_pages(small_page):
    whole = analyze(recording(5000, 400))
    assert bounded(whole).channels == whole.channels
    assert len(bounded(whole).phases) == 5
