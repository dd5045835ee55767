"""Recurrent layers on CUDA: one kernel of cuDNN, its reserve space, its workspace, its results."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

import timeline  # noqa: E402
from timeline.errors import TimelineError  # noqa: E402
from timeline.theory.cuda.recurrent_kernel import MODES, Sizes  # noqa: E402
from timeline.theory.estimating import platform_of  # noqa: E402
from timeline.theory.following import following  # noqa: E402
from timeline.theory.packing import padding  # noqa: E402
from timeline.theory.predicting import predict  # noqa: E402
from timeline.theory.tape import Amount, Storage, Tape  # noqa: E402

pytestmark = pytest.mark.torch

PLATFORM = platform_of("a100-40gb", "2.6")
MiB = 1 << 20


def layer(mode, *, steps=50, batch=32, width=100, hidden=128, layers=1, both=False, **more):
    """Of as many numbers as the rows below leave out."""
    given = {"out": hidden, "element": 4, "dropout": False, "packed": False, **more}
    given.setdefault("rows", steps * batch)
    return Sizes(
        mode=MODES[mode],
        steps=steps,
        batch=batch,
        width=width,
        hidden=hidden,
        layers=layers,
        directions=2 if both else 1,
        **given,
    )


# What cuDNN 9.24 answers; 8.9.2, 9.1 and 9.8 do to within 512 bytes (docs/decisions, 0015).
ANSWERS = [
    (layer("rnn_relu"), 819_456, 13_144_576),
    (layer("rnn_tanh"), 819_456, 13_144_576),
    (layer("rnn_relu", layers=4), 5_734_656, 38_523_392),
    (layer("lstm"), 4_096_256, 13_755_904),
    (layer("lstm", layers=2), 9_011_456, 22_832_640),
    (layer("lstm", layers=4), 18_841_856, 40_986_112),
    (layer("lstm", both=True), 8_192_256, 30_213_632),
    (layer("lstm", layers=2, both=True), 18_022_656, 48_956_928),
    (layer("lstm", layers=2, element=2), 4_505_856, 19_805_184),
    (layer("lstm", layers=2, out=64), 11_469_056, 22_881_792),
    (layer("lstm", layers=2, dropout=True), 9_037_056, 23_651_840),
    (layer("lstm", steps=500), 40_960_256, 54_604_288),
    (layer("lstm", width=1000), 4_096_256, 32_537_088),
    (layer("lstm", steps=10, batch=4, layers=3, rows=24, packed=True), 209_152, 26_767_616),
    (layer("gru"), 4_915_456, 13_378_048),
    (layer("gru", layers=2), 10_649_856, 21_684_736),
    (layer("gru", layers=4), 22_118_656, 39_543_296),
    (layer("gru", layers=2, both=True), 21_299_456, 47_004_160),
]


@pytest.mark.parametrize(("sizes", "reserve", "workspace"), ANSWERS)
def test_the_reserve_space_is_what_cudnn_answers_and_the_workspace_nearly(
    sizes, reserve, workspace
):
    assert abs(sizes.reserve() - reserve) <= 128
    assert sizes.workspace(train=True) == pytest.approx(workspace, rel=0.04)


@pytest.mark.parametrize(
    ("mode", "parameters", "printed"),
    [("lstm", 3_038_090, 736_000_000), ("gru", 2_279_370, 864_000_000)],
)
def test_the_reserve_space_is_what_a_p100_printed(mode, parameters, printed):
    # pytorch/pytorch#2895, 4 October 2017. The numbers of parameters of both, and of the plain
    # layer beside them, are those of four layers of 320 units over 123 features, with a layer of 10
    # after them; and 736 is to 864 as 23 to 27.
    rows = 25_000
    sizes = layer(mode, steps=rows // 25, batch=25, width=123, hidden=320, layers=4)
    assert sizes.weights() + 320 * 10 + 10 == parameters
    assert sizes.reserve() == printed + 256


def test_the_weights_are_those_of_torchs_modules():
    for mode, kind in (("lstm", nn.LSTM), ("gru", nn.GRU), ("rnn_tanh", nn.RNN)):
        module = kind(100, 128, 3, bidirectional=True)
        sizes = layer(mode, layers=3, both=True)
        assert sizes.weights() == sum(each.numel() for each in module.parameters())
    module = nn.LSTM(100, 128, 2, proj_size=64)
    assert layer("lstm", layers=2, out=64).weights() == sum(p.numel() for p in module.parameters())


def taken(work, platform=PLATFORM):
    """The storages that a piece of work makes on the card."""
    with following(platform) as taping, padding():
        work()
        tape = taping.end()
    return [each for each in tape.storages if not each.host]


def test_a_lstm_on_a_card_keeps_cudnns_reserve_space_and_nothing_of_onednns():
    def work():
        module = nn.LSTM(100, 128, 2)
        module(torch.empty(50, 32, 100))

    sizes = [each.amount.expected for each in taken(work)]
    assert sizes.count(layer("lstm", layers=2).reserve()) == 1
    assert sizes.count(layer("lstm", layers=2).workspace(train=True)) == 1
    # The switch: without the rule it is oneDNN's, one for each layer.
    before = taken(work, platform_of("a100-40gb", "2.6", ("recurrent",)))
    assert layer("lstm", layers=2).reserve() not in [each.amount.expected for each in before]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_the_kernel_is_one_for_all_steps_of_time(kind):
    def work(steps):
        module = kind(16, 24, 2, bidirectional=True)
        module(torch.empty(steps, 8, 16))[0].sum().backward()

    assert len(taken(lambda: work(3))) == len(taken(lambda: work(300)))


FORMS = [
    {},
    {"batch_first": True},
    {"num_layers": 3, "bidirectional": True, "dropout": 0.5},
    {"bias": False, "num_layers": 2},
    {"batch_first": True, "bidirectional": True, "packed": True, "num_layers": 2},
    {"proj_size": 6, "num_layers": 2, "bidirectional": True},
    {"proj_size": 6, "batch_first": True, "bias": False, "packed": True},
    {"unbatched": True},
]


def run(kind, form, dtype):
    """Forward and backward of a layer: the shapes and dtypes of all that it gives."""
    form = dict(form)
    packed, unbatched = form.pop("packed", False), form.pop("unbatched", False)
    module = kind(10, 12, **form).to(dtype)
    first = form.get("batch_first", False)
    given = torch.zeros((5, 10) if unbatched else (4, 5, 10) if first else (5, 4, 10), dtype=dtype)
    given.requires_grad_()
    source = pack_padded_sequence(given, [5, 4, 2, 1], batch_first=first) if packed else given
    out, state = module(source)
    out = pad_packed_sequence(out, batch_first=first)[0] if packed else out
    states = state if isinstance(state, tuple) else (state,)
    (out.sum() + sum(each.sum() for each in states)).backward()
    grads = [given.grad, *(each.grad for each in module.parameters())]
    return [(each.shape, each.dtype) for each in (out, *states, *grads)], out.stride()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: " ".join(form) or "plain")
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_what_comes_out_is_as_torch_gives_it(kind, form, dtype):
    if "proj_size" in form and kind is not nn.LSTM:
        pytest.skip("only an LSTM has projections")
    real, strides = run(kind, form, dtype)
    found = {}
    taken(lambda: found.update(zip(("shapes", "strides"), run(kind, form, dtype), strict=True)))
    assert found["shapes"] == real
    if not form.get("packed"):
        assert found["strides"] == strides


def step(kind, dtype, bias):
    """Two steps of a cell and backward: the shapes and dtypes of all that they give."""
    cell = kind(10, 12, bias=bias).to(dtype)
    given = torch.zeros((4, 10), dtype=dtype, requires_grad=True)
    state = cell(given, cell(given))
    states = state if isinstance(state, tuple) else (state,)
    sum(each.sum() for each in states).backward()
    grads = [given.grad, *(each.grad for each in cell.parameters())]
    return [(each.shape, each.stride(), each.dtype) for each in (*states, *grads)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_a_cell_gives_what_torchs_does(kind, dtype, bias):
    found = {}
    taken(lambda: found.update(given=step(kind, dtype, bias)))
    assert found["given"] == step(kind, dtype, bias)


@pytest.mark.parametrize(
    ("kind", "made"),
    # The sums of the gates of input and state, what they give, and what is kept.
    [(nn.LSTMCell, [4, 4, 1, 1, 4]), (nn.GRUCell, [3, 3, 1, 5])],
)
def test_a_cell_keeps_what_its_fused_kernel_does(kind, made):
    def work():
        cell = kind(100, 128)
        given, state = torch.empty(32, 100), torch.empty(32, 128)
        found["before"] = len(taping.tape.storages)
        cell(given, (state, state) if kind is nn.LSTMCell else state)

    found = {}
    with following(PLATFORM) as taping:
        work()
        storages = taping.end().storages[found["before"] :]
    sizes = [each.amount.expected for each in storages if each.amount.expected < MiB]
    assert sorted(sizes) == sorted(each * 32 * 128 * 4 for each in made)


def test_under_autocast_a_cell_is_of_its_dtype():
    found = {}

    def work():
        cell = nn.GRUCell(100, 128)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = cell(torch.empty(32, 100))
        out.float().sum().backward()
        found.update(out=out.dtype, gradient=cell.weight_hh.grad.dtype)

    taken(work)
    assert found == {"out": torch.bfloat16, "gradient": torch.float32}


def test_all_gradients_of_the_weights_are_in_one_buffer():
    found = {}

    def work():
        module = nn.LSTM(100, 128, 2)
        module(torch.empty(50, 32, 100))[0].sum().backward()
        found["at"] = {each.grad.untyped_storage()._cdata for each in module.parameters()}
        found["size"] = next(module.parameters()).grad.untyped_storage().nbytes()

    taken(work)
    assert len(found["at"]) == 1
    assert found["size"] == 4 * layer("lstm", layers=2).weights()


def test_autocast_casts_to_fp16_whatever_its_dtype_and_gives_gradients_in_float32():
    found = {}

    def work():
        module = nn.GRU(100, 128)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = module(torch.empty(50, 32, 100))[0]
        found["out"] = out.dtype
        out.float().sum().backward()
        found["gradients"] = {each.grad.dtype for each in module.parameters()}

    sizes = [each.amount.expected for each in taken(work)]
    assert found == {"out": torch.float16, "gradients": {torch.float32}}
    assert layer("gru", element=2).reserve() in sizes


def test_in_evaluation_nothing_is_kept_and_backward_is_refused_as_on_cuda():
    def work():
        nn.LSTM(100, 128, 2).eval()(torch.empty(50, 32, 100))

    sizes = [each.amount.expected for each in taken(work)]
    assert layer("lstm", layers=2).reserve() not in sizes
    assert layer("lstm", layers=2).workspace(train=False) in sizes
    with pytest.raises(TimelineError, match="cudnn RNN backward can only be called in training"):
        refused()


def refused():
    """An estimate of a job that trains a layer in evaluation."""
    module = nn.LSTM(8, 8)

    def step(model, batch):
        return model.eval()(batch)[0].sum()

    job = {"model": module, "optimizer": "sgd", "inputs": torch.empty(5, 2, 8), "step": step}
    return timeline.estimate(lambda: job)


def test_without_cudnn_the_estimate_says_what_stands_in_its_place(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "enabled", False)
    told = timeline.estimate(nn.LSTM(8, 8), "sgd", (5, 8), batch=2, loss=lambda o: o[0].sum())
    assert any("LSTM without cuDNN" in each for each in told.not_counted)
    assert not any("run by cuDNN" in each for each in told.assumptions)


def test_the_range_knows_of_a_workspace_that_is_smaller_and_on_hopper_of_a_larger():
    def told(device):
        return timeline.estimate(
            nn.LSTM(256, 256, 4), "sgd", (100, 256), batch=64, device=device,
            loss=lambda out: out[0].sum(),
        )  # fmt: skip

    known = told("a100-40gb")
    assert any("run by cuDNN" in each for each in known.assumptions)
    assert not known.not_counted
    sizes = layer("lstm", steps=64, batch=100, width=256, hidden=256, layers=4)
    assert sizes.reserve() < known.reserved.low < known.peak_allocated - 32 * MiB
    wider = told("h100-80gb").reserved
    assert wider.high - wider.expected >= 4 * 24 * MiB


def test_dropout_between_layers_takes_its_state_once():
    def work():
        for _ in range(2):
            nn.GRU(16, 24, 2, dropout=0.5)(torch.empty(5, 8, 16))

    assert [each.amount.expected for each in taken(work)].count(2 * MiB) == 1


def test_torchs_own_functions_are_put_back():
    names = (*MODES, "lstm_cell", "gru_cell")
    before = {name: getattr(torch._VF, name) for name in names}
    with following(PLATFORM):
        assert all(getattr(torch._VF, name) is not before[name] for name in names)
    assert {name: getattr(torch._VF, name) for name in names} == before
    assert nn.LSTM(4, 5)(torch.ones(2, 3, 4))[0].shape == (2, 3, 5)


def test_the_range_begins_no_higher_than_what_is_expected():
    # A smaller workspace can leave a block that serves nothing after it, so that more is reserved.
    tape = Tape()
    tape.step()
    for amount in (Amount(10 * MiB, 40 * MiB, 40 * MiB), Amount.exactly(39 * MiB + MiB // 2)):
        tape.remove(tape.add(Storage(amount, "", "step")))
    told = predict(tape, title="", card=PLATFORM.card).reserved
    assert told.low == told.expected == 40 * MiB
