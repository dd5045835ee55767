"""What torch asks about symbolic sizes, answered where every size is a number.

Operators on tensors without memory ask at each turn whether a comparison of sizes is known. For
numbers it is, and the answer is the number's or the truth value's own: for that torch would import
its arithmetic of symbols, and sympy with it (40 MiB). Each function below has its name from
``torch/fx/experimental/symbolic_shapes.py`` and answers as the one there does; whatever is no plain
value goes on to that one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

NAME = "torch.fx.experimental.symbolic_shapes"

_Real = Callable[[], Any]


def answers(real: _Real) -> dict[str, Any]:
    """By name, what can be answered without symbols.

    Args:
        real: brings torch's own module.
    """
    found: dict[str, Any] = {
        name: _of_truth(real, name)
        for name in ("guard_or_false", "guard_or_true", "guard_size_oblivious",
                     "statically_known_true", "guard_bool")
    }  # fmt: skip
    found["sym_and"] = _of_truths(real, "sym_and", all)
    found["sym_or"] = _of_truths(real, "sym_or", any)
    for name, answer in (("has_free_unbacked_symbols", False), ("has_free_symbols", False),
                         ("is_nested_int", False), ("is_symbolic", False),
                         ("has_guarding_hint", True),
                         ("_iterate_exprs", ()), ("_iterate_nodes", ())):  # fmt: skip
        found[name] = _without_symbols(real, name, answer)

    def sym_eq(x: Any, y: Any) -> Any:
        return _equal(x, y) if _numbers(x) and _numbers(y) else real().sym_eq(x, y)

    def guard_int(a: Any) -> Any:
        return a if type(a) is int else real().guard_int(a)

    def guarding_hint_or_throw(a: Any) -> Any:
        return a if type(a) in (int, bool) else real().guarding_hint_or_throw(a)

    def expect_true(a: Any, skip: int = 0) -> Any:
        return a if type(a) is bool else real().expect_true(a, skip + 1)

    def free_unbacked_symbols(x: Any) -> Any:
        return set() if _plain(x) else real().free_unbacked_symbols(x)

    def compute_unbacked_bindings(shape_env: Any, *args: Any, **kwargs: Any) -> Any:
        if shape_env is None:
            return None
        return real().compute_unbacked_bindings(shape_env, *args, **kwargs)

    class GuardOnDataDependentSymNode(RuntimeError):
        """Nothing raises it where there are no symbols; it is named in ``except`` clauses."""

    for each in (
        sym_eq, guard_int, guarding_hint_or_throw, expect_true, free_unbacked_symbols,
        compute_unbacked_bindings, GuardOnDataDependentSymNode,
    ):  # fmt: skip
        found[each.__name__] = each
    return found


def _of_truth(real: _Real, name: str) -> Any:
    def asked(a: Any) -> Any:
        return a if isinstance(a, bool) else getattr(real(), name)(a)

    return asked


def _of_truths(real: _Real, name: str, joined: Callable[..., bool]) -> Any:
    def asked(*values: Any) -> Any:
        if values and all(isinstance(each, bool) for each in values):
            return joined(values)
        return getattr(real(), name)(*values)

    return asked


def _without_symbols(real: _Real, name: str, answer: Any) -> Any:
    def asked(value: Any) -> Any:
        return answer if _plain(value) else getattr(real(), name)(value)

    return asked


def _plain(value: Any) -> bool:
    """Whether a value surely has no symbol in it."""
    if value is None or isinstance(value, int | float):
        return True
    if isinstance(value, tuple | list):
        return all(map(_plain, value))
    # Of a tensor; torch's own numbers of symbols have no such attribute.
    return getattr(value, "_has_symbolic_sizes_strides", True) is False


def _numbers(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, tuple | list) and all(map(_numbers, value)))


def _equal(x: Any, y: Any) -> bool:
    if isinstance(x, int) or isinstance(y, int):
        return bool(x == y)
    return len(x) == len(y) and all(map(_equal, x, y))
