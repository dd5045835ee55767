from itertools import pairwise

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from timeline.analysis.composition import PARTS, Composition, Part
from timeline.analysis.later import Later
from timeline.views.chart.parts import draw
from timeline.views.chart.sheet import Box, Plot, Sheet
from timeline.views.palette import PALETTES

MIB = 1 << 20


def composition(path, sizes):
    parts = tuple(Part(name, None, sizes.get(name, MIB), None) for name in PARTS)
    peak = sum(part.measured for part in parts)
    return Composition(path, "Net", peak, peak, 0, Later(), peak // 2, None, None, parts, ())


@pytest.mark.parametrize("path", ["step/backward", "step/the second of two turns/step/backward"])
@pytest.mark.parametrize("before", [0, 60, 600, 6000])
@pytest.mark.parametrize("room_above", [0.3, 0.4, 0.5, 0.6, 1.2])
def test_no_two_texts_beside_the_bar_touch(path, before, room_above) -> None:
    of = composition(path, {"before_model": before * MIB, "kept_by_malloc": 20 * MIB})
    box = Box(0.5, 0.9, 6.0, 3.0)
    figure = Figure((9.0, 5.0), dpi=200)
    canvas = FigureCanvasAgg(figure)
    plot = Plot(box, 0, 1, of.peak * box.height / (box.height - room_above))
    draw(Sheet(figure, PALETTES["light"]), plot, of)

    told = [text.get_window_extent(canvas.get_renderer()) for text in figure.texts]
    told.sort(key=lambda each: each.y0)
    assert len(told) >= 9
    for below, above in pairwise(told):
        assert below.y1 <= above.y0 + 2  # pixels at 200 to the inch: a comma's tail
    assert told[0].y0 > (figure.get_figheight() - box.bottom - 0.1) * figure.dpi
    assert told[-1].y1 < figure.get_figheight() * figure.dpi


def test_a_bar_that_ends_above_the_peak_says_by_what_was_never_written() -> None:
    of = composition("step/backward", {"before_model": 600 * MIB, "untouched": -50 * MIB})
    figure = Figure((9.0, 5.0), dpi=200)
    draw(Sheet(figure, PALETTES["light"]), Plot(Box(0.5, 0.9, 6.0, 3.0), 0, 1, 2 * of.peak), of)
    told = " ".join(text.get_text() for text in figure.texts)
    assert "less 50.0 MiB never written" in told
