"""A Keras model on the command line of ``timeline estimate``."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

pytest.importorskip("torch")

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(find_spec("keras") is None, reason="keras is not installed"),
]


def test_a_keras_model_is_estimated_with_all_its_weights():
    command = [sys.executable, "-m", "timeline", "estimate", "keras:MobileNetV2", "--json"]
    command += ["--input", "96x96x3", "--batch", "2", "--optimizer", "sgd"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    at_peak = json.loads(done.stdout)["estimate"]["categories_at_peak"]
    # 3,538,984 weights and statistics of 4 bytes, each in a block of 512 bytes or more
    assert 3_538_984 * 4 <= at_peak["parameter"] + at_peak["buffer"] < 3_538_984 * 4 * 1.05
