"""What is known of a program's models."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from timeline.recorder.hooks.belongings import Belongings  # noqa: E402
from timeline.recorder.hooks.pieces import Pieces  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(
    ("make", "sequence_first"),
    [
        (lambda **more: nn.LSTM(4, 4, **more), True),
        (lambda **more: nn.Sequential(nn.Linear(4, 4), nn.GRU(4, 4, **more)), True),
        (lambda **more: nn.MultiheadAttention(4, 2, **more), True),
        (lambda **more: nn.TransformerEncoderLayer(4, 2, 4, **more), True),
        (lambda **more: nn.Transformer(4, 2, 1, 1, 4, **more), True),
        (lambda **_: nn.Sequential(nn.Embedding(4, 4), nn.LSTMCell(4, 4)), False),
    ],
)
def test_a_layer_of_sequences_takes_them_first_unless_it_is_told_otherwise(make, sequence_first):
    for more, expected in (({}, sequence_first), ({"batch_first": True}, False)):
        own = Belongings(Pieces(lambda: None, lambda: 0))
        own.know(make(**more))
        assert own.sequence_first is expected
