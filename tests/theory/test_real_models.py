"""Whole libraries of models against their own storages, on the meta device."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import timeline  # noqa: E402
from timeline.theory.targets import resolve  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.slow]


def nbytes(tensors):
    storages = {t.untyped_storage()._cdata: t.untyped_storage() for t in tensors}
    return sum(each.nbytes() for each in storages.values())


def assert_standing_is_exact(told, model):
    parameters = list(model.parameters())
    trained = [p for p in parameters if p.requires_grad]
    assert told.parameters == sum(p.numel() for p in parameters)
    assert told.categories["parameter"] == nbytes(parameters)
    both = [*parameters, *model.buffers()]
    assert told.categories["buffer"] == nbytes(both) - nbytes(parameters)
    assert told.categories["gradient"] == nbytes(torch.empty_like(p) for p in trained)
    return trained


def classifiers():
    torchvision = pytest.importorskip("torchvision")
    return torchvision.models.list_models(module=torchvision.models)


def test_every_classifier_of_torchvision_stands_as_its_storages_do():
    names = classifiers()
    assert len(names) > 70
    # The largest take half a gigabyte or more to make where they have to be made with memory.
    names = [each for each in names if not each.startswith("regnet") or each.endswith("mf")]
    for name in names:
        target = resolve(f"torchvision:{name}")
        if name.startswith("regnet"):  # cannot be made on the meta device
            model = target.make().to("meta")
        else:
            with torch.device("meta"):
                model = target.make()
        told = timeline.breakdown(target.make, "sgd,momentum=0.9")
        trained = assert_standing_is_exact(told, model)
        assert told.categories["optimizer_state"] == nbytes(trained)


def test_the_largest_regnets_have_the_parameters_that_torchvision_tells():
    models = pytest.importorskip("torchvision").models
    names = [each for each in classifiers() if each.startswith("regnet") and each.endswith("gf")]
    assert len(names) == 11
    for name in names:
        told = timeline.breakdown(resolve(f"torchvision:{name}").make, "sgd,momentum=0.9")
        numbers = models.get_model_weights(name).DEFAULT.meta["num_params"]
        assert told.parameters == numbers
        for category in ("parameter", "gradient", "optimizer_state"):
            assert told.categories[category] == 4 * numbers


@pytest.mark.parametrize(
    "name",
    ["alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3",
     "maxvit_t", "mnasnet0_5", "mobilenet_v3_small", "regnet_y_400mf", "resnet50", "squeezenet1_1",
     "shufflenet_v2_x1_0", "swin_t", "swin_v2_t", "vgg11_bn", "vit_b_16"],
)  # fmt: skip
def test_one_of_each_family_can_be_followed_and_agrees_with_what_stands(name):
    pytest.importorskip("torchvision")
    size = 299 if name == "inception_v3" else 224
    target = resolve(f"torchvision:{name}", [f"3x{size}x{size}"])
    told = timeline.breakdown(target.make, "sgd,momentum=0.9", target.inputs, batch=2)
    standing = timeline.breakdown(target.make, "sgd,momentum=0.9")
    for category in ("parameter", "buffer", "gradient", "optimizer_state"):
        assert told.categories[category] == standing.categories[category], category
    assert sum(each.activation for each in told.layers) == told.categories["activation"] > 0
    assert told.peak.bytes == sum(told.peak.categories.values())
    assert told.peak.bytes <= sum(told.categories.values())
    assert len(told.not_counted) == 1  # memory inside operators


@pytest.mark.parametrize(
    "name",
    ["gpt2", "bert", "llama", "t5", "roberta", "distilbert", "mistral", "qwen2", "opt", "gpt_neox"],
)
def test_ten_transformers_from_their_configurations(name):
    pytest.importorskip("transformers")
    target = resolve(f"transformers:{name}")
    with torch.device("meta"):
        model = target.make()
    told = timeline.breakdown(model, "adamw,foreach=true")
    trained = assert_standing_is_exact(told, model)
    # Two moments as large as the parameter, and a count of 4 bytes for each.
    assert told.categories["optimizer_state"] == 2 * nbytes(trained) + 4 * len(trained)


@pytest.mark.parametrize("name", ["gpt2", "bert", "llama", "distilbert", "qwen2"])
def test_a_transformer_can_be_followed(name):
    pytest.importorskip("transformers")
    target = resolve(f"transformers:{name}", ["32"])
    told = timeline.breakdown(target.make, "sgd", target.inputs, batch=2)
    assert told.categories["activation"] > 0
    assert told.categories["input"] == 2 * 32 * 8


COST = """
import sys
from pathlib import Path

def most():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024

import torch
torch_alone = most()
import torch._dynamo, sympy  # what torch itself loads for tensors without memory
alone = most()
from timeline.cli.main import main
code = main(["breakdown", *sys.argv[1:], "--json"])
print(torch_alone, alone, most(), file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="VmHWM is Linux's")
def test_seven_billion_parameters_take_little_more_memory_than_torch_itself(run_python):
    root = Path(__file__).resolve().parents[2]
    words = ["examples.transformer_7b:make", "--input", "2048:int64", "--optimizer", "adamw"]
    ended = run_python("-c", COST, *words, "--loss", "cross_entropy", cwd=root)
    assert ended.code == 0, ended.stderr
    told = json.loads(ended.stdout)["breakdown"]
    assert told["parameters"] == 6_738_415_616  # as transformers counts Llama 2 7B
    assert told["peak"]["bytes"] > 4 * 4 * told["parameters"]
    torch_alone, alone, most = map(int, ended.stderr.split()[-3:])
    assert most - alone < 48 * 2**20
    if torch_alone < 400 * 2**20:  # the wheel with CUDA's libraries takes more than 500
        assert most < 600 * 2**20
