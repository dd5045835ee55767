"""What the sampler has read meanwhile, by the rows of its own writer."""

import os

from timeline.recorder.hooks.sampled import Sampled
from timeline.recording.format import HOST_FIELDS, samples_name
from timeline.recording.writer import SampleWriter


def writer_in(directory):
    return SampleWriter(str(directory / samples_name("host")), HOST_FIELDS)


def test_the_highest_of_the_rows_since_the_beginning_is_told(tmp_path):
    writer = writer_in(tmp_path)
    sampled = Sampled(str(tmp_path))
    assert sampled.highest() == 0
    writer.append(1, 0, 0, 5, 900)
    sampled.begin()
    assert sampled.highest() == 0
    for high in (70, 80, 60):
        writer.append(2, 0, 7, 1000, high)
    assert sampled.highest() == 80
    sampled.begin()
    assert sampled.highest() == 0
    for number in range(5000):
        writer.append(3, 1, 2, 99, 10_000 - number)
    # Of a very long phase the last 4096.
    assert sampled.highest() == 10_000 - (5000 - 4096)
    sampled.close()
    assert sampled.highest() == 0
    writer.close()


def test_without_rows_nothing_is_told(tmp_path):
    sampled = Sampled(str(tmp_path))
    sampled.begin()
    assert sampled.highest() == 0
    sampled.close()


def test_a_program_that_closes_every_descriptor_keeps_its_own(tmp_path):
    writer = writer_in(tmp_path)
    writer.append(1, 0, 0, 5, 900)
    sampled = Sampled(str(tmp_path))
    taken = sampled._fd
    os.close(taken)
    other = os.open(os.devnull, os.O_RDONLY)
    os.dup2(other, taken)
    assert sampled.highest() == 0
    sampled.close()
    assert os.read(taken, 1) == b""
    os.close(taken)
    os.close(other)
    writer.close()
