"""What CUDA does otherwise: each rule by what it does to a small run."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

import timeline  # noqa: E402
from timeline.theory.cuda import autocast  # noqa: E402
from timeline.theory.cuda.rules import GROUPS  # noqa: E402
from timeline.theory.estimating import platform_of, tape_of  # noqa: E402
from timeline.theory.following import following  # noqa: E402
from timeline.theory.job import job_of  # noqa: E402
from timeline.theory.loop import Loop  # noqa: E402
from timeline.theory.predicting import predict  # noqa: E402
from timeline.theory.tape import Act  # noqa: E402

pytestmark = pytest.mark.torch

MiB = 1 << 20
PLATFORM = platform_of("a100-40gb", "2.6")


def made_by(work, platform=PLATFORM):
    """The sizes of the storages that a piece of work makes on the device, in their order."""
    with following(platform) as taping:
        work()
        tape = taping.end()
    return [each.amount.expected for each in tape.storages if not each.host]


def test_dropout_saves_a_mask_of_bytes():
    def work():
        functional.dropout(torch.empty(1000, requires_grad=True), 0.5)

    assert made_by(work) == [4000, 4000, 1000]
    without = platform_of("a100-40gb", "2.6", ("native-dropout",))
    assert 1000 not in made_by(work, without)


def test_attention_makes_no_scores():
    def work():
        query = torch.empty(2, 4, 512, 64, requires_grad=True)
        functional.scaled_dot_product_attention(query, query, query, is_causal=True)

    scores = 2 * 4 * 512 * 512 * 4
    assert max(made_by(work)) == 2 * 4 * 512 * 64 * 4
    assert scores not in made_by(work)


@pytest.mark.parametrize("width", [64, 24])
def test_attention_runs_backward_in_each_precision(width):
    for dtype in (torch.float32, torch.bfloat16, torch.float16):

        def work(dtype=dtype):
            query = torch.empty(2, 4, 128, width, requires_grad=True, dtype=dtype)
            mask = torch.ones(2, 1, 128, 128, dtype=torch.bool)
            for given in (None, mask):
                out = functional.scaled_dot_product_attention(query, query, query, given)
                out.sum().backward()
                assert query.grad.shape == query.shape

        made_by(work)


def test_a_product_takes_a_workspace_in_each_thread_once():
    def work():
        weight = torch.empty(256, 256, requires_grad=True)
        for _ in range(2):
            (torch.empty(256, 256) @ weight).sum().backward()

    assert made_by(work).count(8_519_680) == 2
    assert made_by(work, platform_of("h100-80gb", "2.6")).count(32 * MiB) == 2


def test_the_names_on_autocasts_lists_are_those_that_torch_has_kernels_for():
    registered = {
        name.removeprefix("aten::")
        for name in torch._C._dispatch_get_registrations_for_dispatch_key("AutocastCUDA")
    }
    wrong = (autocast._WITH_DTYPE | autocast._WIDEST) - registered
    assert not wrong


def test_autocast_runs_exp_in_float32_and_products_in_its_own_dtype():
    found = {}

    def work():
        x = torch.empty(64, 64)
        weight = torch.empty(64, 64, requires_grad=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = torch.einsum("ij,jk->ik", x, weight)
            found["product"], found["exp"] = y.dtype, torch.exp(y).dtype
            found["joined"] = torch.cat([y, y]).dtype
            found["sum"] = y.sum().dtype

    made_by(work)
    assert found == {
        "product": torch.bfloat16,
        "exp": torch.float32,
        "joined": torch.bfloat16,
        "sum": torch.float32,
    }


def test_autocast_casts_a_weight_once_until_it_ends():
    def work():
        weight = torch.empty(64, 64, requires_grad=True)
        x = torch.empty(32, 64, dtype=torch.bfloat16)
        for _ in range(2):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                first, second = x @ weight, x @ weight
            del first, second

    assert made_by(work).count(64 * 64 * 2) == 2


def test_what_is_replaced_is_put_back():
    with following(PLATFORM):
        pass
    source = torch.randn(100, requires_grad=True)
    saved = functional.dropout(source, 0.5).grad_fn
    assert "NativeDropout" not in type(saved).__name__
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.exp(torch.ones(2, dtype=torch.bfloat16)).dtype is torch.bfloat16


def residual(leaf, held=None):
    trunk = leaf * 2
    branch = trunk * 5
    if held is not None:
        branch.register_hook(held.append)
    ((trunk + branch) * 2).sum().backward()


@pytest.mark.parametrize("hold", [False, True])
def test_gradients_meet_in_place_where_they_do_on_real_tensors(hold):
    from torch.profiler import profile

    with profile() as profiled:
        residual(torch.ones(1000, requires_grad=True), [] if hold else None)
    adds = sum(event.name == "aten::add" for event in profiled.events()) - 1
    assert adds == (1 if hold else 0)  # one more is forward's

    def work():
        residual(torch.empty(1000, requires_grad=True), [] if hold else None)

    # Five in forward, of which one is the leaf; in backward three products, and the sum.
    assert made_by(work).count(4000) == 5 + 3 + adds


def small():
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3),
        torch.nn.BatchNorm2d(16),
        torch.nn.ReLU(inplace=True),
        torch.nn.Flatten(),
        torch.nn.Linear(16 * 30 * 30, 100),
    )


def tape(steps, **options):
    job = job_of(small(), "adamw", "3x32x32", batch=64, loss="cross_entropy")
    return tape_of(job, dtype=None, loop=Loop(steps=steps, **options), platform=PLATFORM)


@pytest.mark.parametrize(
    "options",
    [{}, {"zero_grad": "after_step"}, {"zero_grad": "before_backward"}, {"hold_outputs": False},
     {"set_to_none": False}, {"accumulate": 2}, {"train": False}],
)  # fmt: skip
def test_a_step_that_is_repeated_is_like_one_that_is_followed(options):
    short, long = tape(2, **options), tape(5, **options)
    made = [predict(each, title="", card=PLATFORM.card, steps=5) for each in (short, long)]
    assert made[0].course.allocated == made[1].course.allocated
    assert made[0].course.reserved == made[1].course.reserved


def test_nothing_leaks_from_step_to_step():
    made = predict(tape(2), title="", card=PLATFORM.card, steps=8)
    ends = [made.course.allocated[at - 1] for at in made.course.steps[2:]]
    assert len(set(ends)) == 1


def test_every_storage_that_is_gone_was_born_before():
    seen = set()
    for act, which in tape(2).repeated(5):
        if act is Act.BORN:
            assert which not in seen
            seen.add(which)
        elif act is Act.GONE:
            seen.remove(which)


def test_foreach_is_chosen_where_the_optimizer_itself_would():
    def stack():
        return torch.nn.Sequential(*(torch.nn.Linear(256, 256) for _ in range(8)))

    def peak(optimizer):
        told = timeline.estimate(stack, optimizer, "256", batch=2)
        return max(told.course.categories["temporary"])

    assert peak("adam") > peak("adam,foreach=false")
    assert peak("adamw") > peak("adamw,foreach=false")  # its module is not where it is chosen
    assert peak("adafactor") == peak("adafactor,foreach=false")


def test_each_group_of_rules_can_be_switched_off_and_says_where_it_is_from():
    for name, group in GROUPS.items():
        assert group.source
        timeline.estimate(small, "sgd", "3x32x32", batch=2, without=(name,))


def test_a_value_that_is_asked_for_in_forward_is_an_error_and_no_guess():
    class Asks(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Linear(4, 4)

        def forward(self, x):
            return self.inner(x) if x.sum() > 0 else x

    with pytest.raises(timeline.TimelineError, match="cannot be followed"):
        timeline.estimate(Asks, "sgd", "4", batch=2)
