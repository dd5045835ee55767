"""Put a probe into a function's own code: the same function object, lines and frames, no wrapper.

A wrapper would show in every traceback that passes through it, shift ``warnings.warn(stacklevel=)``
by one, break what compares ``Module.__call__`` with what it was (torch.compile and torch.fx do),
and cost a call. So the function's source is compiled again with the probe around its body, every
statement at its own line and column, and the new code object takes the place of the old one in
``function.__code__``. The old one goes back in the end.

What is compiled without the probe must equal the function's code, down to the table of lines. A
function whose source is not at hand, or is not what runs, is left alone.
"""

from __future__ import annotations
import __future__

import ast
import copy
import inspect
from types import CodeType, FunctionType, ModuleType

_PROBE = "\0the probe"
"""A constant that stands for the probe in the source: the probe itself cannot be compiled."""

_AROUND = f"""
if torch.compiler.is_dynamo_compiling() or {_PROBE!r}.quiet.KIND:
    pass
else:
    {_PROBE!r}.BEGIN
    try:
        pass
    finally:
        {_PROBE!r}.end()
"""
# The question comes first for torch.compile: it knows the answer, and never sees the probe, which
# it could not compile. The body stands twice so that the common case pays for the question alone.

_BEFORE = f"""
if not (torch.compiler.is_dynamo_compiling() or {_PROBE!r}.quiet.KIND):
    {_PROBE!r}.BEGIN
"""

_RETURNED = f"None if {_PROBE!r}.watcher.done else {_PROBE!r}.returned()"
# Of all calls but those of a few steps nobody wants to know what they return: one look for these.


class CannotPlantError(Exception):
    """The function is better left alone; the message says why."""


def with_probe(
    function: FunctionType,
    probe: object,
    *,
    kind: str,
    begin: str,
    ends: bool,
    nested: str = "",
    returns: bool = False,
) -> CodeType:
    """The function's code with a probe in it.

    Args:
        function: a function written in Python, with its source at hand.
        probe: has ``quiet``, with one truth for each kind of phase, ``begin`` and ``end()``.
        kind: the attribute of ``probe.quiet`` that says not to tell the probe.
        begin: what to call on the probe before the body, such as ``call(self)``; a name in it is
            the function's own.
        ends: whether ``probe.end()`` is called when the body has ended, however it ends.
        nested: the name of a function defined in this one that is meant instead.
        returns: whether what the function returns goes through ``probe.returned(value)``, before
            ``probe.end()`` and unless ``probe.watcher.done``.

    Raises:
        CannotPlantError: there is no source, or it is not what runs.
    """
    code = function.__code__
    if "torch" in code.co_varnames + code.co_cellvars:
        raise CannotPlantError("what it calls torch is its own")
    tree, definition = _parse(function)
    flags = code.co_flags & __future__.annotations.compiler_flag
    if _compiled(tree, code, flags) != code:
        raise CannotPlantError("its source is not what runs")
    if nested:
        definition = next(
            node
            for node in ast.walk(definition)
            if isinstance(node, ast.FunctionDef) and node.name == nested
        )
    text = (_AROUND if ends else _BEFORE).replace("KIND", kind).replace("BEGIN", begin)
    _insert(definition, ast.parse(text).body[0], ends, returns)
    if "torch" not in function.__globals__:
        _import_torch(definition)
    return _filled_in(_compiled(tree, code, flags), probe)


def _parse(function: FunctionType) -> tuple[ast.Module, ast.FunctionDef]:
    """The tree of the function alone, at the lines that it has in its file."""
    code = function.__code__
    spec = function.__globals__.get("__spec__")
    get_source = getattr(getattr(spec, "loader", None), "get_source", None)
    try:
        source = get_source(spec.name) if get_source and spec else None
    except (ImportError, OSError) as error:
        raise CannotPlantError("its source is not here") from error
    if not source:
        raise CannotPlantError("its source is not here")
    first = code.co_firstlineno
    lines = [line + "\n" for line in source.split("\n")[first - 1 :]]
    text = "".join(inspect.getblock(lines)) if lines else ""
    # The compiler calls a method of what the module imported in another way than one of an object.
    header = [f"import {name}" for name in sorted(_imported(code, function.__globals__))]
    if text[:1].isspace():
        # Its class gives the block a place to be indented in, __class__ and the private names.
        header.append(f"class {function.__qualname__.split('.')[-2]}:")
    try:
        tree = ast.parse("\n".join([*header, text]))
    except SyntaxError as error:
        raise CannotPlantError("its source is not what runs") from error
    ast.increment_lineno(tree, first - 1 - len(header))
    top = tree.body[-1] if tree.body else None
    definition = top.body[0] if isinstance(top, ast.ClassDef) else top
    if not isinstance(definition, ast.FunctionDef):
        raise CannotPlantError("its source is not what runs")
    return tree, definition


def _imported(code: CodeType, names: dict[str, object]) -> set[str]:
    """Which of the module's names that the code reads come from another module."""
    found = {
        name
        for name in code.co_names
        if isinstance(names.get(name), ModuleType)
        or getattr(names.get(name), "__module__", names["__name__"]) != names["__name__"]
    }
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _imported(constant, names)
    return found


def _insert(definition: ast.FunctionDef, statement: ast.stmt, ends: bool, returns: bool) -> None:
    """Put the body of the function into the statement, and the statement into the function."""
    body = definition.body
    documented = ast.get_docstring(definition, clean=False) is not None
    head, body = body[:documented], body[documented:]
    for node in ast.walk(statement):
        if isinstance(node, (ast.stmt, ast.expr)):
            ast.copy_location(node, body[0])
    definition.body = [*head, statement]
    if not ends:
        definition.body += body
        return
    assert isinstance(statement, ast.If)
    around = statement.orelse[1]
    assert isinstance(around, ast.Try)
    statement.body = body
    around.body = [_Told().visit(copy.deepcopy(each)) for each in body] if returns else body


def _import_torch(definition: ast.FunctionDef) -> None:
    """For a function whose module does not know torch: torch.compile can follow an import."""
    (statement,) = ast.parse("import torch").body
    documented = ast.get_docstring(definition, clean=False) is not None
    first = definition.body[documented]
    for node in ast.walk(statement):
        if isinstance(node, (ast.stmt, ast.alias)):
            ast.copy_location(node, first)
    definition.body.insert(documented, statement)


class _Told(ast.NodeTransformer):
    """What is returned goes through the probe; its own place in the source stays as it is."""

    def visit_Return(self, node: ast.Return) -> ast.Return:
        if node.value is not None:
            choice = ast.parse(_RETURNED, mode="eval").body
            assert isinstance(choice, ast.IfExp)
            assert isinstance(choice.orelse, ast.Call)
            for each in ast.walk(choice):
                if isinstance(each, ast.expr):
                    ast.copy_location(each, node.value)
            choice.body, choice.orelse.args = node.value, [copy.deepcopy(node.value)]
            node.value = choice
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.Lambda:
        return node


def _compiled(tree: ast.Module, old: CodeType, flags: int) -> CodeType:
    whole = compile(tree, old.co_filename, "exec", flags, dont_inherit=True)
    found = _find(whole, old)
    if found is None or found.co_freevars != old.co_freevars:
        raise CannotPlantError("its source is not what runs")
    return found


def _find(code: CodeType, like: CodeType) -> CodeType | None:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if (constant.co_name, constant.co_firstlineno) == (like.co_name, like.co_firstlineno):
                return constant
            found = _find(constant, like)
            if found is not None:
                return found
    return None


def _filled_in(code: CodeType, probe: object) -> CodeType:
    """The code with the probe in the place of the constant that stands for it."""
    return code.replace(
        co_consts=tuple(
            _filled_in(constant, probe)
            if isinstance(constant, CodeType)
            else probe
            if isinstance(constant, str) and constant == _PROBE
            else constant
            for constant in code.co_consts
        )
    )
