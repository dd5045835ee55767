"""The samples of one GPU by NVIDIA's driver: what is used of it, by all and by the target.

NVML has no high-water mark: its peaks are the largest samples.
"""

from __future__ import annotations

import time

from timeline.recorder.probes.descent import Descent
from timeline.units import format_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from timeline.recorder.probes.visible import Place
    from timeline.recorder.streams import Row
    from timeline.recording.format import Fields

INTERVAL_NS = 100_000_000
"""A reading takes the driver's lock, which the target's own calls need too; what torch allocates is
told exactly by torch itself."""

SHARE = 0.02
MEMORY_V2 = 0x02000028
"""``nvmlMemory_v2``, for a pynvml that has no name for it."""

_NOT_EXACT = "NVML knows no high-water mark: peaks are the largest samples"


class GpuStream:
    """The samples of one GPU, or of one instance of it: a `timeline.recorder.streams.Stream`."""

    fields: Fields = (("t_ns", "<i8"), ("read_ns", "<u4"), ("used", "<i8"), ("process", "<i8"))

    def __init__(
        self, nvml: Any, handle: Any, place: Place, device: dict[str, object], descent: Descent
    ) -> None:
        """Look at its memory once.

        Args:
            nvml: the module pynvml, initialised.
            handle: of the device.
            place: the GPU's number and the instance's.
            device: what is known of it, for ``meta.json``.
            descent: tells which processes are the target's.
        """
        gpu, part = place
        self.name = f"gpu{gpu}" if part < 0 else f"gpu{gpu}.mig{part}"
        self.interval_ns = INTERVAL_NS
        self.share = SHARE
        self.told: list[str] = []
        self._nvml = nvml
        self._handle = handle
        self._descent = descent
        self._device = device
        self._memory_v2 = True
        self._listing = [self._function("Compute"), self._function("Graphics")]
        self._listed = False
        self._failing = ""
        self._failed = 0
        memory = self._memory()
        if memory is not None:
            device["total"] = int(memory.total)

    def channels(self) -> Mapping[str, Mapping[str, object]]:
        """The entries of ``meta.json``."""
        return {
            f"{self.name}.{value}": {
                "stream": self.name,
                "value": value,
                "unit": "byte",
                "source": "nvml",
                "exact": False,
                "reason": _NOT_EXACT,
                "device": self._device,
            }
            for value in ("used", "process")
        }

    def missing(self) -> Sequence[str]:
        """What could not be read so far."""
        told = list(self.told)
        if self._failed:
            many = "reading" if self._failed == 1 else "readings"
            told.append(f"{self.name}: {self._failed} {many} failed: {self._failing}")
        return told

    def about(self) -> str:
        """The device in a few words, such as ``NVIDIA H100 80GB HBM3, 79.6 GiB, as cuda0``."""
        total = self._device.get("total")
        words = [str(self._device["model"])]
        if isinstance(total, int):
            words.append(format_bytes(total))
        if "cuda" in self._device:
            words.append(f"as cuda{self._device['cuda']}")
        return ", ".join(words)

    def read(self) -> Row | None:
        """A row; an empty one where the driver gives no figure now."""
        begun = time.monotonic_ns()
        memory = self._memory()
        if memory is None:
            return ()
        process = self._of_the_target()
        t = time.monotonic_ns()
        return t, t - begun, int(memory.used), process

    def close(self) -> None:
        """NVML is let go of by the end of this process: other devices are still read."""

    def _memory(self) -> Any:
        """Total and used, or None where the driver does not tell them now."""
        nvml = self._nvml
        try:
            if self._memory_v2:
                try:
                    # The first version counts what the driver keeps for itself as used.
                    return nvml.nvmlDeviceGetMemoryInfo(self._handle, version=MEMORY_V2)
                except (nvml.NVMLError_FunctionNotFound, nvml.NVMLError_InvalidArgument, TypeError):
                    self._memory_v2 = False
            return nvml.nvmlDeviceGetMemoryInfo(self._handle)
        except nvml.NVMLError as error:
            self._failed += 1
            self._failing = said(error)
            return None

    def _of_the_target(self) -> int:
        """What the target and its children use, in bytes; -1 where it is not known."""
        total, ours = 0, False
        for function in self._listing:
            if function is None:
                continue
            try:
                running = function(self._handle)
            except self._nvml.NVMLError as error:
                return self._no_processes(said(error))
            for each in running:
                if not self._descent.holds(each.pid):
                    continue
                if each.usedGpuMemory is None:
                    return self._no_processes("the driver does not tell it for each process")
                ours = True
                total += int(each.usedGpuMemory)
        if self._listing == [None, None]:
            return self._no_processes("this driver is too old to list processes")
        self._listed = self._listed or ours
        if not self._listed and self._descent.foreign:
            return self._no_processes(
                "in this container NVML does not list the program by the number it has here"
            )
        return total

    def _no_processes(self, why: str) -> int:
        sentence = f"{self.name}.process: {why}; {self.name}.used is all that is known"
        if sentence not in self.told:
            self.told.append(sentence)
        return -1

    def _function(self, kind: str) -> Any:
        """What lists processes of a kind, by the newest version that this driver has."""
        nvml = self._nvml
        for version in ("_v3", "_v2"):
            function = getattr(nvml, f"nvmlDeviceGet{kind}RunningProcesses{version}", None)
            if function is None:
                continue
            try:
                function(self._handle)
            except nvml.NVMLError_FunctionNotFound:
                continue
            except nvml.NVMLError:  # it is told when it is read
                pass
            return function
        return None


def said(error: Exception) -> str:
    """An NVML error in its own words, such as ``Driver Not Loaded``."""
    return str(error).rstrip(".") or type(error).__name__
