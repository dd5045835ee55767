"""The table of known GPUs."""

from __future__ import annotations

import pytest

from timeline.errors import UsageError
from timeline.theory.cards import CARDS, find
from timeline.units import GiB, MiB


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("a100-40gb", "a100-40gb"),
        ("A100", "a100-40gb"),
        ("rtx4090", "rtx4090"),
        ("RTX 4090", "rtx4090"),
        ("4090", "rtx4090"),
        ("NVIDIA GeForce RTX 3060", "rtx3060"),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb"),
        ("h100", "h100-80gb"),
        ("Tesla T4", "t4"),
        ("V100_32GB", "v100-32gb"),
    ],
)
def test_a_card_is_found_however_it_is_written(text, key):
    assert find(text).key == key


def test_a_size_is_a_card_of_which_no_architecture_is_known():
    card = find("24GiB")
    assert (card.memory, card.visible, card.capability) == (24 * GiB, 24 * GiB, None)
    assert find("512 MiB").visible == 512 * MiB


@pytest.mark.parametrize("text", ["rtx4091", "", "voodoo2", "-3GiB", "nan", "1e9"])
def test_an_unknown_card_is_one_sentence(text):
    with pytest.raises(UsageError, match="there is no card"):
        find(text)


def test_a_near_miss_is_named():
    with pytest.raises(UsageError, match="near it: a100-40gb"):
        find("a100-40g")


@pytest.mark.parametrize("text", ["24", "24B", "0GiB", "9999TiB"])
def test_a_size_no_gpu_can_have_is_refused(text):
    with pytest.raises(UsageError, match="a GPU's memory lies between"):
        find(text)


@pytest.mark.parametrize("card", CARDS.values(), ids=list(CARDS))
def test_every_card_shows_less_than_the_driver_reports_and_says_where_from(card):
    assert 0.95 * card.memory < card.visible < card.memory
    assert card.source
    assert card.processors
    assert card.capability
    assert find(card.name) is card
