"""What oneDNN keeps of a recurrent layer."""

from __future__ import annotations


def lstm_workspace(steps: int, batch: int, width: int, hidden: int, element: int) -> int:
    """Bytes of what oneDNN keeps of one layer and direction of an LSTM in training.

    Its parts begin at pages, and its rows at cache lines (oneDNN, src/cpu/rnn/rnn_utils.cpp). Found
    and tested on x86 with AVX-512, for elements of 4 and 2 bytes; other CPUs may choose otherwise.

    Args:
        steps, batch, width: the shape of the layer's input.
        hidden: the size of its state.
        element: bytes of one number.
    """
    pages = 4096

    def part(rows: int, columns: int, size: int) -> int:
        return -(-rows * columns * size // pages) * pages

    states = 2 * (steps + 1) * batch
    widest = max(width, hidden)
    return (
        part(steps * batch, row_of(4 * hidden, element), element)  # gates
        + part(steps * batch, row_of(hidden, element), element)
        + part(states, row_of(widest, element), element)
        + 2 * part(states, row_of(widest, 4), 4)
        + part(states, hidden, element)
        + part(states, hidden, 4)
    )


def row_of(columns: int, size: int) -> int:
    """Numbers in a row: whole cache lines, one more where the rows would share their sets."""
    line = 64 // size
    row = -(-columns // line) * line
    return row + line if row % 256 == 0 else row
