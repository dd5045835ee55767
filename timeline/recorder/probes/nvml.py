"""Finds the GPUs that the target may see, by NVIDIA's driver.

By ``pynvml`` of the distribution ``nvidia-ml-py``, in the process of the sampler only. Where there
is no driver nothing is imported: the look for its library costs 0.2 ms. Nothing here creates a CUDA
context.
"""

from __future__ import annotations

import os

from timeline.recorder.probes.descent import Descent
from timeline.recorder.probes.gpu_stream import GpuStream, said
from timeline.recorder.probes.visible import visible
from timeline.recorder.streams import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from timeline.recorder.streams import Watched

MOST_GPUS = 16


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
        raise Unavailable(f"no GPU: NVML cannot be used: {said(error)}") from None
    except AttributeError as error:  # another module of that name
        raise Unavailable(f"no GPU: this pynvml is not that of nvidia-ml-py: {error}") from None
    try:
        return _streams(pynvml, watched)
    except pynvml.NVMLError as error:
        raise Unavailable(f"no GPU: NVML cannot list the devices: {said(error)}") from None


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
        missing.append(f"no GPU: gpu{number} cannot be read: {said(error)}")
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
