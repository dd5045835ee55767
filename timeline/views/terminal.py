"""What a terminal can show: the width of text, names that do no harm, colour or none."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TextIO

NARROWEST, WIDEST = 40, 200
DEFAULT_WIDTH = 80

_DRAWN = "█▌▶…·µ–"
"""The characters beyond ASCII that the table draws with."""

_TO_ASCII = str.maketrans({"µ": "u", "–": "-", "▶": ">", "·": "-", "’": "'"})

_ESCAPED = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories that move the cursor, reorder the line, have no glyph or end a line."""

BOLD, DIM, HOT, COOL = "1", "2", "1;31", "36"
"""ANSI colours: what is hot is the peak."""

_NO_WIDTH = {"Mn", "Me"}


@dataclass(frozen=True, slots=True)
class Look:
    """How to write to a stream.

    Attributes:
        width: columns, NARROWEST to WIDEST.
        color: whether ANSI colours may be used.
        ascii: whether the stream's encoding knows no more than ASCII.
    """

    width: int
    color: bool
    ascii: bool

    @property
    def ellipsis(self) -> str:
        """What stands for what was left out of a name."""
        return ".." if self.ascii else "…"

    def plain(self, text: str) -> str:
        """Any text, without what a terminal would act upon or the stream cannot write."""
        return neutral(text.translate(_TO_ASCII) if self.ascii else text, ascii=self.ascii)

    def paint(self, text: str, code: str) -> str:
        """The text in a colour; an empty code is none."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.color and code and text.strip() else text

    def lines(self, text: str, first: str = "", rest: str = "") -> list[str]:
        """Any text in lines of this width, as `wrap` does it."""
        return wrap(self.plain(text).split(), self.width, first=first, rest=rest)

    def phase(self, path: str) -> str:
        """A phase's path; one of spaces alone is quoted, to be seen at all."""
        return self.plain(path if path.strip() else repr(path))


def look_of(stream: TextIO, environ: Mapping[str, str] = os.environ) -> Look:
    """How to write to a stream, by what it is and by the environment.

    Colour in the order that Python itself decides by: ``NO_COLOR``, ``FORCE_COLOR``,
    ``TERM=dumb``, then whether it is a terminal. Width: ``COLUMNS``, the terminal's, else 80.
    """
    terminal = _is_terminal(stream)
    if environ.get("NO_COLOR"):
        color = False
    elif environ.get("FORCE_COLOR"):
        color = True
    else:
        color = terminal and environ.get("TERM") != "dumb"
    return Look(_width(stream, terminal, environ), color, not _encodes(stream, _DRAWN))


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (AttributeError, ValueError):  # closed, or no real stream
        return False


def _width(stream: TextIO, terminal: bool, environ: Mapping[str, str]) -> int:
    columns = environ.get("COLUMNS", "")
    width = int(columns) if columns.isascii() and columns.isdigit() and len(columns) < 6 else 0
    if not width and terminal:
        try:
            width = os.get_terminal_size(stream.fileno()).columns
        except (OSError, ValueError, AttributeError):
            pass
    # A terminal that does not know its size says 0.
    return min(max(width or DEFAULT_WIDTH, NARROWEST), WIDEST)


def _encodes(stream: TextIO, text: str) -> bool:
    try:
        text.encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeError, LookupError):
        return False
    return True


def neutral(text: str, *, ascii: bool = False) -> str:
    r"""The text with all that a terminal would act upon written out, such as ``\x1b``.

    Args:
        text: from a user: a phase's name, a script's path.
        ascii: whether everything beyond ASCII is written out too.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible(char, ascii) for char in text)


def _visible(char: str, ascii: bool) -> str:
    if unicodedata.category(char) in _ESCAPED or (ascii and not char.isascii()):
        return char.encode("unicode_escape").decode("ascii")
    return char


def columns(text: str) -> int:
    """How many columns neutral text takes: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(map(_columns, text))


def _columns(char: str) -> int:
    if unicodedata.category(char) in _NO_WIDTH:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def fit(text: str, width: int, *, ellipsis: str = "…") -> str:
    """The text in at most `width` columns, shortened in the middle if it must be."""
    if columns(text) <= width:
        return text
    room = width - columns(ellipsis)
    if room < 2:
        return _head(text, width)
    tail = _tail(text, room // 2)
    return _head(text, room - columns(tail)) + ellipsis + tail


def _head(text: str, width: int) -> str:
    taken = 0
    for i, char in enumerate(text):
        taken += _columns(char)
        if taken > width:
            return text[:i]
    return text


def _tail(text: str, width: int) -> str:
    taken = 0
    for i in range(len(text) - 1, -1, -1):
        taken += _columns(text[i])
        if taken > width:
            # Marks that combined with the character cut off would combine with the ellipsis.
            rest = text[i + 1 :]
            while rest and not _columns(rest[0]):
                rest = rest[1:]
            return rest
    return text


def pad(text: str, width: int) -> str:
    """The text with spaces after it, up to a width."""
    return text + " " * (width - columns(text))


def wrap(words: Iterable[str], width: int, *, first: str = "", rest: str = "") -> list[str]:
    """Words in lines of at most `width` columns; a longer word is cut, at a space if it can.

    Args:
        words: neutral text; what must stay together, such as a figure with its unit, is a word.
        width: columns of a line, its indentation included.
        first: what the first line begins with.
        rest: what the others begin with.
    """
    lines: list[str] = []
    line, empty = first, True
    for word in words:
        while word:
            room = width - columns(line) - (0 if empty else 1)
            if columns(word) <= room:
                line += word if empty else " " + word
                word, empty = "", False
            elif empty:
                part = _head(word, max(room, 2))
                between = part.rstrip().rfind(" ")
                if between > 0 and len(part) < len(word):
                    part = part[:between]
                lines.append(line + part)
                word, line = word[len(part) :].lstrip(" "), rest
            else:
                lines.append(line)
                line, empty = rest, True
    if not empty:
        lines.append(line)
    return lines
