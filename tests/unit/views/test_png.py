import io
import itertools
import logging
import os
import warnings
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from synthetic import MS, MiB, recording

from timeline.analysis.analyze import analyze
from timeline.analysis.decimation import decimate
from timeline.analysis.types import TextMark
from timeline.errors import UsageError
from timeline.recording.types import Channel, Series
from timeline.views import png
from timeline.views.chart import curve, legend, lettering
from timeline.views.chart.page import draw
from timeline.views.chart.ticks import byte_ticks, time_ticks
from timeline.views.palette import PALETTES, ink_on, phase_colors

UNUSUAL = (
    "$\\alpha_1$ $",
    "$",
    "<script>alert(1)</script>",
    "学習/前向き",
    "🔥 fire",
    "line\nbreak\ttab",
    "",
    "x" * 3000,
    "\ud800half a pair",
    "عربي",
    "a\u202eb",
    "%s {0}",
    "\x00\x1b[31m",
    "e\u0301 combining",
)


def with_marks(analysis, *texts):
    moments = np.linspace(0, analysis.duration_ns, len(texts)).astype(np.int64)
    marks = tuple(TextMark(int(t), text) for t, text in zip(moments, texts, strict=True))
    return replace(analysis, marks=marks)


def with_channels(made, *names):
    host = made.series["host.rss"]
    unknown = np.full(len(host), -1)
    more = {
        name: Series(
            Channel(name, "byte", "linux", False, "there is no high-water mark of it"),
            host.begun_ns, host.t_ns, host.value // (i + 2), unknown, host.unseen,
        )
        for i, name in enumerate(names)
    }  # fmt: skip
    return replace(made, series={**made.series, **more})


SHAPES = {
    "three phases": lambda: analyze(recording(300, 3)),
    "a gap": lambda: analyze(recording(300, 3, gap=True)),
    "three thousand phases": lambda: analyze(recording(20_000, 3000)),
    "three thousand names": lambda: analyze(
        recording(20_000, 3000, paths=tuple(f"block.{i}/attention" for i in range(3000)))
    ),
    "unusual names": lambda: with_marks(analyze(recording(500, 14, paths=UNUSUAL)), *UNUSUAL),
    "not exact": lambda: analyze(recording(300, 5, exact=False, end="killed")),
    "no phase": lambda: analyze(recording(300, 0)),
    "no sample": lambda: analyze(recording(0, 0)),
    "one sample": lambda: analyze(recording(1, 0)),
    "many marks": lambda: with_marks(
        analyze(recording(300, 3)), *(f"epoch {i}" for i in range(400))
    ),
    "many channels": lambda: analyze(
        with_channels(recording(300, 3), *(f"gpu{i}.process of a long name" for i in range(9)))
    ),
    "a day": lambda: analyze(recording(5_000, 50, interval_ns=20_000 * MS)),
    "many notes": lambda: replace(
        analyze(recording(300, 3)),
        missing=tuple(f"no GPU {i}: " + "its driver does not answer " * 9 for i in range(9)),
    ),
}


def extents(figure):
    """The boxes in pixels of all texts on a figure, drawn."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return [
        (text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in figure.texts
    ]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("width", [3.5, 10.0])
def test_no_text_is_clipped_or_written_over_another(shape, width):
    figure = draw(SHAPES[shape](), PALETTES["light"], width, 100)
    boxes = extents(figure)
    for text, box in boxes:
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= figure.bbox.width, text
        assert box.y1 <= figure.bbox.height, text
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        up = min(a.y1, b.y1) - max(a.y0, b.y0)
        # Boxes of neighbouring lines touch by their descenders.
        assert across <= 1 or up <= 0.3 * min(a.height, b.height), f"{one!r} over {other!r}"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_picture_is_whole_and_as_wide_as_asked_for_without_a_warning(shape, theme, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = png.render(SHAPES[shape](), theme=theme, width_in=8, dpi=75)
    assert capfd.readouterr() == ("", "")
    image = Image.open(io.BytesIO(picture))
    image.load()
    assert image.format == "PNG"
    assert image.width == 600
    assert image.height < 1200
    corner = "#{:02x}{:02x}{:02x}".format(*image.convert("RGB").getpixel((0, 0)))
    assert corner == PALETTES[theme].paper


def test_names_are_written_as_they_are_and_never_read_as_markup():
    figure = draw(SHAPES["unusual names"](), PALETTES["light"], 10, 100)
    texts = [text.get_text() for text in figure.texts]
    assert not any(text.get_parse_math() for text in figure.texts)
    assert "$\\alpha_1$ $" in texts
    assert "<script>alert(1)</script>" in texts
    assert not any("\n" in text or "\x1b" in text or "\u202e" in text for text in texts)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 400), st.integers(0, 9), st.integers(1, 3000), st.booleans())
def test_the_drawn_envelope_has_the_recorded_maximum_to_the_byte(samples, seed, columns, gap):
    analysis = analyze(recording(samples, 7 if samples else 0, seed=seed, gap=gap))
    host = analysis.curves["host.rss"]
    area = curve.envelope(host, decimate(host, 0, analysis.duration_ns, columns), 0)
    if not len(host.t_ns):
        assert len(area.high) == 0
        return
    assert int(np.nanmax(area.high)) == int(host.high.max()) == analysis.channels[0].peak
    assert int(np.nanmin(area.low)) == int(host.value.min())
    drawn = ~np.isnan(area.t_ns)
    assert (area.high[drawn] >= area.low[drawn]).all()
    assert (np.diff(area.t_ns[drawn]) >= 0).all()


def test_the_envelope_is_not_drawn_across_a_gap():
    analysis = analyze(recording(300, 0, gap=True))
    host = analysis.curves["host.rss"]
    [(left, right)] = host.gaps_ns.tolist()
    area = curve.envelope(host, decimate(host, 0, analysis.duration_ns, 1000), 0)
    stretches = np.split(area.t_ns, np.flatnonzero(np.isnan(area.t_ns)))
    assert len(stretches) == 2
    assert np.nanmax(stretches[0]) == left
    assert np.nanmin(stretches[1]) == right


def test_no_envelope_is_drawn_for_readings_without_a_high_water_mark():
    analysis = analyze(recording(300, 0))
    host = analysis.curves["host.rss"]
    sampled = replace(host, high=host.value, known=np.zeros(len(host.t_ns), bool))
    for columns in (1000, 50):
        buckets = decimate(sampled, 0, analysis.duration_ns, columns)
        assert len(curve.envelope(sampled, buckets, 0).t_ns) == 0
    names = [text.get_text() for text in draw(
        replace(analysis, curves={"host.rss": sampled}), PALETTES["light"], 10, 99
    ).texts]  # fmt: skip
    assert not any("high-water mark" in name for name in names)
    assert "between samples, by the high-water mark" in [
        text.get_text() for text in draw(analysis, PALETTES["light"], 10, 99).texts
    ]


def test_the_envelope_is_drawn_over_those_readings_alone_that_have_a_high_water_mark():
    analysis = analyze(recording(300, 0))
    host = analysis.curves["host.rss"]
    known = np.zeros(len(host.t_ns), bool)
    known[100:200] = True
    high = np.where(known, host.high, host.value)
    high[250] += 5  # a mark that may have missed something is still a least
    partly = replace(host, high=high, known=known)
    area = curve.envelope(partly, decimate(partly, 0, analysis.duration_ns, 1000), 0)
    _, first, second = np.split(area.t_ns, np.flatnonzero(np.isnan(area.t_ns)))
    assert (first[1], first[-1]) == (host.t_ns[99], host.t_ns[199])
    assert (second[1], second[-1]) == (host.t_ns[249], host.t_ns[250])


def test_the_first_high_water_mark_reaches_back_to_the_start():
    analysis = analyze(recording(300, 0))
    host = replace(analysis.curves["host.rss"], gaps_ns=np.empty((0, 2), np.int64))
    host.t_ns[:] += 50
    area = curve.envelope(host, decimate(host, 0, analysis.duration_ns, 1000), 0)
    assert area.t_ns[0] == 0
    assert area.high[0] == host.high[0]


def test_the_peak_is_told_in_the_title_and_at_its_place():
    analysis = analyze(recording(300, 3))
    texts = [text.get_text() for text in draw(analysis, PALETTES["light"], 10, 100).texts]
    assert sum("1.53 GiB" in text for text in texts) >= 3  # title, curve, legend
    assert not any("~" in text for text in texts)


def test_a_peak_that_is_not_exact_is_marked_and_the_notes_say_why():
    texts = [
        text.get_text() for text in draw(SHAPES["not exact"](), PALETTES["light"], 10, 99).texts
    ]
    assert any(text.startswith("peak ~") for text in texts)
    assert not any("≥" in text or "sampled" in text for text in texts)
    assert any("psutil reads no high-water mark" in text for text in texts)


def test_the_peak_s_label_stays_inside_at_either_edge():
    for at in (0, -1):
        made = recording(300, 3, paths=("a phase with a name of some length",))
        made.series["host.rss"].high[at] = 5000 * MiB
        figure = draw(analyze(made), PALETTES["light"], 10, 100)
        [(_, box)] = [each for each in extents(figure) if each[0] == "peak 4.88 GiB"]
        [axes] = [a for a in figure.axes if a.get_ylim()[1] > 4000 * MiB][:1]
        plot = axes.get_window_extent()
        assert plot.x0 <= box.x0
        assert box.x1 <= plot.x1 + 1
        assert box.y1 <= plot.y1 + 1


def test_with_many_names_the_legend_shows_those_that_matter_and_counts_the_rest():
    analysis = SHAPES["three thousand names"]()
    shown, left_out = legend.chosen(analysis)
    assert (len(shown), len(left_out)) == (12, 2988)
    assert analysis.channels[0].peak_phase in {each.path for each in shown}
    assert max(analysis.phases, key=lambda each: each.total_ns) in shown
    colors = legend.colors_of(analysis)
    assert len(set(colors.values())) == len(colors) == 12
    texts = [text.get_text() for text in draw(analysis, PALETTES["dark"], 10, 100).texts]
    assert "+2,988 more" in texts


def test_the_notes_are_bounded_and_tell_how_many_more_there_are():
    texts = [
        text.get_text() for text in draw(SHAPES["many notes"](), PALETTES["light"], 10, 99).texts
    ]
    written = [text for text in texts if "driver does not answer" in text]
    assert 3 <= len(written) <= 7
    assert any(text.startswith("and ") and "more" in text for text in texts)


def test_marks_without_room_are_counted():
    texts = [
        text.get_text() for text in draw(SHAPES["many marks"](), PALETTES["light"], 10, 99).texts
    ]
    written = sum(text.startswith("epoch") for text in texts)
    assert f"Not written: the texts of {400 - written} of 400 marks" in texts
    assert written > 5


def test_channels_beyond_six_are_counted():
    texts = [
        text.get_text() for text in draw(SHAPES["many channels"](), PALETTES["light"], 10, 99).texts
    ]
    assert "Not drawn: 3 more channels" in texts
    assert "gpu0.process of a long name" in texts


# The file


def test_a_picture_replaces_the_one_before_as_a_whole(tmp_path):
    path = tmp_path / "run $1 學.png"
    png.write(analyze(recording(10, 0)), path, width_in=4, dpi=50)
    first = path.read_bytes()
    png.write(analyze(recording(300, 3)), str(path), width_in=4, dpi=50)
    assert path.read_bytes() != first
    assert os.listdir(tmp_path) == [path.name]


def test_a_picture_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "report.png").mkdir()
    with pytest.raises(OSError):
        png.write(analyze(recording(10, 0)), tmp_path / "report.png", width_in=4, dpi=50)
    with pytest.raises(OSError):
        png.write(analyze(recording(10, 0)), tmp_path / "none" / "x.png", width_in=4, dpi=50)
    assert os.listdir(tmp_path) == ["report.png"]


def test_the_same_run_makes_the_same_bytes():
    one, other = (png.render(analyze(recording(300, 3)), width_in=5, dpi=60) for _ in range(2))
    assert one == other


@pytest.mark.parametrize(
    "wrong", [{"theme": "blue"}, {"width_in": 0}, {"width_in": float("nan")}, {"dpi": 0},
              {"dpi": 10**6}, {"width_in": 60, "dpi": 1200}],
)  # fmt: skip
def test_an_impossible_size_or_theme_is_refused_in_one_sentence(wrong):
    with pytest.raises(UsageError, match=r"^[^\n]+$"):
        png.render(analyze(recording(10, 0)), **wrong)


def test_the_largest_picture_of_a_long_run_can_be_made():
    picture = png.render(analyze(recording(100_000, 300)), width_in=40, dpi=400)
    assert picture[:4] == b"\x89PNG"


def test_the_user_s_own_settings_of_matplotlib_are_neither_used_nor_changed():
    log = logging.getLogger("matplotlib")
    plain = png.render(analyze(recording(50, 2)), width_in=4, dpi=50)
    with matplotlib.rc_context({"text.usetex": True, "font.family": "serif", "savefig.dpi": 7}):
        mine = dict(matplotlib.rcParams)
        level = log.level
        assert png.render(analyze(recording(50, 2)), width_in=4, dpi=50) == plain
        assert dict(matplotlib.rcParams) == mine
        assert log.level == level


def test_a_fresh_process_without_a_home_prints_nothing_and_imports_no_pyplot(tmp_path, run_python):
    script = tmp_path / "draw.py"
    script.write_text(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from synthetic import recording\n"
        "from timeline.analysis.analyze import analyze\n"
        "from timeline.views import png\n"
        "assert 'matplotlib' not in sys.modules\n"
        "png.write(analyze(recording(100, 3, paths=('学習', '🔥', '$x$'))), 'out.png')\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    tests = os.path.dirname(os.path.abspath(recording.__code__.co_filename))
    ended = run_python(script, tests, env={"HOME": "/nonexistent", "MPLCONFIGDIR": "/nonexistent"})
    assert (ended.code, ended.stdout, ended.stderr) == (0, "", "")
    assert (tmp_path / "out.png").stat().st_size > 10_000


# Ticks, text and colours


@given(st.integers(1, 1 << 60), st.integers(2, 12))
def test_byte_ticks_are_a_power_of_two_apart_and_few(top, most):
    ticks = byte_ticks(top, most)
    assert 2 <= len(ticks) <= most
    step = int(ticks[1][0])
    assert step & (step - 1) == 0
    assert [t for t, _ in ticks] == [i * step for i in range(len(ticks))]
    assert ticks[-1][0] <= top < ticks[-1][0] + step
    assert len({label for _, label in ticks}) == len(ticks)


@given(st.integers(-(10**12), 0), st.integers(1, 10**18), st.integers(2, 12))
def test_time_ticks_are_inside_and_few(begin, end, most):
    ticks = time_ticks(begin, end, most)
    assert len(ticks) <= most
    assert all(begin <= t <= end for t, _ in ticks)
    assert (0, "0") in ticks
    assert len({label for _, label in ticks}) == len(ticks)


@pytest.mark.parametrize(
    ("duration_s", "labels"),
    [
        (3, ["0", "0.5 s", "1 s", "1.5 s", "2 s", "2.5 s", "3 s"]),
        (90, ["0", "20 s", "40 s", "60 s", "80 s"]),
        (7200, ["0", "0.25 h", "0.5 h", "0.75 h", "1 h", "1.25 h", "1.5 h", "1.75 h", "2 h"]),
    ],
)
def test_time_ticks_are_round_in_the_unit_that_fits(duration_s, labels):
    assert [label for _, label in time_ticks(0, duration_s * 10**9, 9)] == labels


@settings(deadline=None)
@given(st.text(max_size=80), st.floats(0, 4), st.booleans())
def test_any_text_fits_the_room_it_is_given(text, room, bold):
    fitted = lettering.fit(text, 9, room, bold=bold)
    assert lettering.width(fitted, 9, bold=bold) <= room + 1e-9
    assert lettering.drawable(fitted) == fitted
    for line in lettering.wrap(text, 9, room):
        assert lettering.width(line, 9) <= room + 1e-9


def test_the_width_of_a_text_is_that_of_its_drawing():
    figure = draw(SHAPES["three phases"](), PALETTES["light"], 10, 300)
    for drawn, (text, box) in zip(figure.texts, extents(figure), strict=True):
        font = drawn.get_fontproperties()
        bold = font.get_weight() == "bold"
        told = lettering.width(text, font.get_size(), bold=bold)
        assert abs(told - box.width / 300) < 0.04 + 0.02 * told, text


def test_known_phases_keep_their_colour_and_up_to_twelve_others_get_one_each():
    colors = phase_colors(["step/forward", *(f"mine {i}" for i in range(12)), "load"])
    assert len(set(colors.values())) == 14
    assert phase_colors(["load"])["load"] == colors["load"]
    assert {ink_on(color) for color in colors.values()} == {"#000000", "#ffffff"}


def test_a_name_of_which_nothing_would_be_seen_has_words_in_its_place():
    assert [lettering.name(each) for each in ("", " \n", " a")] == ["(no name)", "(no name)", " a"]
