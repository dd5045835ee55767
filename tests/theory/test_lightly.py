"""torch without its compiler and without symbols, in processes of their own: what is left out, and
what still works.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("torch")

pytestmark = pytest.mark.torch

BEFORE = "from timeline.theory.lightly import without_compiler; without_compiler()\n"


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_an_estimate_needs_no_compiler_and_is_the_same_without_it():
    code = """
import sys, torch, timeline
def make():
    layers = torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.Linear(288, 4)
    return torch.nn.Sequential(*layers)
made = timeline.estimate(make, "adamw", "3x8x8", batch=4, loss="cross_entropy")
print(made.peak_allocated, made.peak_reserved, "torch._dynamo.eval_frame" in sys.modules,
      "sympy.core" in sys.modules)
"""
    with_it, without = run(code).split(), run(BEFORE + code).split()
    assert without[:2] == with_it[:2]
    assert without[2:] == ["False", "False"]


def test_a_breakdown_on_the_command_line_is_the_same_without_the_compiler(tmp_path):
    (tmp_path / "small_model.py").write_text("""
import torch
def make():
    layers = torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.Linear(288, 4)
    return torch.nn.Sequential(*layers)
""")
    code = f"""
import sys
from timeline.cli.main import main
sys.path.insert(0, {str(tmp_path)!r})
words = "breakdown small_model:make --input 3x8x8 --optimizer adamw --json"
print(main(words.split()), "torch._dynamo.eval_frame" in sys.modules)
"""
    # Where torch is there already, nothing is kept out.
    with_it, without = run("import torch\n" + code), run(code)
    assert with_it.splitlines()[:-1] == without.splitlines()[:-1]
    assert [each.splitlines()[-1] for each in (with_it, without)] == ["0 True", "0 False"]


def test_whoever_wants_the_compiler_gets_the_real_one():
    found = run(
        BEFORE
        + """
import sys, torch
from torch._subclasses.fake_tensor import FakeTensorMode
FakeTensorMode()
import torch._dynamo
stood_in = "torch._dynamo.eval_frame" not in sys.modules
reset = torch._dynamo.reset
import torch._dynamo.eval_frame as inside, torch._dynamo as whole
print(stood_in, callable(reset), sys.modules["torch._dynamo"] is whole is torch._dynamo,
      whole.eval_frame is inside, whole.config is sys.modules["torch._dynamo.config"])
@torch.compile(backend="eager")
def twice(x):
    return x * 2
print(twice(torch.ones(1)).item())
"""
    )
    assert found.split() == ["True"] * 5 + ["2.0"]


def test_a_module_of_the_compiler_alone_brings_it_whole():
    found = run(
        BEFORE
        + """
import sys, torch
import torch._dynamo
from torch._dynamo.eval_frame import OptimizedModule
import torch._dynamo as whole
print(whole.eval_frame.OptimizedModule is OptimizedModule, "triton" in sys.modules
      and sys.modules["triton"] is None)
"""
    )
    assert found.split() == ["True", "False"]


def test_a_process_with_torch_in_it_is_left_alone():
    found = run("import sys, torch\nbefore = list(sys.meta_path)\n" + BEFORE
                + "print(sys.meta_path == before)")  # fmt: skip
    assert found == "True"


def test_whoever_wants_symbols_gets_the_real_ones():
    found = run(
        BEFORE
        + """
import sys, torch
from torch._subclasses.fake_tensor import FakeTensorMode
with FakeTensorMode():
    torch.ones(3) + torch.ones(3)
from torch.fx.experimental import symbolic_shapes as early
kept = early.guard_or_false
import sympy as early_sympy
stood_in = "sympy.core" not in sys.modules
from torch.fx.experimental.symbolic_shapes import ShapeEnv
env = ShapeEnv()
unknown = env.create_unbacked_symint()
print(stood_in, early.ShapeEnv is ShapeEnv, kept(unknown == 3), kept(True))
with FakeTensorMode(shape_env=env):
    x = torch.ones(unknown, 4)
    print(type((x + x).sum(1).shape[0]).__name__)
from sympy import *
import sympy, sympy.core.numbers
print(sympy.core.numbers is early_sympy.core.numbers, sympy.Basic is early_sympy.Basic,
      Symbol("x") + Symbol("x"), sympy.__version__ == early_sympy.__version__)
"""
    )
    assert found.split("\n") == ["True True False True", "SymInt", "True True 2*x True"]


def test_what_is_asked_of_plain_sizes_is_answered_as_torch_does():
    from torch.fx.experimental import symbolic_shapes as real

    from timeline.theory import plain_sizes

    def brings_it():
        raise AssertionError("a plain value needs no symbols")

    import torch

    made = plain_sizes.answers(brings_it)
    tensor, sizes = torch.ones(2, 3), torch.Size([2, 3])
    truths = [(True,), (False,)]
    asked = {
        "guard_or_false": truths, "guard_or_true": truths, "guard_size_oblivious": truths,
        "statically_known_true": truths, "guard_bool": truths,
        "sym_and": [*truths, (True, True, False), (True, True)],
        "sym_or": [*truths, (False, False), (False, True)],
        "sym_eq": [(2, 2), (2, 3), (sizes, [2, 3]), (sizes, (2, 4)), ((), (1,)), ([[1]], [[1]])],
        "guard_int": [(3,)],
        "guarding_hint_or_throw": [(3,), (True,)],
        "expect_true": truths,
        "is_nested_int": [(3,), (2.5,)],
        "is_symbolic": [(3,), (2.5,)],
        "has_guarding_hint": [(3,), (True,)],
    }  # fmt: skip
    values = [(tensor,), ([tensor, None, 3],), (sizes,), (None,), (2.5,)]
    for name in ("has_free_unbacked_symbols", "has_free_symbols", "free_unbacked_symbols",
                 "_iterate_exprs", "_iterate_nodes"):  # fmt: skip
        asked[name] = values
    asked["compute_unbacked_bindings"] = [(None, tensor)]
    for name, calls in asked.items():
        for arguments in calls if hasattr(real, name) else ():  # torch's versions differ
            theirs, ours = getattr(real, name)(*arguments), made[name](*arguments)
            if not isinstance(theirs, bool | int | None):  # sets, and iterators over nothing
                theirs, ours = list(theirs), list(ours)
            assert ours == theirs, (name, arguments)
    assert set(made) - set(asked) == {"GuardOnDataDependentSymNode"}
    with pytest.raises(AssertionError, match="symbols"):
        made["guard_or_false"](torch.SymBool(None))
