"""Where torch's rules for tensors without memory are put right: again held against the kernels."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from oracles import saved_for_backward  # noqa: E402
from torch import nn  # noqa: E402

import timeline  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.mark.skipif(
    "AVX512" not in torch.backends.cpu.get_cpu_capability(), reason="oneDNN's layout with AVX-512"
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(
    "sizes", [(1, 1, 16, 16), (50, 16, 10, 20), (5, 2, 16, 256), (7, 3, 513, 64), (9, 4, 64, 300)]
)
def test_what_an_lstm_keeps_is_exact(sizes, dtype):
    steps, batch, width, hidden = sizes
    model = nn.LSTM(width, hidden, 2, bidirectional=True, dtype=dtype)
    inputs = torch.randn(steps, batch, width, dtype=dtype)
    told = timeline.breakdown(model, None, inputs)
    assert told.categories["activation"] == saved_for_backward(model, inputs)


@pytest.mark.parametrize("kind", [nn.GRU, nn.RNN])
def test_other_recurrent_layers_need_no_correction(kind):
    model, inputs = kind(8, 12, 2), torch.randn(5, 3, 8)
    told = timeline.breakdown(model, None, inputs)
    assert told.categories["activation"] == saved_for_backward(model, inputs)


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, lambda n: nn.BatchNorm2d(n, affine=False)])
def test_batch_norm_of_16_bits_is_exact(kind):
    model, inputs = kind(8), torch.randn(4, 8, 5, 5, dtype=torch.bfloat16)
    told = timeline.breakdown(model, None, inputs.requires_grad_())
    assert told.categories["activation"] == saved_for_backward(model, inputs)


@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize(
    "kind", [lambda: nn.LayerNorm(6), lambda: nn.GroupNorm(4, 8), lambda: nn.LayerNorm((5, 6))]
)
def test_norms_of_rows_and_groups_of_16_bits_are_exact(kind, mixed):
    """As under autocast: the statistics are of 32 bits where the weights are."""
    model = kind() if mixed else kind().bfloat16()
    inputs = torch.randn(4, 8, 5, 6, dtype=torch.bfloat16).requires_grad_()
    told = timeline.breakdown(model, None, inputs)
    assert told.categories["activation"] == saved_for_backward(model, inputs)


def test_gradients_of_groups_of_16_bits_are_followed_as_their_kernel_makes_them():
    from torch._subclasses.fake_tensor import FakeTensorMode

    from timeline.theory.corrections import ran

    forward = torch.ops.aten.native_group_norm.default
    backward = torch.ops.aten.native_group_norm_backward.default
    source, weight = torch.randn(4, 8, 30, dtype=torch.bfloat16), torch.ones(8)
    _, mean, inverse = forward(source, weight, weight, 4, 8, 30, 2, 1e-5)
    given = (source, source, mean, inverse, weight)
    real = backward(*given, 4, 8, 30, 2, [True, True, True])
    with FakeTensorMode() as mode:
        fakes = [mode.from_tensor(each) for each in given]
        fake = ran(backward, (*fakes, 4, 8, 30, 2, [True, True, True]), None, lambda _: None)
    assert [each.dtype for each in fake] == [each.dtype for each in real]


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_what_a_bag_of_embeddings_saves_is_exact(mode):
    model, tokens = nn.EmbeddingBag(100, 6, mode=mode), torch.arange(12).view(3, 4)
    told = timeline.breakdown(model, None, tokens)
    assert told.categories["activation"] == saved_for_backward(model, tokens)


@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_a_sparse_gradient_has_a_row_for_each_index(kind):
    options = {"mode": "sum"} if kind is nn.EmbeddingBag else {}
    model, tokens = kind(100, 6, sparse=True, **options), torch.arange(12).view(3, 4)
    told = timeline.breakdown(model, None, tokens)
    assert told.categories["gradient"] == 12 * 8 + 12 * 6 * 4
    model(tokens).sum().backward()
    grad = model.weight.grad
    assert told.categories["gradient"] == grad._indices().nbytes + grad._values().nbytes


@pytest.mark.skipif(
    not hasattr(torch, "_grouped_mm")
    or not torch._C._dispatch_has_computed_kernel_for_dispatch_key("aten::_grouped_mm", "CPU"),
    reason="this torch has no kernel of it for the CPU",
)
@pytest.mark.parametrize("columns", [8, 12])
def test_a_grouped_product_of_32_bits_is_followed_as_its_kernel_makes_it(columns):
    """The layers of experts in a mixture: torch's own rule refuses them in float32."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    from timeline.theory.corrections import ran

    operator = torch.ops.aten._grouped_mm.default
    ends = torch.tensor([3, 8, 10], dtype=torch.int32)
    rows, weights = torch.randn(10, 16), torch.randn(3, 16, columns)
    forms = [
        (rows, weights),  # forward
        (torch.randn(10, 8), torch.randn(3, 16, 8).transpose(-2, -1)),  # of what goes in
        (rows.t(), torch.randn(10, columns)),  # of the weights
        (weights.transpose(-2, -1), rows.t()),
        (torch.randn(3, 5, 16), weights),
    ]
    for a, b in forms:
        offs = None if a.dim() == b.dim() == 3 else ends
        real = operator(a, b, offs)
        with FakeTensorMode() as mode:
            fakes = [mode.from_tensor(each) for each in (a, b)]
            fakes.append(offs if offs is None else mode.from_tensor(offs))
            fake = ran(operator, tuple(fakes), None, lambda _: None)
        assert (fake.shape, fake.stride(), fake.dtype) == (real.shape, real.stride(), real.dtype)


def test_an_lstm_leaves_as_much_behind_at_each_step():
    told = timeline.estimate(
        lambda: nn.LSTM(32, 64, 2),
        "adam",
        (20, 32),
        batch=16,
        loss=lambda out: out[0].sum(),
        steps=6,
    )
    ends = [told.course.allocated[at - 1] for at in told.course.steps[2:]]
    assert len(set(ends)) == 1, ends
