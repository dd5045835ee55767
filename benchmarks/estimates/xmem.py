"""The training runs of xMem's public results, followed without memory.

Models, optimizers and the loop are those of groundtruth/xmem_workload.md. The figures there were
measured with torch 2.6 and transformers 4.51.3.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import torch

from timeline.theory.cuda.cards import Card, card
from timeline.theory.estimating import as_on_cuda, platform_of
from timeline.theory.following import following
from timeline.theory.likeness import build, fake_mode, likeness
from timeline.theory.loop import move, step_of

TORCH = "2.6"
STEPS = 4

CARDS = {
    "NVIDIA-GeForce-RTX-3060": "rtx3060",
    "NVIDIA-GeForce-RTX-4060": "rtx4060",
    "NVIDIA-A100-SXM4-40GB": "a100-40gb",
}


@dataclass(frozen=True)
class Row:
    number: int
    kind: str
    model: str
    optimizer: str
    batch: int
    gpu: Card
    capacity: int
    generation: str
    mode: int | None
    measured: int
    out_of_memory: bool
    xmem: int

    @property
    def key(self):
        return (
            self.model, self.optimizer, self.batch, self.gpu.name, self.generation, self.mode,
        )  # fmt: skip


def rows(path: Path) -> list[Row]:
    with open(path) as lines:
        return [
            Row(
                int(each["row"]),
                each["kind"],
                each["model"],
                each["optimizer"],
                int(each["batch"]),
                card(CARDS[each["gpu"]]),
                int(each["gpu_total_bytes"]),
                each["generation"],
                int(each["zero_grad_mode"]) if each["zero_grad_mode"] else None,
                int(each["ground_nvml_bytes"]),
                each["real_oom"] == "1",
                int(each["xmem_bytes"]),
            )
            for each in csv.DictReader(lines)
        ]


def cnn(name: str) -> torch.nn.Module:
    import torchvision.models as zoo

    make = {
        "MnasNet": lambda: zoo.MNASNet(alpha=1.0, num_classes=10),
        "MobeNetV3Small": lambda: zoo.mobilenet_v3_small(num_classes=10),
        "MobeNetV3Large": lambda: zoo.mobilenet_v3_large(num_classes=10),
        "MobileNetV2": zoo.mobilenet_v2,
        "ConvNeXtTiny": zoo.convnext_tiny,
        "ConvNeXtBase": zoo.convnext_base,
        "RegNetX400MF": zoo.regnet_x_400mf,
        "RegNetY400MF": zoo.regnet_y_400mf,
        "ResNet101": zoo.resnet101,
        "ResNet152": zoo.resnet152,
        "VGG16": zoo.vgg16,
        "VGG19": zoo.vgg19,
    }[name]
    return make()


def _optimizer(name, parameters, taping):
    made = getattr(torch.optim, name)(parameters, lr=0.001)
    as_on_cuda(made, taping)
    return made


def follow(row: Row, mode: int, *, ask_cudnn: bool = False):
    """The tape of a row; ``mode`` says where zero_grad stands."""
    return (_follow_cnn if row.kind == "CNN" else _follow_transformer)(row, mode, ask_cudnn)


def _platform(row: Row, ask_cudnn: bool):
    # Runs of generation A followed each other in one process, whose workspaces of cuBLAS were there
    # before: so its transformers are exact to a few MiB, and 20 MiB too high with workspaces.
    return platform_of(row.gpu.name, TORCH, workspaces=row.generation != "A", ask_cudnn=ask_cudnn)


def _follow_cnn(row: Row, mode: int, ask_cudnn: bool):
    fake = fake_mode()
    model, _ = likeness(build(lambda: cnn(row.model)), None, fake)
    with following(_platform(row, ask_cudnn), fake) as taping:
        taping.begin("load")
        model.train()
        move(taping, model)
        optimizer = _optimizer(row.optimizer, model.parameters(), taping)
        stop = taping.watch(model)
        for _ in range(2):
            taping.step()
            taping.begin("data")
            if mode == 0:
                optimizer.zero_grad()
            inputs = torch.empty(row.batch, 3, 86, 86)
            targets = torch.empty(row.batch, dtype=torch.int64)
            taping.is_("input", [inputs, targets])
            taping.begin("step/forward")
            with taping.saving():
                outputs = model(inputs)
                taping.begin("step/loss")
                loss = torch.nn.functional.cross_entropy(outputs, targets)
            if mode == 1:
                optimizer.zero_grad()
            taping.begin("step/backward")
            loss.backward()
            taping.is_("gradient", (p.grad for p in model.parameters()))
            taping.begin("step/optimizer")
            step_of(taping, optimizer)
            _, predictions = torch.max(outputs, 1)
            if mode == 2:
                optimizer.zero_grad()
        stop()
        del predictions
        return taping.end()


TOKENS = 128


def language_model(name: str) -> torch.nn.Module:
    """By its public configuration; nothing is downloaded."""
    import transformers as hf

    gpt2 = {"n_embd": 768, "n_head": 12}
    llama = {"vocab_size": 128256, "hidden_size": 3072, "intermediate_size": 8192}
    make = {
        "openai-community/gpt2": lambda: hf.GPT2Config(),
        "distilbert/distilgpt2": lambda: hf.GPT2Config(n_layer=6),
        "cerebras/Cerebras-GPT-111M": lambda: hf.GPT2Config(
            n_layer=10,
            n_inner=3072,
            n_positions=2048,
            activation_function="gelu",
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            **gpt2,
        ),
        "EleutherAI/gpt-neo-125M": lambda: hf.GPTNeoConfig(
            hidden_size=768,
            num_layers=12,
            num_heads=12,
            attention_types=[[["global", "local"], 6]],
            max_position_embeddings=2048,
            window_size=256,
            vocab_size=50257,
        ),
        "facebook/opt-125m": lambda: hf.OPTConfig(),
        "facebook/opt-350m": lambda: hf.OPTConfig(
            hidden_size=1024,
            num_hidden_layers=24,
            num_attention_heads=16,
            ffn_dim=4096,
            word_embed_proj_dim=512,
            do_layer_norm_before=False,
        ),
        "T5-small": lambda: hf.T5Config(decoder_start_token_id=0),
        "t5-base": lambda: hf.T5Config(
            d_model=768, d_ff=3072, num_layers=12, num_heads=12, decoder_start_token_id=0
        ),
        "Qwen/Qwen3-4B": lambda: hf.Qwen3Config(
            vocab_size=151936,
            hidden_size=2560,
            intermediate_size=9728,
            num_hidden_layers=36,
            num_attention_heads=32,
            num_key_value_heads=8,
            head_dim=128,
            tie_word_embeddings=True,
        ),
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": lambda: hf.Qwen2Config(
            vocab_size=151936,
            hidden_size=1536,
            intermediate_size=8960,
            num_hidden_layers=28,
            num_attention_heads=12,
            num_key_value_heads=2,
            tie_word_embeddings=False,
        ),
        "meta-llama/Llama-3.2-3B-Instruct": lambda: hf.LlamaConfig(
            **llama,
            num_hidden_layers=28,
            num_attention_heads=24,
            num_key_value_heads=8,
            head_dim=128,
            tie_word_embeddings=True,
        ),
    }
    config = make[_NAMES.get(name, name)]()
    seq2seq = config.model_type == "t5"
    auto = hf.AutoModelForSeq2SeqLM if seq2seq else hf.AutoModelForCausalLM
    return auto.from_config(config)


_NAMES = {"google-t5/t5-base": "t5-base", "google-t5/t5-small": "T5-small"}


def _follow_transformer(row: Row, mode: int, ask_cudnn: bool):
    fake = fake_mode()
    model, _ = likeness(build(lambda: language_model(row.model)), None, fake)
    # Some lines are shorter than the longest: a mask is not all ones.
    with following(_platform(row, ask_cudnn), fake, truth=False) as taping:
        taping.begin("load")
        model.train()
        optimizer = _optimizer(row.optimizer, model.parameters(), taping)
        move(taping, model)
        stop = taping.watch(model)
        for _ in range(2):
            taping.step()
            taping.begin("data")
            if mode == 0:
                optimizer.zero_grad()
            names = ("input_ids", "attention_mask", "labels")
            batch = {n: torch.ones(row.batch, TOKENS, dtype=torch.int64) for n in names}
            taping.is_("input", batch.values())
            taping.begin("step/forward")
            with taping.saving():
                outputs = model(**batch)
                loss = outputs.loss
            if mode == 1:
                optimizer.zero_grad()
            taping.begin("step/backward")
            loss.backward()
            taping.is_("gradient", (p.grad for p in model.parameters() if p.grad is not None))
            taping.begin("step/optimizer")
            step_of(taping, optimizer)
            if mode == 2:
                optimizer.zero_grad()
        stop()
        return taping.end()


def peers(row: Row):
    """What others say of a row, where they can follow it."""
    from estimates import peers as others

    from timeline.theory.following import _Truth

    convolutional = row.kind == "CNN"

    def model_of():
        return cnn(row.model) if convolutional else language_model(row.model)

    def batch():
        if convolutional:
            return torch.empty(row.batch, 3, 86, 86), torch.ones(row.batch, dtype=torch.int64)
        names = ("input_ids", "attention_mask", "labels")
        return {n: torch.ones(row.batch, TOKENS, dtype=torch.int64) for n in names}

    def step(model, optimizer):
        optimizer.zero_grad()
        if convolutional:
            inputs, targets = batch()
            loss = torch.nn.functional.cross_entropy(model(inputs), targets)
        else:
            with _Truth(False):
                loss = model(**batch()).loss
        loss.backward()
        optimizer.step()

    def optimizer_of(parameters):
        return getattr(torch.optim, row.optimizer)(parameters, lr=0.001)

    found = {}
    model = build(model_of)
    found["accelerate"] = others.accelerate_rule(sum(p.numel() for p in model.parameters()))
    try:
        found["mem_tracker"] = others.mem_tracker(model, optimizer_of, step)
    except Exception as error:
        found["mem_tracker_failed"] = f"{type(error).__name__}: {error}"[:200]
    try:
        with torch.device("meta"):
            inputs = batch()
            given = inputs[0] if convolutional else {"input_ids": inputs["input_ids"]}
        found["torchinfo"] = others.torchinfo_total(model, given)
    except Exception as error:
        found["torchinfo_failed"] = f"{type(error).__name__}: {error}"[:200]
    return found
