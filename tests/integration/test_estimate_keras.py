"""A Keras model on the command line of ``timeline estimate``."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest.importorskip("torch")
pytest.importorskip("keras")

pytestmark = pytest.mark.torch


def test_a_keras_model_is_estimated_with_all_its_weights():
    words = "estimate keras:MobileNetV2 --input 96x96x3 --batch 2 --optimizer sgd --json".split()
    done = subprocess.run(
        [sys.executable, "-m", "timeline", *words], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-2000:]
    at_peak = json.loads(done.stdout)["estimate"]["categories_at_peak"]
    # 3,538,984 weights and statistics of 4 bytes, each in a block of 512 bytes or more
    assert 3_538_984 * 4 <= at_peak["parameter"] + at_peak["buffer"] < 3_538_984 * 4 * 1.05
