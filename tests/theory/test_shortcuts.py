"""What is said at once of tensors without memory, against the kernels with real ones."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode  # noqa: E402

from timeline.theory import shortcuts  # noqa: E402

pytestmark = pytest.mark.torch

aten = torch.ops.aten

SIZES = {
    "rows": ((5, 6), torch.contiguous_format),
    "images": ((4, 6, 5, 3), torch.contiguous_format),
    "channels last": ((4, 6, 5, 3), torch.channels_last),
    "volumes": ((2, 6, 3, 4, 5), torch.channels_last_3d),
}


def seen(values):
    """All that is known of tensors without their numbers."""
    many = values if isinstance(values, tuple | list) else [values]
    return [
        None if each is None else (each.shape, each.stride(), each.dtype, each.requires_grad)
        for each in many
    ]


def both(func, *args):
    """What a shortcut says, and what the kernel gives."""
    real = func(*args)
    with FakeTensorMode() as mode, torch.no_grad():
        fakes = [mode.from_tensor(a) if isinstance(a, torch.Tensor) else a for a in args]
        said = shortcuts.INSTEAD[func](fakes, {}, lambda _: None)
    return said, real


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(
    "dtypes",
    [(torch.float32,) * 2, (torch.bfloat16,) * 2, (torch.bfloat16, torch.float32)],
    ids=["fp32", "bf16", "mixed"],
)
def test_batch_normalisation_is_what_the_kernel_makes_of_it(name, affine, dtypes):
    shape, order = SIZES[name]
    own, other = dtypes
    source = torch.randn(shape).to(own).to(memory_format=order)
    weight = torch.ones(6, dtype=other) if affine else None
    running = torch.zeros(6, dtype=other), torch.ones(6, dtype=other)
    words = source, weight, weight, *running, True, 0.1, 1e-5
    said, real = both(aten.native_batch_norm.default, *words)
    assert seen(said) == seen(real)
    back = torch.randn(shape).to(own).to(memory_format=order)
    wanted = [True, affine, affine]
    words = back, source, weight, *running, real[1], real[2], True, 1e-5, wanted
    said, real = both(aten.native_batch_norm_backward.default, *words)
    assert seen(said) == seen(real)


@pytest.mark.parametrize("name", SIZES)
def test_what_is_alike_is_what_the_kernel_gives(name):
    shape, order = SIZES[name]
    given = torch.randn(shape).to(memory_format=order)
    said, real = both(aten.threshold_backward.default, given, given.clone(), 0)
    assert seen(said) == seen(real)


@pytest.mark.parametrize(
    "other",
    [
        lambda x: x.t(),
        lambda x: x[:, ::2],
        lambda x: x.expand(3, 4, 6),
        lambda x: x.double(),
    ],
)
def test_what_is_not_plain_is_left_to_torch(other):
    with FakeTensorMode():
        given = torch.empty(4, 6)
        odd = other(given)
        said = shortcuts.INSTEAD[aten.threshold_backward.default]([odd, given, 0], {}, print)
    assert said is NotImplemented


def test_what_is_detached_is_the_same_memory_and_no_more_of_autograd():
    with FakeTensorMode():
        given = torch.empty(4, 6).t()[1:3]
        said = shortcuts.INSTEAD[aten.detach.default]([given], {}, print)
        assert isinstance(said, FakeTensor)
        assert said is not given
        assert seen(said) == seen(given)
        assert said.storage_offset() == given.storage_offset()
        assert said.untyped_storage()._cdata == given.untyped_storage()._cdata
        assert said.device == given.device
        one = torch.tensor(3)
        assert shortcuts.INSTEAD[aten.detach.default]([one], {}, print) is NotImplemented
