"""The results of the articles that this project starts from, to the last digit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
os.environ.setdefault("KERAS_BACKEND", "torch")  # has to stand before keras is first imported

from torch import nn  # noqa: E402

import timeline  # noqa: E402
from timeline.errors import UsageError  # noqa: E402
from timeline.theory.keras_models import application  # noqa: E402
from timeline.units import MB, MiB, format_bytes  # noqa: E402

pytestmark = pytest.mark.torch

ROOT = Path(__file__).resolve().parent.parent.parent
SIZES = (1024, 1024, 3)


@pytest.fixture(scope="module")
def vgg16():
    pytest.importorskip("keras")
    return timeline.breakdown(application("VGG16", SIZES), inputs=SIZES, train=False)


# Layer, parameters, output without the batch, MiB of the output.
VGG16 = [
    ("input_layer", 0, (1024, 1024, 3), 12.0),
    ("block1_conv1", 1_792, (1024, 1024, 64), 256.0),
    ("block1_conv2", 36_928, (1024, 1024, 64), 256.0),
    ("block1_pool", 0, (512, 512, 64), 64.0),
    ("block2_conv1", 73_856, (512, 512, 128), 128.0),
    ("block2_conv2", 147_584, (512, 512, 128), 128.0),
    ("block2_pool", 0, (256, 256, 128), 32.0),
    ("block3_conv1", 295_168, (256, 256, 256), 64.0),
    ("block3_conv2", 590_080, (256, 256, 256), 64.0),
    ("block3_conv3", 590_080, (256, 256, 256), 64.0),
    ("block3_pool", 0, (128, 128, 256), 16.0),
    ("block4_conv1", 1_180_160, (128, 128, 512), 32.0),
    ("block4_conv2", 2_359_808, (128, 128, 512), 32.0),
    ("block4_conv3", 2_359_808, (128, 128, 512), 32.0),
    ("block4_pool", 0, (64, 64, 512), 8.0),
    ("block5_conv1", 2_359_808, (64, 64, 512), 8.0),
    ("block5_conv2", 2_359_808, (64, 64, 512), 8.0),
    ("block5_conv3", 2_359_808, (64, 64, 512), 8.0),
    ("block5_pool", 0, (32, 32, 512), 2.0),
    ("flatten", 0, (524_288,), 2.0),
    ("fc1", 2_147_487_744, (4096,), 0.015625),
    ("fc2", 16_781_312, (4096,), 0.015625),
    ("predictions", 4_097_000, (1000,), 0.003814697265625),
]


def test_vgg16_of_keras_layer_by_layer(vgg16):
    told = [
        (each.name, each.parameters, each.output_shape[1:], each.output_bytes / MiB)
        for each in vgg16.layers
    ]
    assert [(*row[:3], row[3]) for row in told] == VGG16
    fc1 = next(each for each in vgg16.layers if each.name == "fc1")
    assert fc1.parameter / MiB == 8192.015625


def test_vgg16_of_keras_in_all(vgg16):
    assert vgg16.parameters == 2_183_080_744
    assert vgg16.categories["parameter"] / MiB == 8327.79214477539
    assert round(vgg16.outputs_bytes / MiB, 7) == 1216.0350647
    together = vgg16.categories["parameter"] + vgg16.outputs_bytes
    assert round(together / MiB, 8) == 9543.82720947
    without_top = sum(each.parameters for each in vgg16.layers if each.name.startswith("block"))
    assert without_top == 14_714_688


def test_densenet201_of_keras_2018_and_of_today():
    pytest.importorskip("keras")
    told = timeline.breakdown(application("DenseNet201", SIZES), inputs=SIZES, train=False)
    assert told.parameters == 20_242_984
    assert told.categories["parameter"] / MiB == 77.22085571289062
    assert told.outputs_bytes / MiB == 6159.15315246582
    # Keras 3 has one more activation after the last normalisation than Keras had in 2018.
    final = next(each for each in told.layers if each.name == "relu")
    assert (final.output_shape, final.output_bytes / MiB) == ((1, 32, 32, 1920), 7.5)
    assert (told.outputs_bytes - final.output_bytes) / MiB == 6151.65315246582


@pytest.mark.parametrize(("bias", "parameters"), [(True, 5_050), (False, 5_000)])
def test_a_fully_connected_layer_of_100_to_50(bias, parameters):
    model = nn.Sequential(nn.Linear(100, 50, bias=bias), nn.ReLU())
    told = timeline.breakdown(model, inputs=(100,))
    assert told.parameters == parameters
    assert told.categories["parameter"] == parameters * 4
    assert [each.output_bytes for each in told.layers] == [200, 200]


def test_an_image_and_a_tensor_in_both_kinds_of_units():
    image = timeline.breakdown(nn.Identity(), inputs=(3, 500, 500), train=False)
    assert image.categories["input"] == 3_000_000 == 3 * MB
    assert format_bytes(image.categories["input"]) == "2.86 MiB"
    batch = timeline.breakdown(nn.Identity(), inputs=(3, 100, 100), batch=256, train=False)
    assert batch.categories["input"] == 30_720_000  # 30.72 MB: rounded, the article's 31
    assert round(batch.categories["input"] / MB) == 31
    assert format_bytes(batch.categories["input"]) == "29.3 MiB"


@pytest.mark.parametrize(
    ("dtype", "size"),
    [("float64", 8), ("float32", 4), ("bfloat16", 2), ("float16", 2), ("int64", 8), ("int32", 4),
     ("int16", 2), ("int8", 1), ("uint8", 1), ("bool", 1), ("complex64", 8)],
)  # fmt: skip
def test_the_table_of_dtypes(dtype, size):
    told = timeline.breakdown(nn.Identity(), inputs=f"10x10:{dtype}", train=False)
    assert told.categories["input"] == 100 * size


def test_vgg16_at_224_as_in_cs231n():
    models = pytest.importorskip("torchvision").models
    told = timeline.breakdown(models.vgg16, "adam", (3, 224, 224), loss="cross_entropy")
    convolutions = [each for each in told.layers if each.kind == "Conv2d"]
    memory = [each.output_bytes // 4 for each in convolutions]
    assert memory == [
        *[224 * 224 * 64] * 2, *[112 * 112 * 128] * 2, *[56 * 56 * 256] * 3, *[28 * 28 * 512] * 3,
        *[14 * 14 * 512] * 3,
    ]  # fmt: skip
    # The table counts no biases.
    weights = [each.parameters - each.output_shape[1] for each in convolutions]
    assert weights[:3] == [1_728, 36_864, 73_728]
    linear = [each for each in told.layers if each.kind == "Linear"]
    assert [each.parameters - each.output_shape[1] for each in linear] == [
        102_760_448, 16_777_216, 4_096_000,
    ]  # fmt: skip
    assert told.parameters == 138_357_544


def test_rules_of_thumb_and_by_how_much_they_are_wrong():
    models = pytest.importorskip("torchvision").models
    told = {
        name: timeline.breakdown(models.vgg16, name, (3, 224, 224), batch=8)
        for name in ("sgd", "sgd,momentum=0.9", "adam")
    }
    parameter = told["sgd"].categories["parameter"]
    state = {name: each.categories["optimizer_state"] for name, each in told.items()}
    # "SGD with momentum keeps one copy of the parameters, Adam two": Adam a count a tensor more.
    assert state == {"sgd": 0, "sgd,momentum=0.9": parameter, "adam": 2 * parameter + 32 * 4}
    # "Backward doubles what forward keeps": saved tensors go while gradients of outputs come, so
    # that both together hardly exceed what forward kept; the parameters' gradients are the rest.
    peak = told["sgd"].peak
    kept = told["sgd"].categories["activation"]
    beyond = peak.categories["activation"] + peak.categories["temporary"]
    assert peak.phase == "backward"
    assert beyond / kept < 1.5


@pytest.mark.parametrize(
    ("name", "needs", "lines"),
    [
        (
            "units_and_small_layers.py",
            "torch",
            [
                "  RGB, 500x500         3,000,000 B = 3 MB = 2.861022949 MiB",
                "  256 of 3x100x100    30,720,000 B = 30.72 MB = 29.296875 MiB",
                "  float64   8 B each    8,000,000 B = 8 MB = 7.629394531 MiB",
                "  float32   4 B each    4,000,000 B = 4 MB = 3.814697266 MiB",
                "  bfloat16  2 B each    2,000,000 B = 2 MB = 1.907348633 MiB",
                "  float16   2 B each    2,000,000 B = 2 MB = 1.907348633 MiB",
                "  int64     8 B each    8,000,000 B = 8 MB = 7.629394531 MiB",
                "  int8      1 B each    1,000,000 B = 1 MB = 0.9536743164 MiB",
                "  bool      1 B each    1,000,000 B = 1 MB = 0.9536743164 MiB",
                "  with  none             5,050 20,200 B   20,200 B    200 B    0 B",
                "  with  ReLU             5,050 20,200 B   20,200 B    400 B  200 B",
                "  none  none             5,000 20,000 B   20,000 B    200 B    0 B",
                "  none  ReLU             5,000 20,000 B   20,000 B    400 B  200 B",
            ],
        ),
        (
            "rules_of_thumb.py",
            "torchvision",
            [
                "  Linear    4096                4,096  102,760,448",
                "  image     3x224x224         150,528            0",
                "    of 150,528 itself, add up to 15,237,608, which are 61.0 MB;",
                "    +57.51 %",
                "SGD with momentum keeps one copy of the parameters: 527.8 MiB, 0 B more than the "
                "rule says",
                "Adam keeps two copies of the parameters: 1.03 GiB, 128 B more than the rule says, "
                "-0.00 %",
                "  kept by forward    138.8 MiB by theory  138.8 MiB measured, +0.00 %",
                "  optimizer state    527.8 MiB by theory  527.8 MiB measured, +0.00 %",
            ],
        ),
        (
            "vgg16_and_densenet201.py",
            "keras",
            [
                *(
                    f"  {name:14}{count:>15,}{count * 4 / MiB:>22} MiB"
                    f"  {(None, *shape)!s:26}{size:>20} MiB"
                    for name, count, shape, size in VGG16
                ),
                "  fc1             2,147,487,744           8192.015625 MiB  (None, 4096)    "
                "                      0.015625 MiB",
                "  parameters      2,183,080,744",
                "  without top        14,714,688",
                "  weights       8327.79214477539 MiB",
                "  feature maps  1216.0350646972656 MiB",
                "  together      9543.827209472656 MiB",
                "  parameters         20,242,984",
                "  weights       77.22085571289062 MiB",
                "  feature maps  6159.15315246582 MiB",
                "  of 7.5 MiB: 6151.65315246582 MiB of feature maps",
            ],
        ),
    ],
)
def test_the_examples_print_the_articles_figures(name, needs, lines):
    pytest.importorskip(needs)
    # In a process of its own: a real step of VGG16 takes gigabytes, and the tests keep them.
    path = ROOT / "examples" / "articles" / name
    ran = subprocess.run([sys.executable, path], capture_output=True, text=True, check=True)
    assert not set(lines) - set(ran.stdout.splitlines())


FACTORY = """
import keras

def make():
    return keras.applications.VGG16(weights=None, input_shape=(1024, 1024, 3))
"""
MOST = """
import sys
from pathlib import Path
from timeline.cli.main import main
code = main(sys.argv[1:])
most = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
print("most", most, file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="VmHWM is Linux's")
@pytest.mark.parametrize("target", ["keras:VGG16", "my_keras:make"])
def test_the_command_prints_the_articles_table_in_under_a_gibibyte(target, run_python, tmp_path):
    pytest.importorskip("keras")
    (tmp_path / "my_keras.py").write_text(FACTORY)
    words = ["breakdown", target, "--inference", "--layers", "0"]
    if target == "keras:VGG16":
        words += ["--input", "1024x1024x3"]
    ended = run_python("-c", MOST, *words)
    assert ended.code == 0, ended.stderr
    # Kind, output with its size, and parameters are in the 80 columns that a pipe has.
    rows = {line.split()[0]: line.split() for line in ended.stdout.splitlines() if line.strip()}
    assert rows["block1_conv1"][1:] == [
        "Conv2D", "f32[1,1024,1024,64]", "256.0", "MiB", "1,792",
    ]  # fmt: skip
    assert rows["fc1"][1:] == ["Dense", "f32[1,4096]", "16.0", "KiB", "2,147,487,744"]
    assert rows["predictions"][1:] == ["Dense", "f32[1,1000]", "3.91", "KiB", "4,097,000"]
    assert rows["in"][2:] == ["1.19", "GiB", "2,183,080,744"]
    assert "no room for weights: a wider terminal" in ended.stdout
    assert int(ended.stderr.split("most")[1]) < 1024 * 1024


def test_keras_is_set_to_torch_in_this_process_alone():
    keras = pytest.importorskip("keras")
    assert keras.backend.backend() == "torch"
    assert "tensorflow" not in sys.modules


def test_an_optimizer_of_torch_that_trains_a_keras_model_is_weighed_and_one_of_keras_is_not():
    keras = pytest.importorskip("keras")
    layers = keras.layers
    model = keras.Sequential([keras.Input((6,)), layers.Dense(5), layers.Dense(4)])
    # Adam's two moments of each number, and a count of 4 bytes for each of four parameters.
    state = 2 * model.count_params() * 4 + 4 * 4
    given = torch.zeros(3, 6)
    own = torch.optim.Adam(model.parameters())
    for optimizer in ("adam", own):
        told = timeline.breakdown(model, optimizer, given)
        assert told.categories["optimizer_state"] == state
        assert told.peak.categories["optimizer_state"] == state
    assert not own.state
    sum(model(given).sum() for _ in range(2)).backward()
    own.step()
    assert timeline.breakdown(model, own, given).categories["optimizer_state"] == state
    for optimizer in (keras.optimizers.Adam(), keras.optimizers.Adam):
        with pytest.raises(UsageError, match=r"Adam of Keras.*one of torch.optim.*such as 'adam'"):
            timeline.breakdown(model, optimizer, given)
