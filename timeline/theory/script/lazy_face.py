"""Modules that learn their sizes from the first batch: their parameters are fake from then on."""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from timeline.theory.script.split import Split
from timeline.theory.storages import tensors_in


def put_on(split: Split) -> None:
    """Let lazy modules take their place where their first batch is."""
    lazy: Any = torch.nn.modules.lazy.LazyModuleMixin
    infer = lazy._infer_parameters

    def inferred(self: Any, module: Any, args: Any, kwargs: Any = None) -> None:
        split.all_real = True  # what becomes a parameter here is one of the host's at first
        try:
            infer(self, module, args, kwargs)
        finally:
            split.all_real = False
        to_card = any(map(split.on_card, tensors_in((args, kwargs))))
        for name, each in module._parameters.items():
            if each is not None and not isinstance(each, FakeTensor):
                made = torch.nn.Parameter(each, each.requires_grad)
                if to_card:
                    made.data = made.data.to("cuda")
                split.taping.is_("parameter", [made])
                module._parameters[name] = made
        for name, each in module._buffers.items():
            if to_card and each is not None:
                module._buffers[name] = each.to("cuda")

    lazy._infer_parameters = inferred
