"""The theory of a model against torch itself: its storages, its gradients, its allocator."""

from __future__ import annotations

import copy
import threading

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import timeline  # noqa: E402
from timeline.errors import BreakdownError, TimelineError, UsageError  # noqa: E402
from timeline.theory.summing import saved_by_formula  # noqa: E402
from timeline.theory.types import CATEGORIES  # noqa: E402

pytestmark = pytest.mark.torch


def nbytes(tensors):
    """The oracle: bytes of the storages of tensors, each once."""
    storages = {t.untyped_storage()._cdata: t.untyped_storage() for t in tensors}
    return sum(each.nbytes() for each in storages.values())


def small():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 10),
    )


def state_tensors(optimizer):
    return [t for s in optimizer.state.values() for t in s.values() if isinstance(t, torch.Tensor)]


def real_step(model, optimizer, inputs):
    saved = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        saved[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        loss = model(inputs).sum()
    known = {t.untyped_storage()._cdata for t in (*model.parameters(), *model.buffers(), inputs)}
    activation = sum(s.nbytes() for key, s in saved.items() if key not in known)
    loss.backward()
    optimizer.step()
    return {
        "parameter": nbytes(model.parameters()),
        "buffer": nbytes([*model.parameters(), *model.buffers()]) - nbytes(model.parameters()),
        "gradient": nbytes(p.grad for p in model.parameters() if p.grad is not None),
        "optimizer_state": nbytes(state_tensors(optimizer)),
        "activation": activation,
        "input": nbytes([inputs]),
    }


def assert_is_what_torch_does(model, optimizer, inputs):
    told = timeline.breakdown(model, optimizer, inputs)
    done = real_step(model, optimizer(model.parameters()), inputs)
    assert {key: told.categories[key] for key in done} == done
    return told


def test_a_small_network_is_told_to_the_byte():
    told = assert_is_what_torch_does(small(), torch.optim.Adam, torch.randn(4, 3, 8, 8))
    assert tuple(told.categories) == CATEGORIES
    assert told.title == "Sequential"
    assert told.parameters == sum(p.numel() for p in small().parameters())
    assert sum(each.parameter for each in told.layers) == told.categories["parameter"]
    assert sum(each.activation for each in told.layers) == told.categories["activation"]
    assert told.outputs_bytes == sum(each.output_bytes for each in told.layers)
    conv = told.layers[0]
    assert (conv.name, conv.kind, conv.calls) == ("0", "Conv2d", 1)
    assert (conv.parameters, conv.parameter) == (224, 896)
    assert (conv.output_shape, conv.output_dtype) == ((4, 8, 8, 8), "float32")
    assert conv.output_bytes == 4 * 8 * 8 * 8 * 4


def test_a_layer_with_others_inside_tells_its_output_and_its_size_is_counted_once():
    model = nn.Sequential(nn.Sequential(nn.Linear(8, 16), nn.ReLU()), nn.Linear(16, 2))
    told = timeline.breakdown(model, inputs=(8,), batch=4, train=False)
    block = next((each for each in told.layers if each.name == "0"), None)
    assert told.outputs_bytes == (4 * 16 * 2 + 4 * 2) * 4
    assert block is None or block.output_bytes == 0

    class Adds(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.inner = nn.Parameter(torch.ones(8)), nn.Linear(8, 8)

        def forward(self, x):
            return {"y": (x + self.inner(x)) * self.scale}

    told = timeline.breakdown(nn.Sequential(Adds()), inputs=(8,), batch=4, train=False)
    adds = next(each for each in told.layers if each.name == "0")
    assert (adds.output_shape, adds.output_dtype, adds.output_bytes) == ((4, 8), "float32", 0)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.inner = nn.Linear(8, 8)
        self.head = nn.Linear(8, 20, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        return self.head(torch.relu_(self.inner(self.embed(tokens))))


class Views(nn.Module):
    """Two parameters and a buffer that lie in storages larger than they are, two of them shared."""

    def __init__(self):
        super().__init__()
        whole = torch.randn(100)
        self.a = nn.Parameter(whole[:40])
        self.b = nn.Parameter(whole[40:].view(6, 10))
        self.register_buffer("c", torch.randn(8, 8)[::2])
        self.register_buffer("d", whole.view(torch.int32)[:7])

    def forward(self, x):
        return x * self.a.sum() + self.b.sum() + self.c.sum()


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        pytest.param(Tied(), torch.zeros(2, 5, dtype=torch.int64), id="tied weights"),
        pytest.param(Views(), torch.randn(3), id="views of one storage"),
        pytest.param(nn.LSTM(4, 5).requires_grad_(False), None, id="frozen, not run"),
    ],
)
def test_storages_count_once(model, inputs):
    if inputs is None:
        told = timeline.breakdown(model)
        assert told.categories["parameter"] == nbytes(model.parameters())
        assert told.categories["gradient"] == 0
    else:
        assert_is_what_torch_does(model, torch.optim.SGD, inputs)


def test_tied_weights_are_told_of():
    told = timeline.breakdown(Tied())
    assert "tied weights count once: head.weight is embed.weight" in told.assumptions
    assert told.parameters == 20 * 8 + 8 * 8 + 8


def test_frozen_parameters_have_no_gradient_and_save_less():
    model = small()
    model[0].requires_grad_(False)
    model[4].weight.requires_grad_(False)
    told = assert_is_what_torch_does(model, torch.optim.Adam, torch.randn(4, 3, 8, 8))
    assert told.categories["gradient"] == nbytes([*model[1].parameters(), model[4].bias])


def test_channels_last_is_told_to_the_byte():
    model = small().to(memory_format=torch.channels_last)
    inputs = torch.randn(4, 3, 8, 8).to(memory_format=torch.channels_last)
    assert_is_what_torch_does(model, torch.optim.SGD, inputs)


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.parts = nn.ModuleList(
            nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16)) for _ in range(3)
        )
        self.reentrant = reentrant

    def forward(self, x):
        from torch.utils.checkpoint import checkpoint

        for each in self.parts:
            x = checkpoint(each, x, use_reentrant=self.reentrant)
        return x


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_saves_what_goes_into_each_part(reentrant):
    inputs = torch.randn(32, 16, requires_grad=True)
    told = assert_is_what_torch_does(Checkpointed(reentrant), torch.optim.SGD, inputs)
    assert told.categories["activation"] == 2 * 32 * 16 * 4
    assert told.categories["temporary"] > 32 * 64 * 4  # what is computed again


def test_autocast_is_told_to_the_byte():
    model, inputs = small(), torch.randn(4, 3, 8, 8)
    told = timeline.breakdown(model, None, inputs, precision="bf16")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        done = real_step(model, torch.optim.SGD(model.parameters()), inputs)
    assert told.categories["activation"] == done["activation"]
    assert told.layers[0].output_dtype == "bfloat16"


def test_a_model_cast_to_16_bits_is_told_to_the_byte():
    told = timeline.breakdown(small(), "adam", (3, 8, 8), batch=4, dtype="bf16")
    inputs = torch.randn(4, 3, 8, 8).bfloat16()
    model = small().bfloat16()
    done = real_step(model, torch.optim.Adam(model.parameters()), inputs)
    assert {key: told.categories[key] for key in done} == done


def test_sparse_gradients_are_as_large_as_the_rows_they_have():
    model = nn.EmbeddingBag(1000, 16, sparse=True, mode="sum")
    tokens = torch.arange(12).view(3, 4)
    told = timeline.breakdown(model, torch.optim.SparseAdam, tokens)
    model(tokens).sum().backward()
    grad = model.weight.grad
    assert told.categories["gradient"] == nbytes([grad._indices(), grad._values()])
    assert told.categories["optimizer_state"] == 2 * 1000 * 16 * 4
    assert told.peak.categories["optimizer_state"] == told.categories["optimizer_state"]
    assert not any("SparseAdam" in each for each in told.not_counted)


class Grown(nn.Module):
    """What it returns had no room at first."""

    def forward(self, x):
        by_out, by_size = x.new_empty(0), x.new_empty(0)
        torch.mul(x, 2, out=by_out)
        return by_out, by_size.resize_as_(x).copy_(x)


def test_what_is_resized_counts_with_what_it_grew_by():
    told = timeline.breakdown(Grown(), None, torch.randn(100, 30), train=False)
    assert told.peak.bytes == 3 * 100 * 30 * 4


def test_a_model_is_as_it_was_and_so_is_chance():
    model = small().train()
    optimizer = torch.optim.Adam(model.parameters())
    inputs = torch.randn(4, 3, 8, 8)
    before = copy.deepcopy(model.state_dict())
    chance = torch.get_rng_state()
    timeline.breakdown(model, optimizer, inputs, train=False)
    timeline.breakdown(model, optimizer, inputs)
    assert torch.equal(torch.get_rng_state(), chance)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not optimizer.state
    assert model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_meta_fake_real_and_a_function_tell_the_same():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with torch.device("meta"):
        meta = small()
    with FakeTensorMode():
        fake = small()
    told = [
        timeline.breakdown(each, "adamw", (3, 8, 8), batch=4)
        for each in (small(), meta, fake, small)
    ]
    assert told[0] == told[1] == told[2] == told[3]


def around(name):
    from torch._subclasses.fake_tensor import FakeTensorMode

    return {
        "fake": FakeTensorMode,
        "meta": lambda: torch.device("meta"),
        "inference": torch.inference_mode,
        "no grad": torch.no_grad,
    }[name]()


@pytest.mark.parametrize("name", ["fake", "meta", "inference", "no grad"])
def test_what_the_caller_has_open_changes_nothing(name):
    model = small()
    expected = timeline.breakdown(model, "adam", (3, 8, 8), batch=4)
    with around(name):
        made = small()
        by_name = torch.empty(2)
        told = [
            timeline.breakdown(each, "adam", given, batch=size)
            for each in (model, small, made)
            for given, size in (((3, 8, 8), 4), (torch.zeros(4, 3, 8, 8), None))
        ]
        after = torch.empty(2)
    assert told == [expected] * 6
    assert (type(after), after.device) == (type(by_name), by_name.device)
    assert torch.empty(2).device.type == "cpu"
    assert saved_by_formula(model, (3, 8, 8), batch=4).bytes == expected.categories["activation"]


def halves(model, first, second):
    return [first(model[0].parameters()), second(model[4].parameters())]


def test_several_optimizers_step_as_one():
    model, inputs = small(), torch.randn(4, 3, 8, 8)
    adam, sgd = torch.optim.Adam, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)
    told = timeline.breakdown(model, halves(model, adam, sgd), inputs)
    optimizers = halves(model, adam, sgd)
    real_step(model, optimizers[0], inputs)
    optimizers[1].step()
    state = [each for optimizer in optimizers for each in state_tensors(optimizer)]
    assert told.categories["optimizer_state"] == nbytes(state)
    assert told.peak.categories["optimizer_state"] == nbytes(state)
    run = timeline.breakdown(model, optimizers, inputs)
    assert run.categories == told.categories
    assert run.peak == told.peak
    estimate = timeline.estimate(model, optimizers, inputs)
    assert estimate.categories_at_peak["optimizer_state"] >= nbytes(state) - 1024
    one = timeline.breakdown(model, optimizers[:1], inputs)
    assert one.categories["optimizer_state"] == nbytes(state_tensors(optimizers[0]))


def test_several_optimizers_one_of_which_has_a_rule():
    model = nn.Sequential(nn.Embedding(50, 8, sparse=True), nn.Linear(8, 4))
    sparse = torch.optim.SparseAdam(model[0].parameters())
    adam = torch.optim.Adam(model[1].parameters())
    told = timeline.breakdown(model, [sparse, adam], torch.arange(6))
    state = 2 * 50 * 8 * 4 + 2 * (8 * 4 + 4) * 4 + 2 * 4
    assert told.categories["optimizer_state"] == state == told.peak.categories["optimizer_state"]


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (lambda m: ["adam", "sgd"], "a list with 'adam': several optimizers have to be made"),
        (lambda m: [torch.optim.Adam(m.parameters())] * 2, "two have the same parameter"),
        (
            lambda m: [torch.optim.Adam(m.parameters()), torch.optim.Adam(small().parameters())],
            "optimizer 2 of 2 has no parameter of this model",
        ),
        (lambda m: 3, "the optimizer is a int: give a torch.optim.Optimizer, its class or"),
    ],
)
def test_what_is_no_optimizer_is_told_in_a_sentence(chosen, words):
    model = small()
    with pytest.raises(UsageError, match=words):
        timeline.breakdown(model, chosen(model), (3, 8, 8))


@pytest.mark.parametrize("options", [{}, {"foreach": True}, {"fused": True}])
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_an_optimizer_that_has_run_is_weighed_as_it_is(kind, options):
    model = small()
    options = options | ({"momentum": 0.9} if kind is torch.optim.SGD else {})
    optimizer = kind(model.parameters(), lr=0.1, **options)
    inputs = torch.randn(4, 3, 8, 8)
    real_step(model, optimizer, inputs)
    told = timeline.breakdown(model, optimizer, inputs)
    assert told.categories["optimizer_state"] == nbytes(state_tensors(optimizer))


OPTIMIZERS = [
    name
    for name, each in vars(torch.optim).items()
    if isinstance(each, type) and issubclass(each, torch.optim.Optimizer) and name != "Optimizer"
]


@pytest.mark.parametrize("traced", [False, True], ids=["standing", "traced"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_of_every_optimizer_is_exact(name, traced):
    torch.manual_seed(0)  # whether the history of LBFGS is full depends on values
    kind = getattr(torch.optim, name)
    sparse = name == "SparseAdam"
    model = nn.Embedding(50, 8, sparse=True) if sparse else nn.Linear(12, 8, bias=False)
    inputs = torch.arange(6) if sparse else torch.randn(3, 12)
    optimizer = kind(model.parameters(), lr=1e-3)
    for i in range(20 if name == "LBFGS" else 2):

        def closure(i=i):
            optimizer.zero_grad()
            target = model(inputs)
            loss = ((target - torch.sin(target * i) - i) ** 2).sum()
            loss.backward()
            return loss

        optimizer.step(closure)
    told = timeline.breakdown(model, kind, inputs if traced else None)
    if name == "LBFGS":
        # Once the history is full; scalars of it are not counted.
        state = optimizer.state[model.weight]
        vectors = [*state["old_dirs"], *state["old_stps"], state["d"], state["prev_flat_grad"]]
        assert len(vectors) == 202
        assert told.categories["optimizer_state"] == nbytes(vectors)
    else:
        assert told.categories["optimizer_state"] == nbytes(state_tensors(optimizer))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"inputs": (4, 8, 8)}, BreakdownError, "forward of Sequential.*channels"),
        ({"inputs": (3, 8, 8), "optimizer": "adm"}, UsageError, "no optimizer 'adm'.*adam"),
        ({"inputs": "3 by 8"}, UsageError, "'3 by 8' is no input: write its sizes"),
        ({"batch": 3}, UsageError, "give inputs, too"),
        ({"inputs": torch.ones(1, 3, 8, 8), "batch": 3}, UsageError, "tensors have theirs"),
        ({"inputs": (3, 8, 8), "batch": 0}, UsageError, "batch of 0"),
        ({"inputs": (3, 8, 8), "dtype": "float31"}, UsageError, "'float31' is no dtype"),
        ({"inputs": (3, 8, 8), "precision": "int8"}, UsageError, "precision 'int8'"),
        ({"inputs": (3, 8, 8), "loss": "mse"}, UsageError, "loss 'mse'"),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(options, error, words):
    with pytest.raises(error, match=words):
        timeline.breakdown(small(), **options)


def test_a_model_that_asks_for_values_is_told_of():
    class Asks(nn.Module):
        def forward(self, x):
            return x * 2 if x.sum() > 0 else x

    class Leaves(nn.Module):
        def forward(self, x):
            return torch.from_numpy(x.detach().numpy() * 2)

    words = r"forward of Asks cannot be followed: test_breakdown.py:\d+ asks a tensor for its value"
    with pytest.raises(BreakdownError, match=words):
        timeline.breakdown(Asks(), inputs=(3,))
    with pytest.raises(BreakdownError, match=words.replace("Asks", "Leaves")):
        timeline.breakdown(Leaves(), inputs=(3,))
    with pytest.raises(BreakdownError, match="asks a tensor for its value"):
        timeline.estimate(Asks(), inputs=(3,), train=False)


def test_who_ends_the_program_ends_the_breakdown_alone():
    def leaves(*_):
        raise SystemExit(7)

    class Leaves(nn.Linear):
        def forward(self, x):
            leaves()

    for options in (
        {"model": leaves},
        {"model": Leaves(3, 3)},
        {"model": nn.Linear(3, 3), "loss": leaves},
    ):
        words = r"test_breakdown.py:\d+: it ends the program, by SystemExit\(7\)"
        with pytest.raises(BreakdownError, match=words):
            timeline.breakdown(**options, inputs=(3,))


def test_a_lazy_model_is_told_of():
    with pytest.raises(BreakdownError, match="call the model once"):
        timeline.breakdown(nn.LazyLinear(3), inputs=(3,))


def test_what_is_no_model_is_told_of():
    with pytest.raises(UsageError, match="the model is a int"):
        timeline.breakdown(3)
    with pytest.raises(BreakdownError, match="returned int"):
        timeline.breakdown(lambda: 3)
    with pytest.raises(TimelineError, match="no parameter of this model"):
        timeline.breakdown(small(), torch.optim.SGD(small().parameters()))


class Locked(nn.Module):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()
        self.inner = nn.Linear(3, 3)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Locked(), "Locked cannot be copied by copy.deepcopy.*lock"),
        (torch.jit.script(nn.Linear(3, 3)), "a ScriptModule cannot be followed"),
        (nn.Linear(3, 3).requires_grad_(False), "no tensor that requires a gradient"),
    ],
)
def test_what_cannot_be_followed_is_told_of(model, words):
    with pytest.raises(BreakdownError, match=words):
        timeline.breakdown(model, inputs=(3,))


def test_a_complex_model_is_told_to_the_byte_by_a_real_sum_of_its_outputs():
    model = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 4)).to(torch.complex64)
    told = timeline.breakdown(model, "adam", torch.randn(5, 8, dtype=torch.complex64))
    size = sum(each.numel() for each in model.parameters()) * 8
    assert told.categories["parameter"] == told.categories["gradient"] == size
    assert told.categories["optimizer_state"] == 2 * size + 4 * 4
    assert told.categories["activation"] == 5 * 6 * 8


def test_packed_weights_are_named_and_not_counted_as_none():
    model = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(3, 3)))
    told = timeline.breakdown(model, inputs=(3,), train=False)
    assert "weights packed by LinearPackedParams" in told.not_counted


def test_adapters_train_alone():
    class Adapted(nn.Module):
        def __init__(self):
            super().__init__()
            self.base = nn.Linear(64, 64).requires_grad_(False)
            self.down = nn.Linear(64, 4, bias=False)
            self.up = nn.Linear(4, 64, bias=False)

        def forward(self, x):
            return self.base(x) + self.up(self.down(x))

    model = nn.Sequential(Adapted(), nn.ReLU(), Adapted())
    told = assert_is_what_torch_does(model, torch.optim.Adam, torch.randn(8, 64))
    assert told.categories["gradient"] == 2 * 2 * 64 * 4 * 4


def test_inference_keeps_parameters_and_what_is_passed_on():
    told = timeline.breakdown(small(), "adam", (3, 8, 8), batch=4, train=False)
    assert told.categories["gradient"] == told.categories["optimizer_state"] == 0
    assert told.categories["activation"] == 0
    assert told.categories["temporary"] > 0
    assert told.peak.phase == "forward"


def test_what_backward_needs_and_something_overwrites_is_refused_as_torch_does():
    class Overwritten(nn.Module):
        def forward(self, x):
            return torch.sigmoid(x * 2).relu_()

    with pytest.raises(BreakdownError, match="overwritten by an operation in place"):
        timeline.breakdown(Overwritten(), None, torch.zeros(3, requires_grad=True))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        Overwritten()(torch.zeros(3, requires_grad=True)).sum().backward()
