"""Scripted GPUs: the real pynvml on a library of ours in the place of the driver's."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).parent / "standin" / "nvml.c"
GIB = 1 << 30


def compiler() -> str | None:
    """A C compiler, if one is installed."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def build(directory: Path, *options: str) -> Path:
    """Compile the library; returns the directory to put on ``LD_LIBRARY_PATH``."""
    directory.mkdir(parents=True, exist_ok=True)
    library = directory / "libnvidia-ml.so.1"
    command = [compiler() or "cc", "-O1", "-shared", "-fPIC"]
    command += [f"-Wl,-soname,{library.name}", *options, "-o", str(library), str(SOURCE)]
    subprocess.run(command, check=True, capture_output=True)
    return directory


@dataclass
class Gpu:
    """One device of the script, sizes in bytes."""

    uuid: str
    used: int = 0
    total: int = 80 * GIB
    reserved: int = 600 << 20
    model: str = "NVIDIA H100 80GB HBM3"
    processes: dict[int, int] = field(default_factory=dict)
    instances: dict[int, tuple[str, int, int]] = field(default_factory=dict)


class Gpus:
    """The script of the library: what `write` says is what the next call of NVML answers."""

    def __init__(self, path: Path, library: Path, *gpus: Gpu) -> None:
        self.path = path
        self.library = library
        self.gpus = list(gpus)
        self.fails: dict[str, int] = {}
        self.sleeps: dict[str, float] = {}
        self.write()

    @property
    def environ(self) -> dict[str, str]:
        """What a process needs in its environment to find them."""
        return {"LD_LIBRARY_PATH": str(self.library), "STANDIN_NVML": str(self.path)}

    def write(self) -> None:
        """Let it be so from now on, at once and as a whole."""
        lines = []
        for i, gpu in enumerate(self.gpus):
            lines.append(f"gpu {i} {gpu.uuid} {gpu.total} {gpu.reserved} {gpu.used} {gpu.model}")
            for part, (uuid, total, used) in gpu.instances.items():
                lines.append(f"mig {i} {part} {uuid} {total} {used}")
            lines += [f"process {i} {pid} {size}" for pid, size in gpu.processes.items()]
        lines += [f"fail {name} {code}" for name, code in self.fails.items()]
        lines += [f"sleep {name} {seconds}" for name, seconds in self.sleeps.items()]
        new = self.path.with_suffix(".new")
        new.write_text("\n".join(lines) + "\n")
        os.replace(new, self.path)

    @contextmanager
    def here(self) -> Iterator[None]:
        """Their environment in this process, for a process that is started from it."""
        before = dict(os.environ)
        os.environ.update(self.environ)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def apart_from_gpus(missing: tuple[str, ...]) -> tuple[str, ...]:
    """Without what is said on a machine that has no GPU, as most that run the tests."""
    return tuple(sentence for sentence in missing if not sentence.startswith("no GPU: "))
