"""Numbers of storages: one for each while it lives, and a word when it goes."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from timeline.theory.numbering import Numbers  # noqa: E402

pytestmark = pytest.mark.torch


class Told:
    """What a `Numbers` says."""

    def __init__(self):
        self.sizes = []
        self.gone = []
        self.unseen = []
        self.numbers = Numbers(self.came, self.gone.append, self.unseen.append)

    def came(self, storage):
        self.sizes.append(storage.nbytes())
        return len(self.sizes) - 1


def test_a_storage_has_one_number_through_all_its_views_until_it_is_gone():
    told = Told()
    whole = torch.zeros(3, 4)
    view = whole.t()[1:]
    assert told.numbers.of(whole) == told.numbers.of(view) == [0]
    assert told.numbers.of(torch.zeros(2)) == [1]
    assert (told.sizes, told.gone, told.numbers.alive()) == ([48, 8], [1], [0])
    del whole
    assert told.gone == [1]
    del view
    assert (told.gone, told.numbers.alive()) == ([1, 0], [])


def test_a_sparse_tensor_has_two_storages_and_some_layouts_none():
    told = Told()
    sparse = torch.eye(3).to_sparse()
    assert len(told.numbers.of(sparse)) == 2
    dense = torch.ones(2, 2).to_mkldnn() if torch.backends.mkldnn.is_available() else None
    if dense is not None:
        assert told.numbers.of(dense) == []
        assert told.unseen == ["tensors of the layout torch._mkldnn"]


def test_what_goes_after_the_end_is_told_to_nobody():
    told = Told()
    tensor = torch.zeros(3)
    told.numbers.of(tensor)
    told.numbers.stop()
    del tensor
    assert told.gone == []
    assert told.numbers.alive() == []
