import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import recording

from timeline.analysis.analyze import analyze
from timeline.analysis.types import ChannelSummary, Curve, PhasePeak, PhaseSummary
from timeline.recording.lines import TracedFunction, TracedLine
from timeline.recording.types import Channel, Marks
from timeline.views.page.lines import card
from timeline.views.table import PHASES_SHOWN
from timeline.views.terminal import columns
from timeline.views.text import render

GOLD = Path(__file__).resolve().parents[2] / "gold" / "text"
MISMATCH = GOLD.parent / "mismatch"
MiB = 1 << 20
S = 1_000_000_000
ANSI = re.compile(r"\x1b\[[0-9;]*m")

HOSTILE = (
    "\x1b[2J\x1b]0;gotcha\x07",
    "two\nlines",
    "right\u202eleft",
    "数据加载/预处理",
    "e\u0301te\u0301",
    "<script>alert(1)</script>",
    "x" * 300,
    " ",
    "half \ud800 pair",
)


def training(**changes):
    """A training of 12.3 s as an Analysis of fixed numbers."""
    empty = analyze(recording(10, 0))
    run = replace(empty.run, argv=("train.py", "--epochs", "1"))
    channel = Channel("host.rss", "byte", "linux", exact=True)
    summary = ChannelSummary(
        channel, 1230, 1610 * MiB, int(4.21 * S), "step/backward", True, "", 212 * MiB, 11_000_000
    )
    figures = {
        # path: count, seconds, peak, delta, kept, open
        "load": (1, 1.2, 530, 318, 300, 0),
        "data": (41, 0.8, 560, 12, 1, 0),
        "step/forward": (40, 3.2, 1410, 850, 28000, 0),
        "step/backward": (40, 4.6, 1610, 330, -28000, 0),
        "step/optimizer": (40, 1.4, 1215, 180, 2, 0),
    }
    phases = tuple(
        phase(path, i, *row, duration=12.3) for i, (path, row) in enumerate(figures.items())
    )
    analysis = replace(
        empty,
        title="train.py",
        run=run,
        duration_ns=int(12.3 * S),
        ending="exited with code 0",
        channels=(summary,),
        phases=phases,
        outside=phase("", 0, 6, 1.1, 700, 40, 310, 0, duration=12.3),
        missing=("no GPU: this version records host memory only",),
    )
    return replace(analysis, **changes)


def phase(path, first, count, seconds, peak, delta, kept, open_, *, duration, exact=True):
    figures = PhasePeak(peak * MiB, delta * MiB, kept * MiB, exact, 0)
    total = round(seconds * S)
    return PhaseSummary(path, count, open_, total, seconds / duration, first, {"host.rss": figures})


def killed():
    """The same, killed in a phase that never ended, with peaks that are not exact."""
    good = training()
    reason = "3 of its instances began or ended without a reading of their own"
    vague = [good.phases[i] for i in (2, 3)]
    vague = [
        replace(
            each,
            reason=reason,
            open=1 if each.path == "step/backward" else 0,
            peak={"host.rss": replace(each.peak["host.rss"], exact=False)},
        )
        for each in vague
    ]
    reason = "2 of 1312 readings leave it open whether there was more"
    children = Channel("children.rss", "byte", "linux", exact=False, reason="read without a mark")
    none = np.empty(0, np.int64)
    return replace(
        good,
        ending="killed by SIGKILL",
        run=replace(good.run, end="killed", exit_code=None, signal="SIGKILL"),
        channels=(
            replace(good.channels[0], exact=False, reason=reason),
            ChannelSummary(
                children, 120, 800 * MiB, 3 * S, "data", False, children.reason, 0, S // 10
            ),
        ),
        curves={
            **good.curves,
            "children.rss": Curve(
                children, none, none, none, none.astype(bool), none.reshape(0, 2)
            ),
        },
        phases=(*good.phases[:2], *vague, good.phases[4]),
        notes=("the last line of events.4711.jsonl was cut off and is left out",),
    )


def hostile():
    good = training()
    rows = tuple(
        phase(name, i, i + 1, 0.5, 100 + i, i, 0, 0, duration=12.3)
        for i, name in enumerate(HOSTILE)
    )
    return replace(
        good,
        title="\x1b[31mtrain\n.py",
        phases=rows,
        channels=(replace(good.channels[0], peak_phase=HOSTILE[3]),),
        missing=("no \x1b[1mGPU\x1b[0m",),
    )


CASES = {
    "training-80": (training, {}),
    "training-40": (training, {"width": 40}),
    "training-60": (training, {"width": 60}),
    "training-120": (training, {"width": 120}),
    "training-color": (training, {"width": 100, "color": True}),
    "training-ascii": (training, {"width": 100, "ascii": True}),
    "killed-80": (killed, {}),
    "killed-50": (killed, {"width": 50}),
    "hostile-80": (hostile, {}),
    "hostile-ascii": (hostile, {"width": 100, "ascii": True}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_table_is_as_it_was_found_good(name):
    make, options = CASES[name]
    got = render(make(), **options)
    golden = GOLD / f"{name}.txt"
    if os.environ.get("UPDATE_GOLD"):
        golden.write_text(got, encoding="utf-8")
    if got != golden.read_text(encoding="utf-8"):
        MISMATCH.mkdir(exist_ok=True)
        (MISMATCH / golden.name).write_text(got, encoding="utf-8")
        pytest.fail(f"compare {golden} with {MISMATCH / golden.name}; see tests/gold/README.md")


@pytest.mark.parametrize("make", [training, killed, hostile])
@pytest.mark.parametrize("ascii", [False, True])
def test_no_line_is_longer_than_the_width_nor_ends_with_a_space(make, ascii):
    analysis = make()
    for width in range(40, 201):
        for line in render(analysis, width=width, ascii=ascii).splitlines():
            assert columns(line) <= width
            assert line == line.rstrip()


@pytest.mark.parametrize("make", [training, killed, hostile])
def test_colour_changes_nothing_but_the_colour(make):
    for width in (40, 80, 133):
        colored = render(make(), width=width, color=True)
        assert ANSI.sub("", colored) == render(make(), width=width)
        assert "\x1b[m" not in colored


def test_without_colour_there_is_no_escape_whatever_the_names():
    text = render(hostile())
    assert not any(ord(char) < 32 and char != "\n" for char in text)
    assert "\u202e" not in text


def test_ascii_is_ascii():
    assert render(hostile(), ascii=True).isascii()
    assert render(training(duration_ns=5_000), ascii=True).isascii()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(max_size=80), min_size=1, max_size=6),
    st.integers(1, 300),
    st.booleans(),
    st.text(max_size=100),
)
def test_any_names_fit_any_width(names, width, ascii, sentence):
    rows = tuple(
        phase(name, i, 1, 0.5, 100, i, 0, 1, duration=12.3) for i, name in enumerate(names)
    )
    analysis = training(title=names[0], phases=rows, notes=(sentence,), ending=sentence)
    text = render(analysis, width=width, ascii=ascii)
    assert all(columns(line) <= min(max(width, 40), 200) for line in text.split("\n"))


def test_of_3000_phases_those_that_matter_are_shown_in_their_order():
    names = tuple(f"p{i}" for i in range(3000))
    analysis = analyze(recording(3000, 3000, paths=names))
    lines = render(analysis, width=100).splitlines()
    shown = [line[2:].split()[0] for line in lines if re.match(r"[▶ ] p\d", line)]
    assert len(shown) == PHASES_SHOWN
    assert [names.index(each) for each in shown] == sorted(names.index(each) for each in shown)
    highest = max(analysis.phases, key=lambda each: each.peak["host.rss"].bytes)
    assert highest.path in shown
    assert any(line.startswith(f"  and {3000 - PHASES_SHOWN:,} more") for line in lines)


def test_a_run_without_phases_has_its_peak_and_no_table():
    text = render(analyze(recording(100, 0)))
    assert "Peak" in text
    assert "phase" not in text


def test_a_run_without_a_reading_says_so():
    empty = replace(recording(10, 0), series={}, marks=Marks.none())
    assert "Peak unknown" in render(analyze(empty))


def test_a_run_without_a_phase_inside_which_it_peaked_points_to_the_outside():
    analysis = training(channels=(replace(training().channels[0], peak_phase=None),))
    text = render(analysis)
    assert "outside every phase" in text
    assert "▶ (outside)" in text


def test_a_reason_is_listed_once_for_all_phases_that_share_it():
    analysis = analyze(recording(200, 40, exact=False))
    assert render(analysis).count("psutil reads no high-water mark") == 1


@pytest.mark.parametrize(("more", "said"), [(-1, False), (0, False), (1, True)])
def test_a_line_above_the_exact_peak_is_explained(more, said):
    analysis = training()
    peak = analysis.channels[0].peak
    line = TracedLine(3, "    a = load()", 1, peak + more, MiB)
    analysis = replace(analysis, lines=(TracedFunction("work", "train.py", (line,)),))
    assert analysis.channels[0].exact
    assert ("a little above the exact peak" in " ".join(render(analysis).split())) is said
    assert ("A line may stand a little above the exact peak" in card(analysis)) is said
