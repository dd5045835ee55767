"""The peak of a training step on a CPU: by theory and by peers, against torch's own allocator.

    python benchmarks/peaks.py [--quick] [MODEL ...]

Each model runs in a process of its own, which prints one line of JSON a case. The truth is what
`torch.profiler` lists of the allocator in the third step, on top of what stands before it.
"""

from __future__ import annotations

import contextlib
import copy
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from measure import Failed, command_of

# Where the oracles are that the tests hold theory against.
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

BATCH = 8
IMAGE = 64
TOKENS = 64

OPTIMIZERS = ("sgd", "adam", "adamw,foreach=true", "adamw,fused=true")
MODELS = ("resnet18", "resnet50", "vgg16", "mobilenet_v3_large", "gpt", "vit", "lstm")


def cases(quick: bool) -> list[tuple[str, str, bool]]:
    """Optimizer, precision and whether blocks are checkpointed."""
    everywhere = [
        ("sgd", "bf16", False),
        ("sgd", "fp32", True),
        ("adamw,foreach=true", "bf16", True),
    ]
    plain = [(each, "fp32", False) for each in OPTIMIZERS]
    return plain[:1] + everywhere[:1] if quick else plain + everywhere


def build(name: str) -> tuple[Callable[[], Any], Any]:
    """A function that makes the model, and a batch of inputs."""
    import torch
    from torch import nn

    images = torch.randn(BATCH, 3, IMAGE, IMAGE)
    tokens = torch.randint(8000, (BATCH, TOKENS))
    if name == "gpt":
        from transformers import GPT2Config, GPT2LMHeadModel

        config = GPT2Config(
            vocab_size=8000, n_positions=TOKENS, n_embd=256, n_layer=4, n_head=4, use_cache=False
        )

        class Scores(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.gpt = GPT2LMHeadModel(config)

            def forward(self, tokens: Any) -> Any:
                return self.gpt(tokens).logits

        return Scores, tokens
    if name == "vit":
        from torchvision.models import VisionTransformer

        return lambda: VisionTransformer(
            image_size=IMAGE, patch_size=8, num_layers=4, num_heads=4, hidden_dim=256, mlp_dim=1024
        ), images
    if name == "lstm":

        class Words(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.words = nn.Embedding(8000, 128)
                self.lstm = nn.LSTM(128, 256, 2, batch_first=True)
                self.scores = nn.Linear(256, 8000)

            def forward(self, tokens: Any) -> Any:
                return self.scores(self.lstm(self.words(tokens))[0])

        return Words, tokens
    import torchvision

    return lambda: getattr(torchvision.models, name)(), images


def checkpointed(make: Callable[[], Any]) -> Callable[[], Any]:
    """The same model, whose blocks are computed again in backward."""
    from torch import nn
    from torch.utils.checkpoint import checkpoint

    class Again(nn.Module):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return checkpoint(self.inner, *args, use_reentrant=False, **kwargs)

    def of(model: Any) -> Any:
        blocks = [
            (parent, key, child)
            for parent in model.modules()
            for key, child in parent.named_children()
            if "Block" in type(child).__name__
            or type(child).__name__ in ("Bottleneck", "InvertedResidual", "LSTM")
        ]
        inside = {
            id(each) for _, _, block in blocks for each in block.modules() if each is not block
        }
        for parent, key, child in blocks:
            if id(child) not in inside:
                parent._modules[key] = Again(child)
        if not blocks:  # VGG: pieces between its poolings
            pieces: list[list[Any]] = [[]]
            for each in model.features:
                pieces[-1].append(each)
                if isinstance(each, nn.MaxPool2d):
                    pieces.append([])
            model.features = nn.Sequential(*(Again(nn.Sequential(*p)) for p in pieces if p))
        return model

    return lambda: of(make())


def nbytes(tensors: Any) -> int:
    storages = {t.untyped_storage()._cdata: t.untyped_storage() for t in tensors}
    return sum(each.nbytes() for each in storages.values())


def autocast(precision: str) -> Any:
    import torch

    bf16 = precision == "bf16"
    return torch.autocast("cpu", dtype=torch.bfloat16) if bf16 else contextlib.nullcontext()


def loss_of(out: Any) -> Any:
    return out.float().sum() if out.element_size() == 2 else out.sum()


def step_of(
    model: Any, optimizer: Any, inputs: Any, precision: str, *, set_to_none: bool = True
) -> Callable[[], None]:
    def step() -> None:
        optimizer.zero_grad(set_to_none=set_to_none)
        with autocast(precision):
            out = model(inputs)
            loss = loss_of(out)
        loss.backward()
        optimizer.step()

    return step


def truth(
    model: Any, optimizer: Any, inputs: Any, precision: str, *, set_to_none: bool = True
) -> int:
    """The most bytes that torch's allocator holds in the third step."""
    import torch
    from oracles import most_allocated

    step = step_of(model, optimizer, inputs, precision, set_to_none=set_to_none)
    step()
    step()
    optimizer.zero_grad(set_to_none=set_to_none)
    state = [t for s in optimizer.state.values() for t in s.values() if torch.is_tensor(t)]
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    standing = nbytes([*model.parameters(), *model.buffers(), *gradients, inputs, *state])
    return standing + most_allocated(step)


def truth_of_inference(model: Any, inputs: Any) -> int:
    """The most bytes that torch's allocator holds in the second prediction."""
    import torch
    from oracles import most_allocated

    model.eval()

    def predict() -> None:
        with torch.inference_mode():
            model(inputs)

    predict()
    return nbytes([*model.parameters(), *model.buffers(), inputs]) + most_allocated(predict)


def by_torchinfo(model: Any, inputs: Any) -> int | None:
    """Its "Estimated Total Size": it knows neither optimizer nor precision nor checkpoints."""
    try:
        import torchinfo
    except ImportError:
        return None
    told = torchinfo.summary(copy.deepcopy(model), input_data=inputs, verbose=0)
    total = told.total_input + told.total_output_bytes + told.total_param_bytes
    return int(total)


def by_mem_tracker(name: str, options: Any, precision: str, again: bool) -> int | None:
    """torch's MemTracker on fake tensors; private to torch, and it follows two whole steps."""
    try:
        import torch
        from torch._subclasses.fake_tensor import FakeTensorMode
        from torch.distributed._tools.mem_tracker import MemTracker

        with FakeTensorMode(allow_non_fake_inputs=True):
            make, inputs = build(name)
            model = (checkpointed(make) if again else make)()
            kind, settings = options
            optimizer = kind(model.parameters(), **settings)
            step = step_of(model, optimizer, inputs, precision)
            tracker = MemTracker()
            tracker.track_external(model, optimizer, inputs)
            with tracker:
                step()
                tracker.reset_mod_stats()
                step()
            peak = tracker.get_tracker_snapshot("peak")
        total: int = peak[torch.device("cpu")]["Total"]
        return total
    except Exception as error:
        print(f"MemTracker, {name}: {error}"[:200], file=sys.stderr)
        return None


def one(name: str, quick: bool) -> None:
    """Print a line for each case of one model."""
    import torch

    import timeline
    from timeline.theory import optimizers

    make, inputs = build(name)
    for text, precision, again in cases(quick):
        torch.manual_seed(0)
        chosen = checkpointed(make) if again else make
        told = timeline.breakdown(
            chosen, text + ",lr=0.00001", inputs, precision=precision, loss=loss_of
        )
        model = chosen()
        options = optimizers.parse(text + ",lr=0.00001")
        real = truth(model, options[0](model.parameters(), **options[1]), inputs, precision)
        row = {
            "model": name,
            "optimizer": text,
            "precision": precision,
            "checkpointing": again,
            "truth": real,
            "theory": told.peak.bytes,
            "inside": told.peak.inside_operators,
            "phase": told.peak.phase,
            "torchinfo": by_torchinfo(model, inputs),
            "mem_tracker": by_mem_tracker(name, options, precision, again),
        }
        del model
        print(json.dumps(row), flush=True)


def measure_all(*, quick: bool = False, models: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Every case of the models, each model in a process of its own.

    Raises:
        Failed: no case of any model could be measured.
    """
    rows = []
    for name in models or MODELS:
        command = [sys.executable, str(Path(__file__).resolve()), "--lines", name]
        ran = subprocess.run(
            [*command, *(["--quick"] if quick else [])], capture_output=True, text=True
        )
        rows += [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
        if ran.returncode:  # what the other models gave is worth hours: it is kept
            rows.append({"model": name, "failed": ran.stderr.strip()[-300:]})
        print(f"peaks        {name}", file=sys.stderr, flush=True)
    if all("failed" in row for row in rows):
        raise Failed(f"peaks: {rows[-1]['failed'] if rows else 'no models'}")
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: every case, and what the errors come to."""
    failed = [row for row in rows if "failed" in row]
    rows = [row for row in rows if "failed" not in row]
    lines = [
        "| model | optimizer | precision | checkpoints | allocator | theory | inside operators "
        "| torchinfo | MemTracker |",
        "| --- " * 9 + "|",
    ]
    for row in rows:
        truth_ = row["truth"]

        def off(key: str, row: dict[str, Any] = row, truth_: int = truth_) -> str:
            return "–" if row[key] is None else f"{100 * (row[key] / truth_ - 1):+.2f} %"

        lines.append(
            f"| {row['model']} | {row['optimizer']} | {row['precision']} "
            f"| {'yes' if row['checkpointing'] else ''} | {truth_ / 1e6:.1f} MB | {off('theory')} "
            f"| {row['inside'] / 1e6:.1f} MB | {off('torchinfo')} | {off('mem_tracker')} |"
        )
    for key in ("theory", "torchinfo", "mem_tracker"):
        errors = sorted(abs(r[key] / r["truth"] - 1) for r in rows if r[key] is not None)
        if errors:
            middle = errors[len(errors) // 2]
            lines.append("")
            lines.append(
                f"{key}: median error {100 * middle:.2f} %, worst {100 * errors[-1]:.2f} %, "
                f"{len(errors)} cases"
            )
    for row in failed:
        lines += ["", f"**{row['model']} was not measured to its end**: {row['failed']}"]
    return "\n".join(lines)


def main() -> None:
    command_of(__doc__, one, lambda models, quick: table(measure_all(quick=quick, models=models)))


if __name__ == "__main__":
    main()
