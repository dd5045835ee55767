"""What an environment, an option or the script itself tells torch's allocator is heard."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.torch

SCRIPT = """
import os
{first}
import torch

model = torch.nn.Linear(1024, 1024).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(10):
    optimizer.zero_grad()
    model(torch.randn(800, 1024, device="cuda")).square().mean().backward()
    optimizer.step()
"""


@pytest.fixture(autouse=True)
def no_settings_of_this_shell(monkeypatch):
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def reserved(estimate):
    def run_it(first: str = "", *words: str) -> int:
        ended = estimate(SCRIPT.replace("{first}", first), *words)
        assert ended.code == 0, ended.stderr
        return json.loads(ended.stdout)["estimate"]["peak_reserved"]

    return run_it


def test_a_script_tells_the_allocator_and_the_option_goes_first(reserved):
    sets = 'os.environ["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:True"'
    plain, told = reserved(), reserved(sets)
    assert told < plain  # 2 MiB at a time, and not segments of 20
    assert reserved(sets, "--allocator", "max_split_size_mb:512") == plain


def test_a_text_that_torch_would_end_the_program_over_is_one_sentence(estimate, monkeypatch):
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "nonsense")
    ended = estimate("import torch")
    assert ended.code == 2
    assert ended.stderr.startswith("timeline: PYTORCH_CUDA_ALLOC_CONF=nonsense: allocator option")
