"""Whether whole libraries of models can be estimated, and why not where they cannot.

  python benchmarks/estimate_models.py [torchvision] [transformers]

Every classifier of torchvision that weighs less than 1 GiB, with an image of its usual size, and
the configurations of `CONFIGURATIONS` with two layers each where they have a number of layers.
"""

from __future__ import annotations

import sys
import time

import torch

import timeline

CONFIGURATIONS = (
    "gpt2", "bert", "roberta", "distilbert", "albert", "electra", "opt", "gpt_neo", "gpt_neox",
    "bloom", "llama", "mistral", "qwen2", "qwen3", "gemma2", "phi", "falcon", "t5", "bart",
    "mbart", "vit", "deit", "swin", "clip_vision_model", "mamba", "deberta-v2", "mpt", "stablelm",
)  # fmt: skip


def torchvision_models():
    import torchvision

    for name in torchvision.models.list_models(module=torchvision.models):
        if "regnet_y_128gf" in name or "vit_h" in name:
            continue
        size = 299 if name.startswith("inception") else 224
        build = torchvision.models.get_model_builder(name)
        yield name, lambda build=build: build(weights=None), {"x": (2, 3, size, size)}, _first


def transformers_models():
    import transformers

    for name in CONFIGURATIONS:
        config = transformers.AutoConfig.for_model(name)
        for layers in ("num_hidden_layers", "num_layers", "n_layer", "encoder_layers",
                       "decoder_layers", "num_decoder_layers"):  # fmt: skip
            if isinstance(getattr(config, layers, None), int):
                setattr(config, layers, 2)
        if config.model_type == "swin":
            config.depths = [2, 2, 2, 2]

        def make(config=config):
            for auto in ("AutoModelForCausalLM", "AutoModelForSeq2SeqLM", "AutoModel"):
                if type(config) in getattr(transformers, auto)._model_mapping:
                    return getattr(transformers, auto).from_config(config)
            raise LookupError("no automatic model")

        if hasattr(config, "image_size"):
            inputs = {"pixel_values": (2, 3, config.image_size, config.image_size)}
        else:
            inputs = {"input_ids": (2, 64)}
            if config.model_type in ("t5", "bart", "mbart"):
                inputs["decoder_input_ids"] = (2, 64)
        yield name, make, inputs, _first


def _first(outputs):
    from timeline.theory.storages import tensors_in

    return next(each for each in tensors_in(outputs) if each.requires_grad).float().mean()


def tensors(inputs):
    ids = {n for n in inputs if n.endswith("_ids")}
    made = {n: torch.zeros(s, dtype=torch.int64 if n in ids else None) for n, s in inputs.items()}
    return [made["x"]] if "x" in made else made


def main():
    wanted = sys.argv[1:] or ["torchvision", "transformers"]
    for family, models in (
        ("torchvision", torchvision_models),
        ("transformers", transformers_models),
    ):
        if family not in wanted:
            continue
        done, failed = 0, {}
        started = time.perf_counter()
        for name, make, inputs, loss in models():
            try:
                timeline.estimate(make, "adamw", tensors(inputs), loss=loss)
                done += 1
            except Exception as error:
                failed[name] = f"{type(error).__name__}: {error}"
                print(f"  {family}:{name}: {failed[name][:300]}", flush=True)
        took = time.perf_counter() - started
        print(f"{family}: {done} estimated, {len(failed)} failed, {took:.0f} s", flush=True)


if __name__ == "__main__":
    main()
