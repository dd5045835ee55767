"""Packed sequences, followed without memory: against what torch saves and allocates for real."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from oracles import most_allocated, saved_for_backward  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

import timeline  # noqa: E402
from timeline.errors import BreakdownError  # noqa: E402
from timeline.theory.packing import AS_LONG  # noqa: E402
from timeline.theory.summing import saved_by_formula  # noqa: E402

pytestmark = pytest.mark.torch

LENGTHS = [7, 4, 4, 1]


class Words(nn.Module):
    """Tokens of sequences of different lengths, packed, through a recurrent layer, and padded."""

    def __init__(self, kind=nn.LSTM, *, first=True, two=True, lengths=None, sort=False, more=0):
        super().__init__()
        self.words = nn.Embedding(50, 12)
        self.steps = kind(12, 16, 2, batch_first=first, bidirectional=two)
        self.scores = nn.Linear(32 if two else 16, 50)
        self.first, self.lengths, self.sort, self.more = first, lengths, sort, more

    def forward(self, tokens, lengths=None):
        packed = pack_padded_sequence(
            self.words(tokens),
            self.lengths if lengths is None else lengths,
            batch_first=self.first,
            enforce_sorted=not self.sort,
        )
        longest = packed.batch_sizes.size(0) + self.more
        padded, many = pad_packed_sequence(
            self.steps(packed)[0], batch_first=self.first, total_length=longest
        )
        assert many.shape == (4,)
        return self.scores(padded)


def tokens(first=True):
    return torch.zeros((4, 7) if first else (7, 4), dtype=torch.int64)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize(
    "options",
    [
        {"lengths": LENGTHS},
        {"lengths": [4, 7, 1, 4], "sort": True},
        {"lengths": LENGTHS, "first": False, "two": False, "more": 3},
        {"lengths": [7] * 4},
    ],
    ids=["sorted", "unsorted", "by step", "equal"],
)
def test_a_packed_sequence_is_followed_to_the_byte(kind, options):
    model = Words(kind, **options)
    inputs = tokens(options.get("first", True))
    truth = saved_for_backward(model, inputs)
    told = timeline.breakdown(model, None, inputs)
    assert told.categories["activation"] == truth
    assert AS_LONG not in told.assumptions
    assert told.categories["gradient"] == told.categories["parameter"]
    formulas = saved_by_formula(model, inputs)
    assert (formulas.bytes, formulas.not_counted) == (truth, ())


@pytest.mark.parametrize("sort", [False, True])
def test_lengths_among_the_inputs_are_known(sort):
    lengths = torch.tensor([4, 7, 1, 4] if sort else LENGTHS, dtype=torch.int32)
    model = Words(sort=sort)
    told = timeline.breakdown(model, None, [tokens(), lengths])
    assert told.categories["activation"] == saved_for_backward(model, tokens(), lengths)
    assert AS_LONG not in told.assumptions


def test_unknown_lengths_are_taken_for_the_longest_and_it_is_said():
    told = timeline.breakdown(Words(sort=True), None, ["7:int64", "scalar:int64"], batch=4)
    full = timeline.breakdown(Words(sort=True, lengths=[7] * 4), None, tokens())
    assert told.categories["activation"] == full.categories["activation"]
    assert AS_LONG in told.assumptions


def test_the_peak_of_an_inference_is_the_allocators():
    torch.manual_seed(0)
    model = Words(nn.GRU, lengths=LENGTHS).eval()
    model.steps = nn.GRU(12, 256, batch_first=True)
    model.scores = nn.Linear(256, 2000)
    inputs = tokens()
    told = timeline.breakdown(model, None, inputs, train=False)
    with torch.no_grad():
        model(inputs)
        most = most_allocated(lambda: model(inputs))
    standing = told.peak.categories["parameter"] + told.peak.categories["input"]
    assert told.peak.bytes - standing == pytest.approx(most, rel=0.01)


def test_lengths_out_of_order_are_refused_in_torch_s_words():
    with pytest.raises(BreakdownError, match="must be sorted in decreasing order"):
        timeline.breakdown(Words(lengths=[1, 7, 4, 4]), None, tokens())


def test_real_sequences_are_packed_and_padded_as_before():
    before = torch._VF._pad_packed_sequence
    timeline.breakdown(Words(lengths=LENGTHS), None, tokens())
    assert torch._VF._pad_packed_sequence is before
    packed = pack_padded_sequence(torch.ones(4, 7, 1), LENGTHS, batch_first=True)
    assert pad_packed_sequence(packed)[1].tolist() == LENGTHS
