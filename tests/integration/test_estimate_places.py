"""Scripts that leave a tensor on the host: what a GPU would refuse, an estimate refuses, too."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.torch

FORGOTTEN = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 14 * 14, 10)).cuda()
optimizer = torch.optim.SGD(model.parameters(), 0.1)
wanted = nn.CrossEntropyLoss()
for x, y in DataLoader(TensorDataset(torch.rand(64, 3, 16, 16), torch.arange(64) % 10), 16):
    loss = wanted(model(X), Y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""


@pytest.mark.parametrize(
    ("x", "y", "what"),
    [
        ("x", "y.cuda()", "convolution: the tensor of [16, 3, 16, 16]"),
        ("x.cuda()", "y", "nll_loss_forward: the tensor of [16]"),
    ],
)
def test_a_batch_that_was_not_moved_is_one_sentence_with_its_line(estimate, x, y, what):
    ended = estimate(FORGOTTEN.replace("X", x).replace("Y", y))
    assert ended.code == 1
    assert "script.py:10: RuntimeError: Expected all tensors to be on the same device" in (
        ended.stderr
    )
    assert f"cuda:0 and cpu! ({what} is not on the card)" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_what_cuda_refuses_is_refused_and_what_it_takes_is_not(estimate):
    """As TensorIterator, the indexing and the other CUDA kernels of torch have it."""
    ended = estimate(
        """
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

card, host = torch.rand(8, 8, device="cuda"), torch.rand(8, 8)
where = torch.randint(8, (8,), device="cuda")
number, hosts_number = card.sum(), torch.tensor(2.0)
table = torch.rand(100, 8)
embedding, lstm, norm = nn.Embedding(10, 8).cuda(), nn.LSTM(8, 8).cuda(), nn.LayerNorm(8).cuda()
refused = {
    "product": lambda: card @ host,
    "sum": lambda: card + host,
    "comparison": lambda: card.argmax(1) == torch.arange(8),
    "loss": lambda: F.mse_loss(card, host),
    "linear": lambda: F.linear(host, card),
    "embedding": lambda: embedding(torch.arange(8)),
    "lstm": lambda: lstm(host),
    "norm": lambda: norm(host),
    "cat": lambda: torch.cat([card, host]),
    "gather": lambda: card.gather(1, torch.zeros(8, 1, dtype=torch.int64)),
    "table of the host by indices of the card": lambda: table[where],
    "mask": lambda: card.masked_fill(host > 0.5, 0.0),
    "into the host": lambda: host.add_(card),
    "into a number of the host": lambda: hosts_number.add_(number),
    "large and never moved": lambda: torch.randn(64, 1 << 18) @ torch.rand(1 << 18, 2).cuda(),
}
taken = {
    "number of the host": lambda: card * hosts_number + torch.tensor(1),
    "number of the card": lambda: card / number,
    "card by indices of the host": lambda: card[torch.arange(3)],
    "host by indices brought there": lambda: table[where.cpu()],
    "copy": lambda: host.copy_(card),
    "parts of the host": lambda: table.__setitem__(slice(0, 8), card.cpu()),
    "new": lambda: card + card.new_tensor([1.0] * 8) + card.new_zeros(8) + card.new(8, 8),
    "like": lambda: card + torch.rand_like(card) + torch.zeros(8, device=card.device),
    "one hot": lambda: F.one_hot(where, 8) * card,
    "old": lambda: torch.cuda.FloatTensor(np.ones((8, 8))) * host.type(torch.cuda.FloatTensor),
    "grid": lambda: F.affine_grid(torch.rand(1, 2, 3, device="cuda"), (1, 1, 8, 8)) * number,
    "parallel": lambda: nn.DataParallel(norm)(host),
    "distributed": lambda: nn.parallel.DistributedDataParallel(norm, device_ids=[0])(host),
    **{f"ctc loss, {way}": lambda way=way: F.ctc_loss(
        torch.rand(9, 8, 5, device="cuda", requires_grad=True).log_softmax(2),
        torch.ones(8, 3, dtype=torch.int64).cuda(), torch.full((8,), 9), torch.full((8,), 3),
        reduction=way, zero_infinity=way != "sum").sum().backward()
       for way in ("none", "mean", "sum")},
    "backward": lambda: (card * nn.Parameter(host.cuda())).sum().backward(),
}
def fails(function):
    try:
        function()
    except RuntimeError as error:
        assert "same device" in str(error), error
        return True
    return False

wrong = [name for name, each in refused.items() if not fails(each)]
wrong += [name for name, each in taken.items() if fails(each)]
assert torch.cuda.FloatTensor(3).type() == "torch.cuda.FloatTensor"
assert isinstance(card, torch.cuda.FloatTensor) and not isinstance(host, torch.cuda.FloatTensor)
if wrong:
    raise SystemExit(f"taken though refused, or refused though taken: {wrong}")
norm(card)
"""
    )
    assert ended.code == 0, ended.stderr
    found = json.loads(ended.stdout)["estimate"]
    assert found["cut_off"] == ""
    assert not [each for each in found["assumptions"] if "taken though" in each]
