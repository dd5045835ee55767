"""Phases of real torch without being asked: which call is which phase, and which is none."""

from __future__ import annotations

import copy
import gc
import io
import os
import pickle  # noqa: TID251 - that modules can be pickled is what is tested
import sys
import threading
import warnings

import pytest

from tests.integration.torch_recording import Recorded
from timeline.recorder import hooks
from timeline.recorder import session as sessions
from timeline.recorder.session import phase

torch = pytest.importorskip("torch")
nn = torch.nn

pytestmark = pytest.mark.torch

STEP = ["step/forward Net", "step/loss MSELoss", "step/backward", "step/optimizer SGD"]


class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.first = nn.Linear(8, width)
        self.rest = nn.Sequential(nn.ReLU(), nn.Linear(width, 8))

    def forward(self, x):
        return self.rest(self.first(x))


class Discriminator(Net):
    pass


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        return torch.full((8,), float(i))


@pytest.fixture
def net():
    return Net()


@pytest.fixture
def sgd(net):
    return torch.optim.SGD(net.parameters(), lr=0.01)


@pytest.fixture
def recorded(net, sgd):
    """Made after the model and the optimizer: their own load is not among the phases."""
    with Recorded() as recorded:
        assert recorded.missing() == []
        yield recorded


def batch(n=4):
    return torch.randn(n, 8)


def train_step(net, optimizer):
    optimizer.zero_grad()
    nn.MSELoss()(net(batch()), batch()).backward()
    optimizer.step()


def test_a_training_loop_is_forward_loss_backward_and_optimizer(recorded, net, sgd):
    for _ in range(3):
        train_step(net, sgd)
    assert recorded.new() == STEP * 3


def test_the_version_of_torch_is_a_fact(recorded):
    facts = {e["name"]: e["value"] for e in recorded.events() if e["k"] == "fact"}
    assert facts == {"torch": torch.__version__}


def test_without_gradients_a_call_is_inference_and_a_loss_is_nothing(recorded, net):
    net.eval()
    with torch.no_grad():
        nn.MSELoss()(net(batch()), batch())
    with torch.inference_mode():
        net(batch())
    assert recorded.new() == ["inference Net", "inference Net"]


def test_accumulation_is_several_forwards_before_one_optimizer_step(recorded, net, sgd):
    for _ in range(3):
        net(batch()).sum().backward()
    sgd.step()
    assert recorded.new() == ["step/forward Net", "step/backward"] * 3 + ["step/optimizer SGD"]


def test_a_gan_tells_its_two_models_and_optimizers_apart(recorded, net, sgd):
    critic = Discriminator()
    adam = torch.optim.Adam(critic.parameters())
    critic(net(batch()).detach()).sum().backward()
    adam.step()
    critic(net(batch())).sum().backward()
    sgd.step()
    forwards = ["step/forward Net", "step/forward Discriminator", "step/backward"]
    assert recorded.new() == [
        "load Discriminator",
        *forwards, "step/optimizer Adam",
        *forwards, "step/optimizer SGD",
    ]  # fmt: skip


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_forward_that_a_checkpoint_runs_again_is_backward(recorded, net, reentrant):
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = net

        def forward(self, x):
            from torch.utils.checkpoint import checkpoint

            return checkpoint(self.inner, x, use_reentrant=reentrant)

    model = Checkpointed()
    model(batch().requires_grad_()).sum().backward()
    assert recorded.new() == ["load Checkpointed", "step/forward Checkpointed", "step/backward"]
    # Outside every module the checkpointed call is the outermost.
    torch.utils.checkpoint.checkpoint(
        net, batch().requires_grad_(), use_reentrant=reentrant
    ).sum().backward()
    assert recorded.new() == ["step/forward Net", "step/backward"]


def test_a_reentrant_checkpoint_in_training_is_forward_though_it_runs_without_gradients(
    recorded, net
):
    from torch.utils.checkpoint import checkpoint, checkpoint_sequential

    def around(x):
        return net(x) + 1

    x = batch().requires_grad_()
    checkpoint(lambda x: around(x), x, use_reentrant=True).sum().backward()
    assert recorded.new() == ["step/forward Net", "step/backward"]
    checkpoint_sequential(net.rest, 2, x, use_reentrant=True).sum().backward()
    # A ReLU by itself is no model.
    assert recorded.new() == ["step/forward Linear", "step/backward"]
    with torch.no_grad():
        checkpoint(net.eval(), x, use_reentrant=True)
        net.train()(x)
        checkpoint(net, x, use_reentrant=False)
    with torch.inference_mode():
        checkpoint(net, x, use_reentrant=True)
    assert recorded.new() == ["inference Net"] * 4


def test_what_has_no_mode_to_train_in_is_called_as_ever(recorded):
    frozen = torch.jit.freeze(torch.jit.script(torch.nn.Sequential(torch.nn.Linear(8, 2)).eval()))
    recorded.new()
    with torch.no_grad():
        assert frozen(batch()).shape[-1] == 2
    assert recorded.new() == ["inference RecursiveScriptModule"]


def test_a_closure_runs_inside_the_optimizer_step(recorded, net):
    lbfgs = torch.optim.LBFGS(net.parameters(), max_iter=2)
    x, y = batch(), batch()
    times = 0

    def closure():
        nonlocal times
        times += 1
        lbfgs.zero_grad()
        loss = nn.functional.mse_loss(net(x), y)
        loss.backward()
        return loss

    lbfgs.step(closure)
    inside = ["step/forward Net < step/optimizer LBFGS", "step/backward < step/optimizer LBFGS"]
    assert recorded.new() == ["step/optimizer LBFGS", *inside * times]


def test_a_scaler_steps_once_and_not_at_all_when_it_skips(recorded, net, sgd):
    scaler = torch.amp.GradScaler("cpu")
    for scale in (1.0, float("inf")):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = net(batch()).sum()
        scaler.scale(loss * scale).backward()
        scaler.step(sgd)
        scaler.update()
        sgd.zero_grad()
    both = ["step/forward Net", "step/backward"]
    assert recorded.new() == [*both, "step/optimizer SGD", *both]


def test_a_gradient_penalty_inside_forward_is_a_backward_of_its_own(recorded, net):
    class Penalised(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = net

        def forward(self, x):
            y = self.inner(x)
            (gradient,) = torch.autograd.grad(y.sum(), x, create_graph=True)
            return y.sum() + gradient.norm()

    model = Penalised()
    recorded.new()
    model(batch().requires_grad_()).backward()
    assert recorded.new() == [
        "step/forward Penalised",
        "step/backward < step/forward Penalised",
        "step/backward",
    ]


def test_a_double_backward_is_two(recorded, net):
    x = batch().requires_grad_()
    (gradient,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
    torch.autograd.backward(gradient.norm())
    assert recorded.new() == ["step/forward Net", "step/backward", "step/backward"]


def test_optimizers_of_any_class_and_age_step(recorded, net, sgd):
    class Mine(torch.optim.SGD):
        def step(self, closure=None):
            return super().step(closure)

    class Own(torch.optim.Optimizer):
        def __init__(self, parameters):
            super().__init__(parameters, {})

        def step(self, closure=None):
            pass

    net(batch()).sum().backward()
    recorded.new()
    kinds = [
        sgd,
        Mine(net.parameters(), lr=0.1),
        Own(net.parameters()),
        torch.optim.AdamW(net.parameters(), foreach=True),
        torch.optim.AdamW(net.parameters(), fused=True),
    ]
    scheduler = torch.optim.lr_scheduler.StepLR(kinds[0], 1)
    for optimizer in kinds:
        optimizer.step()
    scheduler.step()
    names = ("SGD", "Mine", "Own", "AdamW", "AdamW")
    assert recorded.new() == [f"step/optimizer {name}" for name in names]


def test_an_optimizer_that_steps_inside_backward_is_backward(recorded, net, sgd):
    parameter = next(net.parameters())
    parameter.register_post_accumulate_grad_hook(lambda _: sgd.step())
    net(batch()).sum().backward()
    assert recorded.new() == ["step/forward Net", "step/backward"]


@pytest.mark.parametrize("workers", [0, 2])
def test_each_fetch_of_a_loader_is_data_and_so_is_the_start_of_its_workers(recorded, workers):
    for _ in torch.utils.data.DataLoader(Rows(), batch_size=2, num_workers=workers):
        pass
    # Two batches and the end; making the workers before.
    assert recorded.new() == ["data Rows"] * (3 + bool(workers))
    written = [path.name for path in recorded.path.parent.iterdir()]
    assert written == [recorded.path.name]


def test_a_module_called_while_data_is_fetched_is_data(recorded, net):
    class Featured(Rows):
        def __getitem__(self, i):
            with torch.no_grad():
                return net(super().__getitem__(i))

    list(torch.utils.data.DataLoader(Featured(), batch_size=4))
    assert recorded.new() == ["data Featured", "data Featured"]


def test_building_loading_and_moving_a_model_are_load(recorded, tmp_path):
    model = Net()
    assert recorded.new() == ["load Net"]
    torch.save(model.state_dict(), tmp_path / "model.pt")
    assert recorded.new() == []
    model.load_state_dict(torch.load(tmp_path / "model.pt"))
    assert recorded.new() == ["load torch.load", "load Net"]
    model.to(torch.float64).cpu()
    assert recorded.new() == ["load Net", "load Net"]
    adam = torch.optim.Adam(model.parameters())
    adam.load_state_dict(adam.state_dict())
    assert recorded.new() == ["load Adam"]


def test_a_construction_is_one_load_until_the_outermost_init_returns(recorded):
    def open_now():
        return [e["k"] for e in recorded.events() if e["k"] in "be"] == ["b"]

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleList(Net() for _ in range(3))
            self.parts.to(torch.float64)
            self.parts[0](batch().double())

    class Derived(Whole):
        def __init__(self):
            super().__init__()
            assert open_now()
            self.head = nn.Linear(8, 2)
            assert open_now()

    Derived()
    assert recorded.new() == ["load Derived"]
    assert [e["k"] for e in recorded.events() if e["k"] in "be"] == ["b", "e"]


def test_operations_built_and_called_in_a_loop_are_no_phases(recorded):
    for _ in range(2):
        nn.Softmax(dim=1)(nn.ReLU()(batch()))
        nn.MSELoss().to("cpu")
        nn.Sequential()
    assert recorded.new() == []
    nn.Linear(8, 8)(batch())
    assert recorded.new() == ["load Linear", "step/forward Linear"]


def test_copies_pickles_and_lazy_and_meta_modules_work(recorded, net):
    copy.deepcopy(net)
    pickle.loads(pickle.dumps(net))
    assert recorded.new() == []
    with torch.device("meta"):
        assert Net().first.weight.is_meta
    lazy = nn.LazyLinear(3)
    assert lazy(batch()).shape == (4, 3)
    assert recorded.new() == ["load Net", "load LazyLinear", "step/forward LazyLinear"]
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    torch.load(file, weights_only=False)
    assert recorded.new() == ["load torch.load"]


def test_tracing_and_transforming_a_model_still_work(recorded, net):
    x = batch()
    with warnings.catch_warnings():
        # torch's own: that scripting and tracing will go.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(net, x)
        scripted = torch.jit.script(net)
    graph = torch.fx.symbolic_trace(net)
    assert recorded.new() == []
    for model in (traced, scripted, graph):
        torch.testing.assert_close(model(x), net(x))
    names = ("TopLevelTracedModule", "RecursiveScriptModule", "Net")
    assert recorded.new() == [
        f"step/forward {name}" for pair in zip(names, ["Net"] * 3, strict=True) for name in pair
    ]
    torch.func.vmap(net)(torch.randn(2, 4, 8))
    parameters = dict(net.named_parameters())
    torch.func.grad(lambda p: torch.func.functional_call(net, p, (x,)).sum())(parameters)
    assert recorded.new() == ["step/forward Net", "step/forward Net", "step/backward"]


def test_an_exception_ends_its_phase_and_is_not_changed(recorded, net, sgd):
    class Broken(nn.Module):
        def forward(self, x):
            raise KeyError("forward")

    class Backward(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, gradient):
            raise KeyError("backward")

    class Unreadable(Rows):
        def __getitem__(self, i):
            raise KeyError("data")

    def closure():
        raise KeyError("step")

    broken = Broken()
    recorded.new()
    for happens in (
        lambda: broken(batch()),
        lambda: Backward.apply(batch().requires_grad_()).sum().backward(),
        lambda: sgd.step(closure),
        lambda: list(torch.utils.data.DataLoader(Unreadable())),
    ):
        with pytest.raises(KeyError) as caught:
            happens()
        assert str(caught.value)[1:-1] in ("forward", "backward", "step", "data")
    assert recorded.new() == [
        "step/forward Broken",
        "step/backward",
        "step/optimizer SGD",
        "data Unreadable",
    ]
    train_step(net, sgd)
    assert recorded.new() == STEP


def test_a_construction_that_raises_ends_before_the_next_phase(recorded, net):
    class Failing(nn.Module):
        def __init__(self):
            super().__init__()
            raise MemoryError

    with pytest.raises(MemoryError) as caught:
        Failing()
    # The traceback that is still held keeps the frame of __init__.
    assert caught.tb is not None
    net(batch())
    begins = [(e["k"], e.get("p")) for e in recorded.events() if e["k"] in "be"]
    assert begins == [("b", "load"), ("e", None), ("b", "step/forward"), ("e", None)]
    assert recorded.new() == ["load Failing", "step/forward Net"]


def test_each_thread_has_an_outermost_call_of_its_own(recorded, net):
    started = threading.Barrier(3)

    class Slow(Net):
        def forward(self, x):
            started.wait(30)
            return super().forward(x)

    models = [Slow() for _ in range(3)]
    recorded.new()
    threads = [threading.Thread(target=model, args=(batch(),)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert recorded.new() == ["step/forward Slow"] * 3
    assert len({e["th"] for e in recorded.events()[-6:] if e["k"] == "b"}) == 3


def test_a_phase_of_the_programs_own_is_the_parent(recorded, net):
    with phase("epoch"):
        net(batch())
    assert recorded.new() == ["epoch", "step/forward Net < epoch"]


def test_a_wrapped_model_is_called_by_its_own_name(recorded, net):
    nn.DataParallel(net)(batch())
    assert recorded.new() == ["load DataParallel", "step/forward Net"]


def test_a_generator_and_a_coroutine_call_models_as_they_come(recorded, net):
    import asyncio

    def outputs():
        for _ in range(2):
            yield net(batch())

    async def main():
        await asyncio.gather(*(asyncio.to_thread(net, batch()) for _ in range(2)))

    for _ in outputs():
        net(batch())
    asyncio.run(main())
    assert recorded.new() == ["step/forward Net"] * 6


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_has_torchs_own_code(recorded, net):
    own = recorded.events()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        planted = sys.modules["timeline.recorder.hooks.hook"]
        bare = all(function.__code__ is code[0] for function, code in planted._codes.items())
        net(batch())
        os._exit(0 if bare and sessions.current is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert recorded.events() == own
    net(batch())
    assert recorded.new() == ["step/forward Net"]


def test_uninstalling_leaves_every_function_as_it_was(net, sgd):
    hooks.uninstall()

    class Later(torch.optim.SGD):
        def step(self, closure=None):
            return super().step(closure)

    def everything():
        return {
            (id(function), id(function.__code__), id(function.__globals__))
            for function in gc.get_objects()
            if type(function) is type(everything)
            and (function.__module__ or "").startswith(("torch.nn.", "torch.optim", "torch.utils"))
        } | {
            (id(getattr(torch.autograd, name)), id(getattr(torch.autograd, name).__code__))
            for name in ("backward", "grad")
        }

    finders = list(sys.meta_path)
    Later(net.parameters(), lr=0.1)
    before = everything()
    with Recorded() as recorded:
        assert everything() != before
        Later(net.parameters(), lr=0.1).step()
        assert recorded.new() == ["step/optimizer Later"]
    assert everything() == before
    assert sys.meta_path == finders
    train_step(net, sgd)


def test_an_optimizer_class_first_used_while_recording_loses_its_probe_after(net):
    with Recorded() as recorded:

        class Fresh(torch.optim.SGD):
            def step(self, closure=None):
                return super().step(closure)

        optimizer = Fresh(net.parameters(), lr=0.1)
        optimizer.step()
        assert recorded.new() == ["step/optimizer Fresh"]
    with Recorded() as recorded:
        hooks.uninstall()
        optimizer.step()
        assert recorded.new() == []
    with Recorded() as recorded:
        optimizer.step()
        assert recorded.new() == ["step/optimizer Fresh"]
