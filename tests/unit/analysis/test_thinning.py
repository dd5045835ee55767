"""Thinned curves and phases show what the whole ones do."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import recording

from timeline import analyze
from timeline.analysis.thinning import thin_curve, thin_instances


def whole(samples=3000, phases=400, **more):
    return analyze(recording(samples=samples, phases=phases, **more))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 5), st.integers(40, 2500), st.booleans(), st.booleans())
def test_a_thinned_curve_keeps_every_extreme_and_the_ends(seed, most, gap, exact):
    curve = whole(seed=seed, gap=gap, exact=exact).curves["host.rss"]
    thin = thin_curve(curve, most)
    assert len(thin.t_ns) <= 1.4 * most + 10
    assert (np.diff(thin.t_ns) > 0).all()
    assert (thin.t_ns[0], thin.t_ns[-1]) == (curve.t_ns[0], curve.t_ns[-1])
    assert (thin.value.min(), thin.value.max()) == (curve.value.min(), curve.value.max())
    assert thin.high.max() == curve.high.max()
    assert np.isin(thin.gaps_ns, curve.gaps_ns).all()
    assert len(thin.gaps_ns) == min(len(curve.gaps_ns), most // 5)
    at = np.searchsorted(curve.t_ns, thin.t_ns)
    assert (curve.value[at] == thin.value).all()
    # A mark speaks for all that was left out before it, and for nothing else.
    before = 0
    for place, high, known in zip(at, thin.high, thin.known, strict=True):
        assert high == curve.high[before : place + 1].max()
        assert known == curve.known[before : place + 1].all()
        before = place + 1


def test_a_spike_of_one_reading_is_at_its_moment():
    curve = whole().curves["host.rss"]
    curve.value[1234] = curve.high[1234] = 1 << 40
    thin = thin_curve(curve, 100)
    assert thin.t_ns[np.argmax(thin.value)] == curve.t_ns[1234]


def test_a_short_curve_and_few_phases_stay_as_they_are():
    analysis = whole()
    curve = analysis.curves["host.rss"]
    assert thin_curve(curve, len(curve.t_ns)) is curve
    assert thin_instances(analysis.instances, 400) is analysis.instances


def test_neighbours_become_one_with_their_largest_figures_and_longest_path():
    instances = whole().instances
    thin = thin_instances(instances, 100)
    assert len(thin) == 100
    assert thin.peak.max() == instances.peak.max()
    assert thin.delta.max() == instances.delta.max()
    for i in range(100):
        inside = slice(4 * i, 4 * i + 4)
        assert thin.begin_ns[i] == instances.begin_ns[inside].min()
        assert thin.end_ns[i] == instances.end_ns[inside].max()
        assert thin.peak[i] == instances.peak[inside].max()
        took = (instances.end_ns - instances.begin_ns)[inside]
        assert thin.path[i] in instances.path[inside][took >= took.max() - 2]
        assert thin.detail[i] == "4 phases in a row"
    assert thin.exact.all() == instances.exact.all()
