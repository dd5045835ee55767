"""Which GPUs a program sees: torch's own reading of the variable is the oracle."""

import os
import random

import pytest

from timeline.recorder.probes.visible import visible

UUIDS = ["GPU-0a11", "GPU-0a22", "GPU-1b33", "GPU-2c44"]
WHOLE = [[], [], [], []]


def by_torch(asked: str) -> list[int]:
    import torch

    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = asked
    try:
        found = torch.cuda._parse_visible_devices()
        if found and isinstance(found[0], str):
            return torch.cuda._transform_uuid_to_ordinals(found, UUIDS)
        # As torch.cuda._device_count_nvml goes on: what is out of range ends the list.
        for place, number in enumerate(found):
            if number >= len(UUIDS):
                return found[:place]
        return found
    finally:
        os.environ.pop("CUDA_VISIBLE_DEVICES")
        if before is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


def ours(asked: str | None) -> list[int]:
    return [gpu for gpu, _ in visible(asked, UUIDS, WHOLE)]


@pytest.mark.torch
def test_lists_of_numbers_and_uuids_mean_what_they_mean_to_torch():
    chance = random.Random(11)
    numbers = ["0", "1", "2", "3", "-1", " 2", "+1", "1gpu", "x", ""]
    uuids = ["GPU-0a11", "GPU-1", "GPU-2c", "GPU-0", "GPU-9"]
    for words in (numbers, uuids):
        for _ in range(300):
            asked = ",".join(chance.choice(words) for _ in range(chance.randint(1, 4)))
            expected = by_torch(asked)
            # What comes twice behind the end of the list empties torch's, which looks there first.
            if expected or len(set(asked.split(","))) == len(asked.split(",")):
                assert ours(asked) == expected, asked


def test_unset_means_all_and_nonsense_none():
    assert ours(None) == [0, 1, 2, 3]
    assert ours("") == ours("-1") == ours("NoDevFiles") == []
    assert ours("1,1") == []
    assert ours("2,9,1") == [2]


def test_instances_are_found_by_the_beginning_of_their_uuid_and_stand_for_their_gpu():
    parts = [[], [(0, "MIG-aa"), (3, "MIG-bb")], [], []]
    assert visible("MIG-b", UUIDS, parts) == [(1, 3)]
    assert visible("MIG-bb,MIG-aa", UUIDS, parts) == [(1, 3), (1, 0)]
    assert visible("MIG-", UUIDS, parts) == []
    # CUDA takes the first instance of a GPU that is divided.
    assert visible("1", UUIDS, parts) == visible("GPU-0a22", UUIDS, parts) == [(1, 0)]
    assert visible(None, UUIDS, parts) == [(0, -1), (1, 0), (2, -1), (3, -1)]
