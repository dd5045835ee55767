"""cuDNN's heuristics behind a pipe: a program of its own, which imports the standard library alone.

  python backend.py /path/to/libcudnn.so.9

Its input is a JSON list: the description of a device, and convolutions. Its output is one, too:
cuDNN's version, and for each convolution the workspaces, in bytes, of the kernels that cuDNN would
try, in its order; null where it has none.

cuDNN answers for a device that is described instead of being there (since 9.8; NVIDIA, cuDNN
Frontend, "Deviceless Ahead-of-time Compilation"). It may look for the driver's library, but it is
given no device to see, and makes no context. The numbers below are those of ``cudnn_graph.h``,
which stay the same within a major version. What is asked is what torch asks
(aten/src/ATen/native/cudnn/Conv_v8.cpp): the heuristics of mode INSTANT, then those of mode
FALLBACK, without kernels that round their inputs.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

CONVOLUTION, ENGINE, ENGINE_CONFIG, HEURISTICS = 1, 2, 3, 4
FORWARD, WEIGHT_GRADIENT, INPUT_GRADIENT, GRAPH, TENSOR, DEVICE = 10, 11, 12, 15, 17, 38
"""Kinds of descriptors."""

DATA_TYPE, INT64, FLOAT, MODE, HEURISTIC, NOTE, DESCRIPTOR, CHAR = 1, 3, 4, 7, 8, 11, 15, 24
"""Types of attributes."""

DTYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 9}
INSTANT, FALLBACK = 0, 2
ROUNDS_ITS_INPUTS = 1
ALIGNMENT = 32
"""torch counts no further, and its allocator's blocks begin at multiples of 512."""

OPERATIONS = {
    # kind: its descriptor, its first attribute (alpha), and those of its three tensors
    "forward": (FORWARD, 700, {"w": 703, "x": 704, "y": 705}),
    "input gradient": (INPUT_GRADIENT, 706, {"w": 709, "x": 710, "y": 711}),
    "weight gradient": (WEIGHT_GRADIENT, 712, {"w": 715, "x": 716, "y": 717}),
}


class Refused(Exception):
    """cuDNN says no."""


class Backend:
    """cuDNN's library.

    Args:
        path: of ``libcudnn.so.9``.
    """

    def __init__(self, path: str) -> None:
        self.library = ctypes.CDLL(path)
        self.library.cudnnGetErrorString.restype = ctypes.c_char_p

    def done(self, status: int) -> None:
        """Raise where a call did not succeed."""
        if status:
            raise Refused(self.library.cudnnGetErrorString(status).decode())


class Descriptor:
    """One of cuDNN's descriptors; what it refers to lives as long as it does."""

    def __init__(self, backend: Backend, kind: int) -> None:
        self.backend = backend
        self.kept: list[Any] = []
        self.pointer = ctypes.c_void_p()
        backend.done(backend.library.cudnnBackendCreateDescriptor(kind, ctypes.byref(self.pointer)))

    def __del__(self) -> None:
        self.backend.library.cudnnBackendDestroyDescriptor(self.pointer)

    def set(self, attribute: int, kind: int, values: Any, ctype: Any) -> None:
        """Set an attribute of numbers."""
        array = (ctype * len(values))(*values)
        self.kept.append(array)
        self._set(attribute, kind, len(values), array)

    def point(self, attribute: int, *others: Descriptor) -> None:
        """Set an attribute of descriptors."""
        array = (ctypes.c_void_p * len(others))(*(each.pointer for each in others))
        self.kept.append((array, others))
        self._set(attribute, DESCRIPTOR, len(others), array)

    def _set(self, attribute: int, kind: int, count: int, array: Any) -> None:
        call = self.backend.library.cudnnBackendSetAttribute
        self.backend.done(call(self.pointer, attribute, kind, ctypes.c_int64(count), array))

    def finished(self) -> Descriptor:
        """Check it, and make it ready."""
        self.backend.done(self.backend.library.cudnnBackendFinalize(self.pointer))
        return self

    def get(self, attribute: int, kind: int, most: int, array: Any) -> int:
        """Read an attribute into an array; returns how many there are."""
        count = ctypes.c_int64()
        call = self.backend.library.cudnnBackendGetAttribute
        size = ctypes.c_int64(most)
        self.backend.done(call(self.pointer, attribute, kind, size, ctypes.byref(count), array))
        return count.value


def device(backend: Backend, described: dict[str, Any]) -> Descriptor:
    """The descriptor of a described device."""
    text = json.dumps(described).encode("ascii")
    made = Descriptor(backend, DEVICE)
    made.set(2702, CHAR, text + b"\0", ctypes.c_char)
    return made.finished()


def strides(sizes: list[int], channels_last: bool) -> list[int]:
    """Of a tensor without gaps."""
    order = list(range(len(sizes)))
    if channels_last:
        order = [0, *order[2:], 1]
    found, step = [0] * len(sizes), 1
    for at in reversed(order):
        found[at] = step
        step *= sizes[at]
    return found


def graph(backend: Backend, asked: dict[str, Any]) -> Descriptor:
    """The graph of one convolution."""
    spatial = len(asked["stride"])
    how = Descriptor(backend, CONVOLUTION)
    how.set(100, DATA_TYPE, [DTYPES["float32"]], ctypes.c_int)
    how.set(101, MODE, [1], ctypes.c_int)
    how.set(106, INT64, [spatial], ctypes.c_int64)
    for attribute, name in ((102, "dilation"), (103, "stride"), (104, "padding"), (105, "padding")):
        how.set(attribute, INT64, asked[name], ctypes.c_int64)
    kind, alpha, tensors = OPERATIONS[asked["kind"]]
    operation = Descriptor(backend, kind)
    operation.set(alpha, FLOAT, [1.0], ctypes.c_float)
    operation.set(alpha + 1, FLOAT, [0.0], ctypes.c_float)
    operation.point(alpha + 2, how.finished())
    for number, (name, attribute) in enumerate(tensors.items()):
        sizes = asked[name]
        tensor = Descriptor(backend, TENSOR)
        tensor.set(900, INT64, [ALIGNMENT], ctypes.c_int64)
        tensor.set(901, DATA_TYPE, [DTYPES[asked["dtype"]]], ctypes.c_int)
        tensor.set(902, INT64, sizes, ctypes.c_int64)
        tensor.set(903, INT64, strides(sizes, asked["channels_last"]), ctypes.c_int64)
        tensor.set(906, INT64, [number + 1], ctypes.c_int64)
        operation.point(attribute, tensor.finished())
    made = Descriptor(backend, GRAPH)
    made.point(801, operation.finished())
    return made.finished()


def workspaces(backend: Backend, on: Descriptor, of: Descriptor, mode: int) -> list[int]:
    """Of the kernels that the heuristics of one mode name, in their order."""
    heuristics = Descriptor(backend, HEURISTICS)
    heuristics.point(201, of)
    heuristics.set(200, HEURISTIC, [mode], ctypes.c_int)
    heuristics.point(204, on)
    heuristics.finished()
    count = heuristics.get(202, DESCRIPTOR, 0, None)
    configs = [Descriptor(backend, ENGINE_CONFIG) for _ in range(count)]
    array = (ctypes.c_void_p * count)(*(each.pointer for each in configs))
    found = []
    for config in configs[: heuristics.get(202, DESCRIPTOR, count, array)]:
        engine = Descriptor(backend, ENGINE)
        config.get(300, DESCRIPTOR, 1, (ctypes.c_void_p * 1)(engine.pointer))
        notes = (ctypes.c_int * 64)()
        noted = engine.get(1303, NOTE, 64, notes)
        size = (ctypes.c_int64 * 1)()
        config.get(303, INT64, 1, size)
        if ROUNDS_ITS_INPUTS not in notes[:noted]:
            found.append(size[0])
    return found


def answer(backend: Backend, on: Descriptor, asked: dict[str, Any]) -> list[int] | None:
    """The workspaces for one convolution."""
    try:
        of = graph(backend, asked)
    except Refused:
        return None
    found = []
    for mode in (INSTANT, FALLBACK):
        try:
            found += workspaces(backend, on, of, mode)
        except Refused:
            continue
    return found or None


def main() -> None:
    """Answer."""
    backend = Backend(sys.argv[1])
    described, questions = json.load(sys.stdin)
    try:
        on = device(backend, described)
    except Refused:
        found: list[list[int] | None] = [None] * len(questions)
    else:
        found = [answer(backend, on, each) for each in questions]
    json.dump([backend.library.cudnnGetVersion(), found], sys.stdout)


if __name__ == "__main__":
    main()
