"""Text as a font can show it: its width, and what to do when it does not fit.

Names come from the user's program and may hold anything: a ``$``, a line break, Chinese, an emoji,
half a surrogate pair. Nothing is read as markup, and what no font here can draw is spelled out,
since two names must not look the same.
"""

from __future__ import annotations

import functools
import unicodedata

from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

# The first comes with matplotlib. The others are what systems have for other scripts; one that is
# not installed must not be asked for, or matplotlib warns on stderr.
_FAMILIES = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "IPAGothic",
    "PingFang SC",
    "PingFang HK",
    "Hiragino Sans",
    "Apple SD Gothic Neo",
    "Arial Unicode MS",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
)
_ELLIPSIS = "…"
_MEASURED_AT = 100.0

# Controls, what reorders a line, surrogates, private and unassigned.
_NOT_DRAWN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@functools.cache
def families() -> tuple[str, ...]:
    """The installed font families to draw with, the first first."""
    installed = {font.name for font in fontManager.ttflist}
    return tuple(name for name in _FAMILIES if name in installed)


@functools.cache
def font(size: float, bold: bool = False) -> FontProperties:
    """The font of a size in points."""
    return FontProperties(family=list(families()), size=size, weight="bold" if bold else "normal")


@functools.cache
def _files(bold: bool) -> tuple[str, ...]:
    weight = "bold" if bold else "normal"
    return tuple(findfont(FontProperties(family=[name], weight=weight)) for name in families())


@functools.cache
def _advance(character: str, bold: bool) -> float | None:
    """How far a character moves the pen, in its font's size; None where no font draws it."""
    if unicodedata.category(character) in _NOT_DRAWN:
        return None
    for file in _files(bold):
        face = get_font(file)
        if face.get_char_index(ord(character)):
            face.set_size(_MEASURED_AT, 72)
            advance: float = face.load_char(ord(character)).linearHoriAdvance / 65536
            return advance / _MEASURED_AT
    return None


def drawable(text: str) -> str:
    """The text in one line, with what cannot be drawn spelled as Python would."""
    out = []
    for character in text:
        if character in "\t\n\r\v\f":
            out.append(" ")
        elif _advance(character, False) is None or _advance(character, True) is None:
            # A byte that was no UTF-8 stands in a path as half a surrogate pair.
            out.append(character.encode("unicode_escape", "surrogatepass").decode("ascii"))
        else:
            out.append(character)
    return "".join(out)


def name(path: str) -> str:
    """A phase's path as drawable; words for one of which nothing would be seen."""
    return drawable(path) if path.strip() else "(no name)"


def width(text: str, size: float, *, bold: bool = False) -> float:
    """The width in inches of a drawable text of a size in points."""
    return sum(_advance(character, bold) or 0.0 for character in text) * size / 72


def fit(text: str, size: float, room: float, *, bold: bool = False) -> str:
    """The text as drawable, cut in its middle to ``room`` inches; empty where nothing fits."""
    text = drawable(text[:4000])
    if width(text, size, bold=bold) <= room:
        return text
    room -= width(_ELLIPSIS, size, bold=bold)
    # Names differ at both ends: the module first, the layer's number last.
    left, right, used = 0, len(text), 0.0
    while left < right:
        from_left = left <= len(text) - right
        step = width(text[left] if from_left else text[right - 1], size, bold=bold)
        if used + step > room:
            break
        used += step
        left, right = (left + 1, right) if from_left else (left, right - 1)
    if left == 0:
        return ""
    return text[:left].rstrip() + _ELLIPSIS + text[right:].lstrip()


def wrap(text: str, size: float, room: float) -> list[str]:
    """The text as drawable, in lines of at most ``room`` inches; a longer word is cut."""
    lines: list[str] = []
    line = ""
    for word in drawable(text[:4000]).split():
        longer = f"{line} {word}" if line else word
        if line and width(longer, size) > room:
            lines.append(line)
            longer = word
        line = longer if longer != word else fit(word, size, room)
    return [*lines, line] if line else lines
