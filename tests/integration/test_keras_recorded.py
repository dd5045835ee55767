"""Keras on torch is recorded as torch is: phases, steps and what is held."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from running import run

import timeline
from timeline.analysis.analyze import analyze

if TYPE_CHECKING:
    from timeline.analysis.types import Analysis

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(
        importlib.util.find_spec("keras") is None, reason="keras is not installed: extra 'keras'"
    ),
]

TRAINS = """
import hashlib, os
os.environ["KERAS_BACKEND"] = "torch"
import numpy as np
import keras
from keras import layers

keras.utils.set_random_seed(0)
told = hashlib.sha256()
def tell(model):
    for each in (*model.get_weights(), *(np.array(v) for v in model.optimizer.variables)):
        told.update(np.ascontiguousarray(each).tobytes())

# Sequential: the one that is weighed. Its loss and metrics are compiled, and it has a validation.
x, y = np.random.rand(192, 64).astype("float32"), np.random.randint(0, 10, 192)
model = keras.Sequential([keras.Input((64,)), layers.Dense(256, activation="relu", name="wide"),
                          layers.BatchNormalization(name="norm"), layers.Dropout(0.2),
                          layers.Dense(10, name="head")])
model.compile(keras.optimizers.Adam(0.01, use_ema=True),
              keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(x[:128], y[:128], batch_size=64, epochs=2, verbose=0,
          validation_data=(x[128:], y[128:]))
told.update(model.predict(x[:64], batch_size=32, verbose=0).tobytes())
tell(model)
print("bytes", sum(v.value.nbytes for v in model.variables if "seed" not in v.path),
      sum(v.value.nbytes for v in model.trainable_variables),
      sum(v.value.nbytes for v in model.optimizer.variables))

# Functional, in mixed precision, whose gradients add up over two batches; data of a PyDataset.
class Data(keras.utils.PyDataset):
    def __len__(self):
        return 2
    def __getitem__(self, number):
        return np.full((4, 8, 8, 3), number, "float32"), np.zeros((4, 2), "float32")
image = keras.Input((8, 8, 3))
hidden = layers.Conv2D(4, 3, dtype="mixed_bfloat16")(image)
out = layers.Dense(2, dtype="float32")(layers.Flatten()(hidden))
net = keras.Model(image, out)
net.compile(keras.optimizers.SGD(0.1, momentum=0.9, gradient_accumulation_steps=2), "mse")
net.fit(Data(), verbose=0)
tell(net)

# A subclass with a step of its own, whose optimizer keeps losses from overflowing.
class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner = [layers.Dense(4), layers.Dense(1)]
    def call(self, x):
        return self.inner[1](self.inner[0](x))
    def train_step(self, data):
        x, y = data
        self.zero_grad()
        loss = self.compute_loss(x=x, y=y, y_pred=self(x, training=True))
        self.optimizer.scale_loss(loss).backward()
        trained = self.trainable_weights
        self.optimizer.apply_gradients([(v.value.grad, v) for v in trained])
        return {"loss": loss}
own = Own()
own.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.RMSprop(0.01)), "mse")
own.fit(x[:8], x[:8, :1], batch_size=4, verbose=0)
tell(own)
print("told", told.hexdigest())
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Analysis, Path]:
    where = tmp_path_factory.mktemp("keras")
    (where / "trains.py").write_text(TRAINS)
    done = run(
        [sys.executable, "-m", "timeline", "--anatomy=2", "-o", "r", "--no-charts", "trains.py"],
        cwd=where,
    )
    assert done.code == 0, done.stderr
    return done.stdout, analyze(timeline.load(where / "r")), where


def test_results_are_the_same_to_the_bit(recorded: tuple[str, Analysis, Path]) -> None:
    output, _, where = recorded
    alone = run([sys.executable, "trains.py"], cwd=where)
    assert alone.code == 0, alone.stderr
    assert "told" in alone.stdout
    assert output.startswith(alone.stdout)


def test_each_batch_is_a_step_and_what_builds_a_model_is_none(
    recorded: tuple[str, Analysis, Path],
) -> None:
    _, analysis, _ = recorded
    counted = Counter({each.path: each.count for each in analysis.phases})
    # Four, two and two batches, each with a forward, a loss, a backward and an optimizer's step.
    for path in ("step/forward", "step/loss", "step/backward", "step/optimizer"):
        assert counted[path] == 8, path
    assert counted["inference"] == 2 + 2  # validated twice, and two batches predicted
    assert counted["data"] >= 8 + 4


def test_the_parts_are_what_the_variables_have(recorded: tuple[str, Analysis, Path]) -> None:
    output, analysis, _ = recorded
    parameters, trained, states = map(int, output.split("bytes ")[1].split("\n")[0].split())
    anatomy = analysis.anatomy
    assert anatomy is not None
    assert anatomy.weighed.step == 2
    forward = anatomy.of("step/forward")
    step = anatomy.of("step/optimizer")
    assert forward is not None
    assert step is not None
    assert parameters == 4 * (64 * 256 + 256 + 4 * 256 + 256 * 10 + 10)
    assert forward["parameter"].measured == parameters
    assert forward["parameter"].residual == 0
    assert step["gradient"].measured == trained
    assert states == 3 * trained + 8  # Adam's two moments, the average, iterations and rate
    assert step["optimizer_state"].measured == states
    assert step["optimizer_state"].residual == 0
    kinds = {layer.name: layer for layer in anatomy.weighed.layers}
    assert kinds["wide"].parameter == 4 * (64 * 256 + 256)
    assert kinds["norm"].parameter == 4 * 4 * 256
    assert kinds["head"].gradient == 4 * (256 * 10 + 10)
    # A Dense saves what it is given, beside what its activation saves; its batch is an input.
    assert kinds["wide"].activation == 64 * 256 * 4
    assert anatomy.weighed.layers[0].kind == "Sequential"
    assert not any("no anatomy" in each or "no phases" in each for each in analysis.missing)


def test_another_backend_is_left_alone(tmp_path: Path) -> None:
    # Keras on numpy needs jax, too: where that is missing, the program ends as it does alone.
    (tmp_path / "foreign.py").write_text(
        "import os, torch\n"
        "os.environ['KERAS_BACKEND'] = 'numpy'\n"
        "import numpy as np, keras\n"
        "model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])\n"
        "model.compile(loss='mse')\n"
        "print(model.predict(np.zeros((8, 4), 'float32'), verbose=0).sum())\n"
    )
    alone = run([sys.executable, "foreign.py"], cwd=tmp_path)
    command = [
        sys.executable,
        "-m",
        "timeline",
        "--anatomy=2",
        "-o",
        "r",
        "--no-charts",
        "foreign.py",
    ]
    done = run(command, cwd=tmp_path)
    assert done.code == alone.code
    assert done.stdout.startswith(alone.stdout)
    assert [line for line in alone.stderr.split("\n") if line not in done.stderr] == []
    recording = timeline.load(tmp_path / "r")
    assert recording.series
    assert not any("keras" in each.lower() for each in recording.missing)
