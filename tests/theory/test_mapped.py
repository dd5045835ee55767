"""What loading libraries leaves behind, given back: how much it is, and that all still works."""

from __future__ import annotations

import subprocess
import sys

import pytest
from running import clean_environment

pytest.importorskip("torch")

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of mappings"),
]


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True, text=True, timeout=240, env=clean_environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_most_of_what_is_mapped_of_libraries_goes_and_comes_again_where_it_is_needed():
    found = run(
        """
import torch
from timeline.theory.mapped import forget_libraries
def mapped():
    with open("/proc/self/status") as lines:
        return next(int(each.split()[1]) for each in lines if each.startswith("RssFile")) * 1024
torch.manual_seed(0)
def work():
    x = torch.randn(2, 3, 16, 16, requires_grad=True)
    layers = torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(784, 5)
    torch.nn.Sequential(*layers)(x).sum().backward()
    return bool(x.grad.isfinite().all()), torch.linalg.svd(torch.eye(3)).S.tolist()
before, early = mapped(), work()
given = forget_libraries()
print(given > before // 2, mapped() < before // 2, early == work() == (True, [1.0] * 3))
"""
    )
    assert found == "True True True"


def test_an_estimate_has_little_more_resident_than_importing_torch_takes():
    # By getrusage a process starts with the peak of the one that it was forked from.
    peak = "; print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    alone = int(run("import torch" + peak))
    estimate = (
        "import sys; from timeline.cli.main import main; "
        "sys.stdout, kept = open('/dev/null', 'w'), sys.stdout; "
        "main(['estimate', 'torchvision:resnet18', '--input', '3x64x64', '--optimizer', 'adamw']); "
        "sys.stdout = kept"
    )
    pytest.importorskip("torchvision")
    assert int(run(estimate + peak)) < alone + 64 * 1024
