import io
import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timeline.views.terminal import columns, fit, look_of, neutral, pad, wrap

WORDS = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def test_a_file_gets_no_colour_and_80_columns():
    look = look_of(io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), {})
    assert (look.width, look.color, look.ascii) == (80, False, False)


def test_a_terminal_gets_colour():
    assert look_of(Terminal(), {"TERM": "xterm"}).color


@pytest.mark.parametrize(
    ("environ", "color"),
    [
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, True),
        ({"TERM": "dumb"}, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
    ],
)
def test_the_environment_decides_the_colour_as_in_python_itself(environ, color):
    assert look_of(Terminal(), environ).color is color


def test_forced_colour_reaches_a_file():
    assert look_of(io.StringIO(), {"FORCE_COLOR": "1"}).color


@pytest.mark.parametrize(
    ("columns_", "width"),
    [("100", 100), ("1", 40), ("9999", 200), ("", 80), ("wide", 80), ("-5", 80), ("²", 80)],
)
def test_columns_sets_the_width_within_bounds(columns_, width):
    assert look_of(io.StringIO(), {"COLUMNS": columns_}).width == width


def test_the_width_of_a_real_terminal_is_asked_for():
    termios = pytest.importorskip("termios")
    import fcntl
    import struct

    ours, theirs = os.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 132, 0, 0))
    with os.fdopen(theirs, "w", encoding="utf-8") as stream:
        look = look_of(stream, {"TERM": "xterm"})
    os.close(ours)
    assert (look.width, look.color) == (132, True)


@pytest.mark.parametrize(
    ("encoding", "ascii"), [("ascii", True), ("latin-1", True), ("utf-8", False)]
)
def test_an_encoding_without_the_bars_gets_ascii(encoding, ascii):
    assert look_of(io.TextIOWrapper(io.BytesIO(), encoding=encoding), {}).ascii is ascii


def test_a_closed_stream_does_not_raise():
    stream = io.StringIO()
    stream.close()
    assert look_of(stream, {}).color is False


def test_what_a_terminal_acts_upon_is_written_out():
    assert neutral("\x1b[31mred\x1b[0m\n\r\x07") == r"\x1b[31mred\x1b[0m\n\r\x07"
    assert neutral("abc\u202edef\u2028") == r"abc\u202edef\u2028"
    assert neutral("\ud800") == r"\ud800"
    assert neutral("naïve 数据") == "naïve 数据"
    assert neutral("naïve", ascii=True) == r"na\xefve"


@given(WORDS)
def test_neutral_text_holds_nothing_that_moves_the_cursor(text):
    assert not any(unicodedata.category(char)[0] == "C" for char in neutral(text))
    assert neutral(text, ascii=True).isascii()


def test_wide_characters_take_two_columns_and_combining_ones_none():
    assert columns("数据") == 4
    assert columns("e\u0301") == 1


def test_a_long_name_is_shortened_in_the_middle():
    assert fit("step/forward/layer1", 11) == "step/…ayer1"
    assert fit("short", 11) == "short"
    assert fit("step/forward", 8, ellipsis="..") == "ste..ard"


@given(WORDS.map(neutral), st.integers(1, 40))
def test_a_fitted_name_never_takes_more_than_its_width(text, width):
    assert columns(fit(text, width)) <= width
    if columns(text) <= width:
        assert fit(text, width) == text


@given(WORDS.map(neutral), st.integers(10, 60))
def test_wrapped_lines_keep_every_character_and_the_width(text, width):
    lines = wrap(text.split(), width, first="- ", rest="  ")
    assert all(columns(line) <= width and line == line.rstrip() for line in lines)
    assert "".join("".join(lines).split()) == "".join(("- " + text).split()) or not text.strip()


def test_a_phrase_longer_than_a_line_is_cut_between_its_words():
    phrase = "after the program's end, as its process ended"
    assert wrap(["10 MiB", phrase, "exact"], 40, rest="  ") == [
        "10 MiB",
        "  after the program's end, as its",
        "  process ended exact",
    ]


def test_padding_counts_columns():
    assert pad("数", 4) + "|" == "数  |"
