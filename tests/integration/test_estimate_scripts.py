"""Training scripts as people write them, followed without a GPU and without running them."""

from __future__ import annotations

import json
import sys

import pytest
from running import run

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.torch

MiB = 1 << 20

LOOP = """
import torch
from torch import nn

device = "cuda" if torch.cuda.is_available() else "cpu"
model = nn.Sequential(
    nn.Linear(1024, 1024, bias=False), nn.ReLU(), nn.Linear(1024, 1024, bias=False)
).to(device)
optimizer = torch.optim.Adam(model.parameters())
for step in range(1000):
    x = torch.randn(256, 1024).to(device)
    optimizer.zero_grad()
    output = model(x)
    loss = output.sum()
    loss.backward()
    optimizer.step()
    if step % 10 == 0:
        print(f"step {step}: {loss.item():.3f}")
torch.save(model.state_dict(), "model.pt")
"""


@pytest.fixture
def estimate(tmp_path):
    """``estimate(*words)`` runs the verb; returns its `Ended`."""

    def run_it(*words: object, **options):
        command = [sys.executable, "-m", "timeline", "estimate", *map(str, words)]
        return run(command, cwd=tmp_path, **options)

    return run_it


@pytest.fixture
def told(estimate):
    """``told(*words)`` is the key ``estimate`` of the document that the verb prints."""

    def run_it(*words: object, **options):
        ended = estimate("--json", *words, **options)
        assert ended.code == 0, ended.stderr
        return json.loads(ended.stdout)["estimate"]

    return run_it


def test_a_script_needs_what_the_same_loop_in_code_does(told, write_script):
    from timeline import estimate as in_code

    def model():
        return torch.nn.Sequential(
            torch.nn.Linear(1024, 1024, bias=False),
            torch.nn.ReLU(),
            torch.nn.Linear(1024, 1024, bias=False),
        )

    found = told(write_script(LOOP))
    alike = in_code(model, "adam", "1024", batch=256)
    assert found["peak_allocated"] == alike.peak_allocated
    assert found["peak_reserved"] == alike.peak_reserved
    assert found["peak_phase"] == alike.peak_phase
    for category in ("parameter", "gradient", "optimizer_state"):
        assert found["categories_at_peak"][category] == alike.categories_at_peak[category]


def test_a_script_leaves_no_file_and_starts_no_cuda(estimate, write_script, tmp_path):
    script = write_script(
        LOOP.replace("1000)", "5)")
        + "\nimport os\nos.makedirs('runs/a')\nopen('runs/a/log.txt', 'w').write('x')\n"
        + "assert open('runs/a/log.txt').read() == 'x'\n"
    )
    ended = estimate("--steps", "50", script)
    assert ended.code == 0, ended.stderr
    assert "saves tensors" in " ".join(ended.stdout.split())
    assert [each.name for each in tmp_path.iterdir()] == [script.name]


def test_a_script_that_knows_no_gpu_is_estimated_as_if_on_one(told, write_script):
    on_card = told(write_script(LOOP))
    on_cpu = told(write_script(LOOP.replace('"cuda" if torch.cuda.is_available() else ', "")))
    assert on_cpu["categories_at_peak"]["parameter"] == 8 * MiB
    assert on_cpu["peak_allocated"] == pytest.approx(on_card["peak_allocated"], rel=0.02)
    assert any("asks for no card" in each for each in on_cpu["assumptions"])


GAN = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

device = torch.device("cuda:0")
makes = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 784)).to(device)
judges = nn.Sequential(nn.Linear(784, 256), nn.LeakyReLU(0.2), nn.Linear(256, 1)).to(device)
of_maker = torch.optim.Adam(makes.parameters(), 2e-4)
of_judge = torch.optim.Adam(judges.parameters(), 2e-4)
loss_of = nn.BCEWithLogitsLoss()
loader = DataLoader(TensorDataset(torch.rand(640, 784)), batch_size=64, num_workers=2)
for epoch in range(5):
    for (real,) in loader:
        real = real.to(device)
        ones, zeros = torch.ones(64, 1, device=device), torch.zeros(64, 1, device=device)
        judges.zero_grad()
        loss_of(judges(real), ones).backward()
        fake = makes(torch.randn(64, 64, device=device))
        loss_of(judges(fake.detach()), zeros).backward()
        of_judge.step()
        makes.zero_grad()
        loss = loss_of(judges(fake), ones)
        loss.backward()
        of_maker.step()
    with torch.no_grad():
        picture = makes(torch.randn(4, 64, device=device)).cpu().numpy() * 255
    print(f"{epoch} {loss:.3f} {picture.mean()}")
"""

AMP = """
import argparse, json, os
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, Dataset

class Data(Dataset):
    def __len__(self):
        return 400

    def __getitem__(self, i):
        return torch.randn(32), i % 10

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(32, 128)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(128, 128), nn.GELU()) for _ in range(3))
        self.last = nn.Linear(128, 10)
        nn.init.trunc_normal_(self.first.weight, std=0.02)

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False)
        return self.last(x)

parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int, default=8)
args = parser.parse_args()
torch.manual_seed(0)
torch.cuda.manual_seed_all(0)
os.makedirs("out", exist_ok=True)
net = torch.compile(Net().cuda())
optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
scaler = torch.amp.GradScaler("cuda")
train = DataLoader(Data(), args.batch_size, shuffle=True, num_workers=4, pin_memory=True)
test = DataLoader(Data(), 2 * args.batch_size)
best = 0.0
for epoch in range(3):
    net.train()
    for i, (x, y) in enumerate(train):
        x, y = x.to("cuda", non_blocking=True), y.to("cuda", non_blocking=True)
        with torch.autocast("cuda", dtype=torch.float16):
            loss = F.cross_entropy(net(x), y) / 2
        assert torch.isfinite(loss), "not finite"
        if torch.isnan(loss).any():
            raise SystemExit("nan")
        scaler.scale(loss).backward()
        if (i + 1) % 2 == 0:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            schedule.step()
    net.eval()
    right = seen = 0
    with torch.inference_mode():
        for x, y in test:
            right += (net(x.cuda()).argmax(1).cpu() == y).sum().item()
            seen += len(y)
    if right / seen > best:
        torch.save(net.state_dict(), "out/best.pt")
    with open("out/log.json", "w") as file:
        json.dump({"accuracy": right / seen, "memory": torch.cuda.max_memory_allocated()}, file)
"""

PROCESSES = """
import os
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

def worker(rank, world):
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT="12355")
    dist.init_process_group("nccl", rank=rank, world_size=world)
    torch.cuda.set_device(rank)
    model = DistributedDataParallel(nn.Linear(1024, 1024, bias=False).to(rank), device_ids=[rank])
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(10):
        optimizer.zero_grad()
        loss = model(torch.randn(8, 1024).cuda(rank)).pow(2).mean()
        loss.backward()
        optimizer.step()
        total = loss.detach().clone()
        dist.all_reduce(total)
    dist.destroy_process_group()

if __name__ == "__main__":
    mp.spawn(worker, args=(torch.cuda.device_count(),), nprocs=torch.cuda.device_count())
"""

MASKS = """
import torch
from torch import nn

model = nn.Linear(64, 64).cuda()
optimizer = torch.optim.AdamW(model.parameters(), fused=True)
for i in range(10):
    x, wanted = torch.randn(32, 64, device="cuda"), torch.randn(32, 64, device="cuda")
    mask = wanted > 0
    loss = ((model(x) - wanted)[mask] ** 2).mean()
    rows = torch.unique(torch.nonzero(mask)[:, 0])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""


def test_two_optimizers_make_one_step_and_the_pictures_between_are_followed(told, write_script):
    found = told(write_script(GAN))
    assert found["categories_at_peak"]["optimizer_state"] > 0
    assert any("array of values" in each for each in found["assumptions"])
    assert any("every batch is like the first: [64, 784]" in each for each in found["assumptions"])
    assert "inference" in {name for _, name in found["course"]["phases"]}


def test_amp_accumulation_checkpoints_workers_and_evaluation(told, write_script, tmp_path):
    found = told(write_script(AMP), "--batch-size", "16")
    said = " ".join(found["assumptions"])
    assert "every batch is like the first: [16, 32], [16]" in said
    assert "every batch is like the first: [32, 32], [32]" in said  # the loader of the evaluation
    assert "torch.compile is passed over" in said
    assert "the script failed" not in said
    phases = [name for _, name in found["course"]["phases"]]
    assert "inference" in phases
    assert not (tmp_path / "out").exists()


def test_a_group_of_processes_is_followed_as_one(told, write_script):
    found = told(write_script(PROCESSES))
    said = " ".join(found["assumptions"])
    assert "DistributedDataParallel is followed as one process of one" in said
    # The gradient, and the buckets that gradients are sent in.
    assert max(found["course"]["categories"]["gradient"]) >= 8 * MiB


def test_a_size_that_depends_on_values_is_the_largest_and_its_line_is_named(told, write_script):
    found = told(write_script(MASKS))
    assert any("script.py:10 depends on values" in each for each in found["assumptions"])
    assert found["categories_at_peak"]["parameter"] == (64 * 64 + 64) * 4 + 256  # in blocks


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("def f(:", "script.py:1: SyntaxError"),
        ("import torch\nraise ValueError('no data')", "script.py:2: ValueError: no data"),
        ("import torch\nprint('hello')", "called no model"),
        ("import os\nos._exit(3)", "called no model: there is nothing to estimate (the script "
         "ended itself with os._exit(3))"),
        ("n = input('steps? ')", "EOFError"),
        ("import torch\ntorch.nn.Linear(4, 4).to('cuda:7')", "invalid device ordinal"),
        ("import multiprocessing as m\nif __name__ == '__main__':\n    m.Pool(2)",
         "starts no process"),
        ("import multiprocessing as m\nif __name__ == '__main__':\n"
         "    m.get_context('spawn').Pool(2)", "starts no process"),
        ("import urllib.request as u\nu.urlopen('http://example.com')", "opens no connection"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
    ],
)  # fmt: skip
def test_a_script_that_cannot_be_followed_is_one_sentence(estimate, write_script, text, sentence):
    ended = estimate(write_script(text))
    assert ended.code == 1
    assert sentence in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stdout == ""


def test_a_script_that_never_ends_is_stopped(told, write_script):
    script = write_script(
        "import torch\nm = torch.nn.Linear(4, 4).cuda()\n"
        "m(torch.ones(2, 4).cuda()).sum().backward()\nwhile True:\n    pass\n"
    )
    found = told("--limit", "3", script)
    assert found["cut_off"].startswith("stopped after 3 s at script.py:")


def test_what_a_script_would_delete_is_still_there(estimate, write_script, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "a.txt").write_text("kept")
    (tmp_path / "b.txt").write_text("kept")
    script = write_script(
        "import os, shutil, torch\nshutil.rmtree('precious')\nos.remove('b.txt')\n"
        "open('b.txt', 'w').write('gone')\nassert open('b.txt').read() == 'gone'\n"
        "torch.nn.Linear(4, 4).cuda()(torch.ones(2, 4).cuda())\n"
    )
    assert estimate(script).code == 0
    assert (tmp_path / "precious" / "a.txt").read_text() == "kept"
    assert (tmp_path / "b.txt").read_text() == "kept"


def test_a_model_can_be_copied_wherever_it_is(told, write_script):
    script = """
import copy
import torch
from torch import nn

block = nn.Sequential(nn.Linear(512, 512, bias=False), nn.BatchNorm1d(512))
model = nn.Sequential(block, copy.deepcopy(block)).cuda()
average = copy.deepcopy(model).eval()
assert isinstance(average[0][0].weight, nn.Parameter) and average[0][0].weight.is_cuda
assert average[0][0].weight is not model[0][0].weight
assert not isinstance(average[0][1].running_mean, nn.Parameter)
assert copy.deepcopy(model.state_dict()).keys() == model.state_dict().keys()
tied = copy.deepcopy([block[0].weight, block[0].weight])
assert tied[0] is tied[1]
del tied
optimizer = torch.optim.SGD(model.parameters(), 0.1)
for step in range(1000):
    optimizer.zero_grad()
    model(torch.randn(64, 512).cuda()).sum().backward()
    optimizer.step()
    with torch.no_grad():
        for kept, new in zip(average.parameters(), model.parameters()):
            kept.mul_(0.99).add_(new, alpha=0.01)
"""
    found = told(write_script(script))
    # Two models of two blocks: 512x512 and twice 512 floats each.
    assert found["categories_at_peak"]["parameter"] == 2 * 2 * (512 * 512 + 2 * 512) * 4


CACHE = """
import torch

MiB = 1 << 20
first = torch.empty(100 * MiB, dtype=torch.uint8, device="cuda")
half = torch.empty(30 * MiB, dtype=torch.uint8, device="cuda")
small = torch.nn.Identity()(torch.empty(1000, dtype=torch.uint8, device="cuda"))
del first
{}
second = torch.empty(120 * MiB, dtype=torch.uint8, device="cuda")
"""


@pytest.mark.parametrize(
    ("line", "course"),
    [
        # Sizes of more than 10 MiB are segments of their own, of whole 2 MiB; small ones share 2.
        ("", [100, 130, 132, 132, 252]),
        ("torch.cuda.empty_cache()", [100, 130, 132, 132, 32, 152]),
    ],
)
def test_an_emptied_cache_is_no_longer_reserved(told, write_script, line, course):
    found = told(write_script(CACHE.format(line)))
    assert [each / MiB for each in found["course"]["reserved"]][: len(course)] == course
    assert found["peak_reserved"] == max(course) * MiB
    assert found["peak_allocated"] == 150 * MiB + 1024
    assert not any("empty_cache" in each for each in found["assumptions"])


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_a_packed_sequence_goes_through_one_kernel_as_its_rows_do(told, write_script, kind):
    script = """
import torch
from torch import nn

layer = nn.KIND(64, 128, num_layers=2, bidirectional=True).cuda()
optimizer = torch.optim.SGD(layer.parameters(), 0.1)
lengths = torch.tensor([200, 150, 100, 50])
for step in range(1000):
    x = torch.randn(200, 4, 64).cuda() if PACKED else torch.randn(500, 1, 64).cuda()
    if PACKED:
        x = nn.utils.rnn.pack_padded_sequence(x, lengths)
    out, state = layer(x)
    if PACKED:
        assert (state[0] if KIND else state).shape == (4, 4, 128)
        assert out.data.shape == (500, 256)
    optimizer.zero_grad()
    (out.data if PACKED else out).sum().backward()
    optimizer.step()
""".replace("nn.KIND", f"nn.{kind}").replace("if KIND", f"if {kind == 'LSTM'}")
    packed = told(write_script(script.replace("PACKED", "True"), "packed.py"))
    alike = told(write_script(script.replace("PACKED", "False"), "alike.py"))
    for found in (packed, alike):
        assert any("layers run by cuDNN" in each for each in found["assumptions"])
    # The padded batch stands beside the packed one; what cuDNN pads is not copied.
    between = packed["peak_allocated"] - alike["peak_allocated"]
    padded, copied = 200 * 4 * 64 * 4, 2 * 500 * (64 + 2 * 128) * 4
    assert -copied - MiB // 4 <= between <= padded + MiB // 4


def test_a_batch_by_name_is_input_and_a_weight_that_was_brought_alone_a_parameter(
    told, write_script
):
    script = write_script(
        """
import torch
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(256, 1024).cuda())
        self.conv = nn.Conv1d(1, 1, 3).cuda()

    def forward(self, x, y):
        return nn.functional.cross_entropy(self.conv(x[:, None])[:, 0, :256] @ self.weight, y)

torch.backends.cudnn.benchmark = True
model = Model()
optimizer = torch.optim.SGD(model.parameters())
for _ in range(100):
    batch = {"x": torch.randn(1024, 258), "y": torch.zeros(1024, dtype=torch.int64)}
    batch = {name: value.cuda() for name, value in batch.items()}
    optimizer.zero_grad()
    model(**batch).backward()
    optimizer.step()
"""
    )
    found = told(script)
    assert found["categories_at_peak"]["input"] >= 1024 * 258 * 4 + 1024 * 8
    assert found["categories_at_peak"]["parameter"] >= MiB
    assert any("cudnn.benchmark" in each for each in found["not_counted"])


def test_of_two_models_each_has_its_name_before_its_layers(told, write_script):
    script = write_script(
        """
import torch
from torch import nn

class First(nn.Sequential):
    pass

class Second(nn.Sequential):
    pass

first = First(nn.Linear(1024, 1024), nn.Sigmoid(), nn.Linear(1024, 1024)).cuda()
second = Second(nn.Linear(1024, 1024), nn.Sigmoid()).cuda()
one = torch.optim.SGD(first.parameters())
two = torch.optim.SGD(second.parameters())
x = torch.zeros(512, 1024).cuda()
for _ in range(100):
    loss = second(first(x)).sum()
    one.zero_grad()
    two.zero_grad()
    loss.backward()
    first[0](x)  # a layer called alone keeps its name
    one.step()
    two.step()
"""
    )
    layers = {each["layer"] for each in told(script, "--steps", "3")["alive_at_peak"]}
    named = {each for each in layers if each}
    assert {"First.1", "Second.1"} <= named
    assert all(each.startswith(("First.", "Second.")) for each in named)
