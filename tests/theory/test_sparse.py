"""A step with sparse gradients, by theory and by torch's allocator."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from oracles import most_allocated  # noqa: E402
from torch import nn  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402

import timeline  # noqa: E402
from timeline.theory.inside import known_here  # noqa: E402
from timeline.theory.sparse import (  # noqa: E402
    ALL_DIFFERENT,
    INSTEAD,
    NO_PADDING,
    made_of,
    remember,
)

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(not known_here(), reason="what operators hold is of x86 with AVX-512"),
]

ROWS, WIDTH = 5000, 64


def nbytes(tensors):
    storages = {t.untyped_storage()._cdata: t.untyped_storage() for t in tensors}
    return sum(each.nbytes() for each in storages.values())


def true_peak(model, optimizer, indices):
    def step():
        optimizer.zero_grad()
        out = model(indices)
        loss = out.sum()
        loss.backward()
        optimizer.step()

    step()
    optimizer.zero_grad()
    state = [t for s in optimizer.state.values() for t in s.values() if torch.is_tensor(t)]
    return nbytes([*model.parameters(), indices, *state]) + most_allocated(step)


def table(**options):
    return nn.Embedding(ROWS, WIDTH, sparse=True, **options)


def bags():
    return nn.Sequential(
        nn.Unflatten(0, (-1, 10)), nn.EmbeddingBag(ROWS, WIDTH, sparse=True, mode="sum")
    )


class Twice(nn.Module):
    """A table that is read twice has the entries of both in its gradient."""

    def __init__(self):
        super().__init__()
        self.table = table()

    def forward(self, indices):
        return self.table(indices).sum() + self.table(indices + 1).sum()


@pytest.mark.parametrize(
    ("make", "count", "distinct", "options", "padded"),
    [
        pytest.param(table, 256, 5000, {}, False, id="few"),
        pytest.param(table, 3000, 700, {}, False, id="repeated"),
        pytest.param(table, 3000, 700, {"maximize": True}, False, id="maximized"),
        pytest.param(bags, 3000, 900, {}, False, id="bags"),
        pytest.param(lambda: table(padding_idx=0), 3000, 900, {}, True, id="padded"),
    ],
)
def test_a_step_of_sparse_adam_holds_its_distinct_rows(make, count, distinct, options, padded):
    torch.manual_seed(0)
    indices = torch.randint(1, distinct, (count,))
    model = make()
    optimizer = torch.optim.SparseAdam(model.parameters(), lr=0.001, **options)
    truth = true_peak(model, optimizer, indices)
    fresh = make()
    own = torch.optim.SparseAdam(fresh.parameters(), lr=0.001, **options)
    told = timeline.breakdown(fresh, own, indices)
    assert told.peak.bytes == pytest.approx(truth, rel=0.005)
    assert told.peak.phase == "optimizer"
    assert ALL_DIFFERENT not in told.assumptions
    assert (NO_PADDING in told.assumptions) == padded


def test_indices_without_values_are_taken_to_be_different():
    model = table()
    shape = torch.empty(300, dtype=torch.int64, device="meta")
    told = timeline.breakdown(model, "sparseadam", shape)
    assert ALL_DIFFERENT in told.assumptions
    optimizer = torch.optim.SparseAdam(model.parameters())
    truth = true_peak(model, optimizer, torch.arange(300))
    assert told.peak.bytes == pytest.approx(truth, rel=0.001)
    # There are no more rows than the table has.
    long = torch.empty(8 * ROWS, dtype=torch.int64, device="meta")
    told = timeline.breakdown(model, "sparseadam", long)
    truth = true_peak(model, optimizer, torch.arange(8 * ROWS) % ROWS)
    assert told.peak.bytes == pytest.approx(truth, rel=0.001)


def test_gradients_of_a_table_that_is_read_twice_have_the_entries_of_both():
    model = Twice()
    indices = torch.arange(0, 4000, 2)
    told = timeline.breakdown(model, "sparseadam", indices)
    truth = true_peak(model, torch.optim.SparseAdam(model.parameters()), indices)
    assert told.peak.bytes == pytest.approx(truth, rel=0.005)


EDGES = (
    # More numbers than entries, and entries of which two are at one place.
    torch.tensor([[0, 1, 0, 2, 0], [5, 6, 5, 7, 9]]),
    # Fewer numbers than places.
    torch.tensor([[0, 0, 1, 1, 0], [0, 1, 0, 1, 1]]),
    torch.tensor([[3, 3, 3, 3], [4, 4, 4, 4]]),
    torch.tensor([[3, 1, 3, 2, 1]]),
)


def coalesced(indices, given):
    notes = []
    with FakeTensorMode():
        own = torch.empty_strided(given.shape, given.stride(), dtype=given.dtype)
        remember(own, given)
        own = own if given.shape == indices.shape else own.t()
        source = made_of(torch.empty((10,) * len(indices)), own, torch.empty(indices.shape[1]))
        found = INSTEAD[torch.ops.aten._coalesce.default]((source,), {}, notes.append)
        return found._indices().shape, found._values().shape, notes


@pytest.mark.parametrize("indices", EDGES)
def test_entries_are_added_up_where_all_their_indices_are_the_same(indices):
    values = torch.ones(indices.shape[1])
    truth = torch.sparse_coo_tensor(indices, values, (10,) * len(indices)).coalesce()
    shapes = truth.indices().shape, truth.values().shape
    assert coalesced(indices, indices) == (*shapes, [])


def test_of_indices_in_another_order_than_they_were_given_only_a_bound_is_known():
    pairs = EDGES[0].t().contiguous()
    assert coalesced(EDGES[0], pairs) == ((2, 5), (5,), [ALL_DIFFERENT])
