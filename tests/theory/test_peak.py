"""The peak of a step by theory against the allocator's truth in a real one."""

from __future__ import annotations

import sys
import threading
import time
from inspect import signature

import pytest

torch = pytest.importorskip("torch")

from oracles import most_allocated  # noqa: E402

import timeline  # noqa: E402
from timeline.theory.inside import known_here  # noqa: E402
from timeline.theory.optimizers import known, stepping  # noqa: E402

pytestmark = pytest.mark.torch


def nbytes(tensors):
    storages = {t.untyped_storage()._cdata: t.untyped_storage() for t in tensors}
    return sum(each.nbytes() for each in storages.values())


def true_peak(model, optimizer, inputs):
    """The oracle: what stands, and the most on top of it that torch allocates in the third step."""

    def step():
        optimizer.zero_grad()
        out = model(inputs)
        loss = out.sum()
        loss.backward()
        optimizer.step()

    step()
    step()
    optimizer.zero_grad()
    state = [t for s in optimizer.state.values() for t in s.values() if torch.is_tensor(t)]
    standing = nbytes([*model.parameters(), *model.buffers(), inputs, *state])
    return standing + most_allocated(step)


def vit():
    from torchvision.models import VisionTransformer

    return VisionTransformer(
        image_size=64, patch_size=8, num_layers=2, num_heads=4, hidden_dim=64, mlp_dim=256
    )


def resnet18():
    from torchvision.models import resnet18

    return resnet18()


@pytest.mark.parametrize(
    ("make", "optimizer", "options", "within"),
    [
        pytest.param(vit, "sgd", {}, 0, id="vit-sgd"),
        pytest.param(vit, "adam", {"foreach": False}, 0, id="vit-adam"),
        pytest.param(vit, "adamw", {"foreach": True}, 0, id="vit-adamw-foreach"),
        pytest.param(vit, "adamw", {"fused": True}, 0, id="vit-adamw-fused"),
        # What oneDNN has inside a convolution's backward is known on x86 with AVX-512.
        pytest.param(resnet18, "sgd", {}, 0.005, id="resnet18-sgd"),
        pytest.param(resnet18, "adamw", {"foreach": True}, 0.005, id="resnet18-adamw-foreach"),
    ],
)
def test_the_peak_of_a_step_is_the_allocators(make, optimizer, options, within):
    pytest.importorskip("torchvision")
    text = ",".join([optimizer, "lr=0.001", *(f"{key}={value}" for key, value in options.items())])
    told = timeline.breakdown(make, text, (3, 64, 64), batch=4)
    model = make()
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[optimizer]
    real = kind(model.parameters(), lr=0.001, **options)
    truth = true_peak(model, real, torch.randn(4, 3, 64, 64))
    if within and not known_here():
        within = 0.05
    assert told.peak.bytes == pytest.approx(truth, rel=within, abs=64)


@pytest.mark.parametrize("foreach", [False, True], ids=["loop", "foreach"])
@pytest.mark.parametrize(
    "name",
    [name for name, kind in sorted(known().items()) if "capturable" in signature(kind).parameters],
)
def test_a_step_that_cuda_graphs_capture_is_told_though_it_is_none_of_the_cpu(
    name, foreach, monkeypatch
):
    options = {"capturable": True, "foreach": foreach}
    model = torch.nn.Linear(300, 200)

    def make(parameters):
        return known()[name](parameters, lr=0.01, **options)

    told = timeline.breakdown(model, make, (300,), batch=4)
    # The same step for real, which torch lets no CPU do by itself.
    module = sys.modules[f"torch.optim.{name}"]
    asks = "_get_capturable_supported_devices"
    if name == "adamw":
        module = sys.modules["torch.optim.adam"]
    monkeypatch.setattr(module, asks, lambda *_, **__: ["cpu"])
    truth = true_peak(model, make(model.parameters()), torch.randn(4, 300))
    assert told.peak.bytes == pytest.approx(truth, rel=0.001, abs=64)


def test_steps_that_are_followed_at_once_leave_torchs_safeguard_as_it_was():
    found = sys.modules["torch.optim.adam"]._get_capturable_supported_devices
    inside = threading.Event()

    def follow():
        with stepping():
            inside.set()
            time.sleep(0.05)

    threads = [threading.Thread(target=follow) for _ in range(3)]
    for each in threads:
        each.start()
        inside.wait(10)
    for each in threads:
        each.join(10)
    assert sys.modules["torch.optim.adam"]._get_capturable_supported_devices is found


def now_between():
    """A time with nothing near it: the profiler's clock is not quite the system's."""
    time.sleep(0.01)
    between = time.time_ns()
    time.sleep(0.01)
    return between


def peaks_by_phase(model, optimizer, inputs):
    """The oracle: of each phase of the third step what stands, with the most that torch adds."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    for i in range(3):
        optimizer.zero_grad()
        if i == 2:
            profile = torch.profiler.profile(activities=activities, profile_memory=True)
            profile.start()
        ends = []
        out = model(inputs)
        loss = out.sum()
        ends.append(now_between())
        loss.backward()
        ends.append(now_between())
        optimizer.step()
        ends.append(now_between())
    profile.stop()
    state = [t for s in optimizer.state.values() for t in s.values() if torch.is_tensor(t)]
    now = nbytes([*model.parameters(), *model.buffers(), inputs, *state])
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    changes = sorted((e.start_ns(), e.nbytes()) for e in events)
    found, begin = [], 0
    for end in ends:
        most = now
        for _, size in (each for each in changes if begin <= each[0] < end):
            now += size
            most = max(most, now)
        found.append(most)
        begin = end
    return found


def test_the_peak_of_each_phase_is_the_allocators():
    def make():
        return torch.nn.Sequential(
            torch.nn.Linear(64, 256), torch.nn.Tanh(), torch.nn.Linear(256, 64)
        )

    told = timeline.breakdown(make, "adam,foreach=true", (64,), batch=32)
    model = make()
    optimizer = torch.optim.Adam(model.parameters(), foreach=True)
    truth = peaks_by_phase(model, optimizer, torch.randn(32, 64))
    assert [each.phase for each in told.phases] == ["forward", "backward", "optimizer"]
    assert [each.bytes for each in told.phases] == pytest.approx(truth, abs=64)
    assert all(each.bytes == sum(each.categories.values()) for each in told.phases)
    assert told.peak == max(told.phases, key=lambda each: each.bytes)
    forward, backward, optimizer = (each.categories for each in told.phases)
    assert forward["gradient"] == 0 < backward["gradient"] <= optimizer["gradient"]
    assert optimizer["activation"] == 0 < forward["activation"]


def test_an_inference_has_one_phase():
    told = timeline.breakdown(torch.nn.Linear(3, 4), inputs=(3,), train=False)
    assert [each.phase for each in told.phases] == ["forward"]
    assert timeline.breakdown(torch.nn.Linear(3, 4)).phases == ()


@pytest.mark.skipif(not known_here(), reason="what kernels copy is known of x86 with AVX-512")
@pytest.mark.parametrize(
    "end",
    [
        lambda: torch.nn.Conv2d(32, 32, 3),
        lambda: torch.nn.Upsample(scale_factor=2),
        lambda: torch.nn.ConvTranspose2d(32, 16, 2, 2),
        lambda: torch.nn.Softmax(1),
    ],
    ids=["convolution", "upsampling", "transposed", "softmax"],
)
def test_the_peak_is_the_allocators_whatever_layer_a_model_ends_in(end):
    """The gradient of the outputs' sum is one number seen many times, which kernels copy."""

    def make():
        return torch.nn.Sequential(torch.nn.Conv2d(16, 32, 3), torch.nn.ReLU(), end())

    told = timeline.breakdown(make, "sgd,lr=0.001", (16, 64, 64), batch=8)
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    truth = true_peak(model, optimizer, torch.randn(8, 16, 64, 64))
    assert told.peak.bytes == pytest.approx(truth, rel=0.005)


def test_cross_entropy_of_a_class_for_each_place_of_an_image_is_the_allocators():
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(4, 12, 1)
    images, places = torch.randn(8, 4, 128, 128), torch.randint(12, (8, 128, 128))

    def trained():
        scores = conv(images)  # held through backward, as the theory takes it
        loss = torch.nn.functional.cross_entropy(scores, places)
        loss.backward()

    told = timeline.breakdown(conv, None, images, loss="cross_entropy")
    standing = nbytes([*conv.parameters(), images, places])
    assert told.peak.bytes == pytest.approx(standing + most_allocated(trained), rel=0.01)
