"""Asks cuDNN's heuristics, in a process beside, which workspaces convolutions would take on a card.

The answers depend on the card's compute capability alone: clocks, multiprocessors, caches and sizes
were varied, and no answer changed. The rest of a device's description is nominal.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from timeline.theory.tape import Convolution

VARIABLE = "TIMELINE_CUDNN"
"""The path of another ``libcudnn.so.9``; empty for none."""

LIMIT_S = 120.0
"""A convolution takes some 5 ms, and its libraries half a second from a disk's cache."""

PROGRAM = Path(__file__).with_name("backend.py")

SHARED = {(7, 5): 65536, (8, 0): 166912, (8, 6): 101376, (8, 7): 166912, (8, 9): 101376,
          (9, 0): 232448, (10, 0): 232448, (10, 3): 232448, (12, 0): 101376}  # fmt: skip
"""Bytes of shared memory that a block may ask for (CUDA C++ Programming Guide)."""


def described(capability: tuple[int, int]) -> dict[str, Any]:
    """A device of a compute capability, in the words of cuDNN's own descriptions.

    The words are those that OpenXLA gives it for the same end, whose test holds them against what
    cuDNN itself writes of a card that is there (xla/backends/gpu/target_config/
    cudnn_device_props.cc and its test).
    """
    return {
        "deviceVer": capability[0] * 100 + capability[1] * 10,
        "maxSharedMemoryPerBlockOptin": SHARED.get(capability, 101376),
        "maxGridSize": [2**31 - 1, 65535, 65535],
        "maxBlockSize": [1024, 1024, 64],
        "regsPerBlock": 65536,
        "multiProcessorCount": 80,
        "warpSize": 32,
        "maxSharedMemoryPerBlock": 49152,
        "reservedSharedMemoryPerBlock": 1024,
        "maxRegistersPerSM": 65536,
        "maxCtasPerSM": 16,
        "maxThreadsPerBlock": 1024,
        "maxThreadsPerSM": 1536,
        "pciDeviceId": 0,
        "isTccDriver": 0,
        "supportCoopLaunch": 1,
        "totalGlobalMem": 16 << 30,
        "smClockRateKHz": 1_500_000,
        "memClockRateKHz": 7_000_000,
        "l2CacheSize": 4 << 20,
        "deviceName": "described",
        "cudaDeviceId": 0,
        "driverVer": 13000,
    }


def library() -> Path | None:
    """The cuDNN that torch's CUDA wheel brings, or that is installed as a package of its own."""
    said = os.environ.get(VARIABLE)
    if said is not None:
        return Path(said) if said else None
    with contextlib.suppress(ImportError, ValueError):
        spec = find_spec("nvidia.cudnn")
        for home in (spec.submodule_search_locations or ()) if spec else ():
            for path in sorted(Path(home, "lib").glob("libcudnn.so.*")):
                return path
    return None


@dataclass(frozen=True, slots=True)
class Answers:
    """What cuDNN said.

    Attributes:
        version: such as ``9.24.0``.
        workspaces: by convolution, those of the kernels that would be tried, in their order; a
            convolution that it did not understand is missing.
    """

    version: str
    workspaces: Mapping[Convolution, tuple[int, ...]]


def ask(capability: tuple[int, int], convolutions: Iterable[Convolution]) -> Answers | None:
    """Ask the cuDNN that is installed; None where there is none that answers without a device."""
    path = library()
    wanted = list(dict.fromkeys(convolutions))
    if path is None:
        return None
    question = json.dumps([described(capability), [each.as_value() for each in wanted]])
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(PROGRAM), str(path)],
            input=question,
            capture_output=True,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},  # it is to start no CUDA
            encoding="ascii",
            timeout=LIMIT_S,
            check=True,
        )
        version, found = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return Answers(
        f"{version // 10000}.{version // 100 % 100}.{version % 100}",
        {each: tuple(sizes) for each, sizes in zip(wanted, found, strict=True) if sizes},
    )


def to_try(sizes: Sequence[int]) -> tuple[int, ...]:
    """Of the workspaces in their order, those that are worth trying when the one before failed."""
    kept: list[int] = []
    for size in sizes:
        if not kept or size < kept[-1]:
            kept.append(size)
    return tuple(kept)
