"""GPUs as NVIDIA's driver sees them: what is used of each, by whomever, and by the target.

By ``pynvml`` of the distribution ``nvidia-ml-py``, in the process of the sampler only. Where there
is no driver nothing is imported: the look for its library costs 0.2 ms. Nothing here creates a CUDA
context, and NVML has no high-water mark: its peaks are the largest samples.
"""

from __future__ import annotations

import os
import time

from timeline.recorder.probes.descent import Descent
from timeline.recorder.probes.visible import visible
from timeline.recorder.streams import Unavailable
from timeline.units import format_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from timeline.recorder.probes.visible import Place
    from timeline.recorder.streams import Row, Watched
    from timeline.recording.format import Fields

INTERVAL_NS = 100_000_000
"""A reading takes the driver's lock, which the target's own calls need too; what torch allocates is
told exactly by torch itself."""

SHARE = 0.02
MOST_GPUS = 16
MEMORY_V2 = 0x02000028
"""``nvmlMemory_v2``, for a pynvml that has no name for it."""

_NOT_EXACT = "NVML knows no high-water mark: peaks are the largest samples"


def open_stream(watched: Watched) -> list[GpuStream]:
    """A stream for each GPU that the target may see.

    Raises:
        Unavailable: there is none, or it cannot be read; the message is the sentence.
    """
    why = why_no_driver()
    if why:
        raise Unavailable(why)
    if watched.guest:
        raise Unavailable("no GPU: NVML is read from a process beside the program alone")
    try:
        import pynvml
    except ImportError as error:
        raise Unavailable(
            f"no GPU: pynvml cannot be imported ({error}): install nvidia-ml-py"
        ) from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise Unavailable(f"no GPU: NVML cannot be used: {_said(error)}") from None
    except AttributeError as error:  # another module of that name
        raise Unavailable(f"no GPU: this pynvml is not that of nvidia-ml-py: {error}") from None
    try:
        return _streams(pynvml, watched)
    except pynvml.NVMLError as error:
        raise Unavailable(f"no GPU: NVML cannot list the devices: {_said(error)}") from None


def why_no_driver() -> str:
    """Why there is nothing to import pynvml for, as a sentence; empty where there may be."""
    if os.name != "posix":
        root = os.environ.get("WINDIR", "C:/Windows")
        return "" if os.path.exists(f"{root}/System32/nvml.dll") else "no GPU: there is no nvml.dll"
    try:
        # As pynvml will, by the loader's search, and without ctypes, which is 5 ms of Python.
        from _ctypes import dlopen

        dlopen("libnvidia-ml.so.1", 0)
    except (ImportError, OSError):
        if os.path.exists("/dev/nvidiactl"):
            return (
                "no GPU: there is an NVIDIA device but no libnvidia-ml.so.1, as in a container "
                "without NVIDIA_DRIVER_CAPABILITIES=utility"
            )
        return "no GPU: there is no NVIDIA driver here (libnvidia-ml.so.1 was not found)"
    return ""


def _streams(nvml: Any, watched: Watched) -> list[GpuStream]:
    missing: list[str] = []
    found = [_device(nvml, i, missing) for i in range(nvml.nvmlDeviceGetCount())]
    if not any(handle is not None for handle, _, _ in found):
        raise Unavailable("; ".join(missing) or "no GPU: the driver lists no device")
    handles, uuids, models = (list(each) for each in zip(*found, strict=True))
    parts = [_instances(nvml, handle) if handle is not None else [] for handle in handles]
    named = [[(i, uuid) for i, uuid, _ in each] for each in parts]
    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    places = visible(asked, uuids, named)
    if not places:
        raise Unavailable(
            f"no GPU: CUDA_VISIBLE_DEVICES={asked} lets the program see none of the "
            f"{len(handles)} here"
        )
    # CUDA counts the fastest first unless told otherwise; NVML by the bus. Of one model it is one.
    alike = len({model for model in models if model}) == 1
    numbered = alike or os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    by_number = asked is None or not asked.strip().startswith(("GPU-", "MIG-"))
    if not numbered and by_number:
        # Which one a number means cannot be told from here: all are read.
        places = visible(None, uuids, named)
        missing.append(
            "which GPU is cuda0: they differ, and CUDA_DEVICE_ORDER is not PCI_BUS_ID; torch tells"
        )
    if len(places) > MOST_GPUS:
        missing.append(f"{len(places) - MOST_GPUS} of {len(places)} GPUs: {MOST_GPUS} are read")
    instance = {(gpu, i): (uuid, part) for gpu, each in enumerate(parts) for i, uuid, part in each}
    descent = Descent(watched.pid)
    streams: list[GpuStream] = []
    for cuda, place in enumerate(places[:MOST_GPUS]):
        uuid, handle = instance.get(place, (uuids[place[0]], handles[place[0]]))
        if handle is None:
            continue
        device: dict[str, object] = {"model": models[place[0]], "uuid": uuid}
        if numbered or not by_number:
            device["cuda"] = cuda
        stream = GpuStream(nvml, handle, place, device, descent)
        stream.told += missing
        missing = []
        streams.append(stream)
    if not streams:
        raise Unavailable("; ".join(missing))
    return streams


def _device(nvml: Any, number: int, missing: list[str]) -> tuple[Any, str, str]:
    """A GPU's handle, UUID and model; no handle for one that the driver has lost."""
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(number)
        uuid = str(nvml.nvmlDeviceGetUUID(handle))
        return handle, uuid, str(nvml.nvmlDeviceGetName(handle))
    except nvml.NVMLError as error:
        missing.append(f"no GPU: gpu{number} cannot be read: {_said(error)}")
        return None, "", ""


def _instances(nvml: Any, handle: Any) -> list[tuple[int, str, Any]]:
    """The MIG instances of a GPU: number, UUID and handle; none where it is not divided."""
    try:
        if not nvml.nvmlDeviceGetMigMode(handle)[0]:
            return []
        count = nvml.nvmlDeviceGetMaxMigDeviceCount(handle)
    except nvml.NVMLError:  # NotSupported on most GPUs, and no such function in an old driver
        return []
    found = []
    for i in range(count):
        try:
            part = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, i)
            found.append((i, str(nvml.nvmlDeviceGetUUID(part)), part))
        except nvml.NVMLError:  # NotFound: numbers may have gaps
            continue
    return found


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
            self._failing = _said(error)
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
                return self._no_processes(_said(error))
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


def _said(error: Exception) -> str:
    """An NVML error in its own words, such as ``Driver Not Loaded``."""
    return str(error).rstrip(".") or type(error).__name__
