"""Rows of numbers as one text, and back."""

import pytest

from timeline.recording.weighed.packing import column, numbers_in, packed, unpacked


def test_numbers_come_back_as_they_were():
    numbers = [0, -1, 1 << 62, -(1 << 62), 127, 128]
    assert numbers_in(column(numbers)) == numbers
    assert numbers_in(column([])) == []


def test_rows_come_back_and_lists_of_an_earlier_recording_stay():
    raw = {"pieces": packed([[1, 2, 3, 4, 5, 6, 7, 8]] * 2), "savers": [[1, 2]], "parameters": ""}
    assert unpacked({**raw, "step": 2}) == {
        "pieces": [[1, 2, 3, 4, 5, 6, 7, 8]] * 2,
        "savers": [[1, 2]],
        "parameters": [],
        "step": 2,
    }


@pytest.mark.parametrize("text", ["0", "00", "xy" * 8, column([1]), column([1]) * 3])
def test_what_is_cut_off_or_no_number_is_refused(text):
    with pytest.raises(ValueError):
        unpacked({"pieces": [], "savers": text, "parameters": []})
