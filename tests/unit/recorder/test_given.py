"""What is noted of layers, of what nodes hold, and of an optimizer's states."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from timeline.recorder.hooks.given import Settings  # noqa: E402
from timeline.recorder.hooks.graph import held_by, nodes_of  # noqa: E402
from timeline.recorder.hooks.pieces import CATEGORY, SIZE, STATE, Pieces  # noqa: E402

pytestmark = pytest.mark.torch


class Doubled(torch.autograd.Function):
    """Puts a tensor on its ctx, where it is asked to."""

    @staticmethod
    def forward(ctx, x, keep):
        if keep:
            ctx.kept = x * 2
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


def test_layers_of_the_same_attributes_have_their_own_settings():
    settings = Settings()
    first, second = nn.Linear(3, 4), nn.Linear(5, 6, bias=False)
    assert tuple(vars(first)) == tuple(vars(second))
    assert settings.of(first) == {
        "training": True, "in_features": 3, "out_features": 4, "weight": True, "bias": True,
    }  # fmt: skip
    found = settings.of(second)
    assert (found["in_features"], found["bias"]) == (5, None)


def test_an_attribute_that_a_layer_has_for_itself_is_among_its_settings():
    settings = Settings()
    settings.of(nn.Conv2d(1, 1, 3))
    marked = nn.Conv2d(1, 1, (3, 5))
    marked.note, marked._hidden, marked.kept = "mine", 1, torch.zeros(1)
    found = settings.of(marked)
    assert (found["note"], found["kernel_size"]) == ("mine", (3, 5))
    assert not {"_hidden", "kept"} & set(found)


def test_what_a_function_put_on_its_ctx_is_found_after_a_node_of_its_class_that_has_none():
    x = torch.ones(3, requires_grad=True)

    def held(keep):
        ((node, _),) = nodes_of([Doubled.apply(x, keep)])
        return [each.tolist() for each in held_by(node)]

    assert (held(False), held(True), held(False)) == ([], [[2.0] * 3], [])


def test_tensors_deep_in_an_optimizers_state_are_seen_like_those_on_top():
    pieces = Pieces(lambda: None, lambda: 0)
    state = {
        "step": 3,
        "first": torch.zeros(4),
        "history": [torch.zeros(8), {"more": torch.zeros(2)}],
    }
    pieces.add_all(state, STATE)
    assert sorted(row[SIZE] for row in pieces.all) == [8, 16, 32]
    assert {row[CATEGORY] for row in pieces.all} == {STATE}
