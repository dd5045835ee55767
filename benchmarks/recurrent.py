"""The rule for cuDNN's recurrent layers beside what a cuDNN says: `python benchmarks/recurrent.py`.

  python benchmarks/recurrent.py [/path/to/libcudnn.so.9] [SEED] [COUNT]

``cudnnGetRNNTempSpaceSizes`` wants a handle, and there is none without a GPU: it is given empty
memory in its place. cuDNN 8.9.2 answers with success; 9.1 to 9.24 write both sizes and then return
an error of the CUDA runtime. A handle tells of the card, and an empty one of none: that no card
changes the sizes is not shown by this, only by the two sizes of a real one in decision 15.
"""

from __future__ import annotations

import ctypes
import os
import random
import sys
from statistics import median
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from timeline.theory.cuda.recurrent_kernel import MODES, Sizes
from timeline.theory.cudnn.asking import library

FLOAT, HALF, DOUBLE_BIAS = 0, 2, 2
SEQUENCES_OF_STEPS, PACKED = 0, 1


class Asked:
    """One library, asked through its public calls."""

    def __init__(self, path: str) -> None:
        self.library = ctypes.CDLL(path)
        self.version = self.library.cudnnGetVersion()
        self._empty = (ctypes.c_char * (1 << 20))()
        self._handle = ctypes.cast(self._empty, ctypes.c_void_p)

    def _made(self, what: str) -> Any:
        made = ctypes.c_void_p()
        assert not getattr(self.library, f"cudnnCreate{what}")(ctypes.byref(made)), what
        return made

    def sizes(self, asked: Sizes, lengths: list[int], *, train: bool) -> tuple[int, int]:
        """The reserve space and the workspace, in bytes."""
        drops = None
        if asked.dropout:
            drops, states = self._made("DropoutDescriptor"), (ctypes.c_char * (1 << 16))()
            at, size = ctypes.cast(states, ctypes.c_void_p), ctypes.c_size_t(1 << 16)
            self.library.cudnnRestoreDropoutDescriptor(
                drops, self._handle, ctypes.c_float(0.5), at, size, ctypes.c_ulonglong(0)
            )
        layer, rows = self._made("RNNDescriptor"), self._made("RNNDataDescriptor")
        half = asked.element == 2
        kind = HALF if half else FLOAT
        assert not self.library.cudnnSetRNNDescriptor_v8(
            layer, 0, asked.mode, DOUBLE_BIAS, asked.directions - 1, 0, kind, FLOAT, int(half),
            asked.width, asked.hidden, asked.out, asked.layers, drops, int(not asked.packed),
        )  # fmt: skip
        assert not self.library.cudnnSetRNNDataDescriptor(
            rows, kind, PACKED if asked.packed else SEQUENCES_OF_STEPS, asked.steps, asked.batch,
            asked.width, (ctypes.c_int * asked.batch)(*lengths), ctypes.byref(ctypes.c_double()),
        )  # fmt: skip
        work, reserve = ctypes.c_size_t(), ctypes.c_size_t()
        self.library.cudnnGetRNNTempSpaceSizes(
            self._handle, layer, int(train), rows, ctypes.byref(work), ctypes.byref(reserve)
        )
        return reserve.value, work.value


def any_layer(chance: random.Random) -> tuple[Sizes, list[int], bool]:
    """A layer, the lengths of its sequences, and whether it trains."""
    mode = chance.choice(list(MODES.values()))
    steps, batch = chance.choice([1, 7, 30, 100, 300]), chance.choice([1, 8, 32, 100, 256])
    hidden, layers = chance.choice([32, 64, 128, 200, 256, 512, 1024]), chance.choice([1, 2, 3, 4])
    out = hidden // chance.choice([1, 2, 4]) if mode == MODES["lstm"] else hidden
    packed, train = chance.random() < 0.2, chance.random() < 0.7
    lengths = [steps] * batch
    if packed:
        lengths = sorted((chance.randint(1, steps) for _ in lengths), reverse=True)
        lengths[0] = steps
    made = Sizes(
        mode=mode,
        steps=steps,
        batch=batch,
        rows=sum(lengths),
        packed=packed,
        width=chance.choice([16, 64, 100, 256, 512, 1024]),
        hidden=hidden,
        out=out,
        layers=layers,
        directions=chance.choice([1, 2]),
        element=chance.choice([4, 4, 2]),
        dropout=train and layers > 1 and chance.random() < 0.3,
    )
    return made, lengths, train


def main(path: str = "", seed: str = "1", count: str = "300") -> None:
    """Print how far the rule is from a cuDNN's own answers."""
    path = path or str(library() or "")
    if not path:
        sys.exit("no cuDNN is installed here: give the path of a libcudnn.so.9")
    asked, chance = Asked(path), random.Random(int(seed))
    kept: list[int] = []
    works: list[float] = []
    for _ in range(int(count)):
        layer, lengths, train = any_layer(chance)
        reserve, work = asked.sizes(layer, lengths, train=train)
        works.append(abs(layer.workspace(train=train) / work - 1))
        if train:
            kept.append(abs(layer.reserve() - reserve))
    works.sort()
    print(f"cuDNN {asked.version}, {count} layers by chance (seed {seed})")
    print(f"reserve space, {len(kept)} that train: at most {max(kept)} bytes beside")
    at = works[int(0.95 * len(works))]
    print(f"workspace: median {median(works):.2%}, p95 {at:.1%}, at most {works[-1]:.1%} beside")


if __name__ == "__main__":
    main(*sys.argv[1:])
