"""What `fuzz_reader.py` damages: recordings with all that may stand in one, and snapshots."""

from __future__ import annotations

import json
import pickle  # noqa: TID251 - to write what is to be read
import shutil
from pathlib import Path

from ranks_on_disk import MS, write_rank

from timeline.recording import format as layout
from timeline.recording.weighed.facts import CATEGORIES
from timeline.recording.writer import SampleWriter

GiB = 1 << 30


def snapshots() -> list[bytes]:
    """Small snapshots as torch writes them, by each protocol."""
    at = 1 << 33
    block = {"size": 1 << 20, "requested_size": 1000, "address": at, "state": "active_allocated"}
    rest = {**block, "address": at + (1 << 20), "state": "inactive", "requested_size": 0}
    segment = {"device": 0, "address": at, "allocated_size": 1 << 20,
               "active_size": 1 << 20, "total_size": 2 << 20, "stream": 0, "segment_type":
               "small", "blocks": [block, rest], "is_expandable": False}  # fmt: skip
    frames = [{"filename": "train.py", "name": "step", "line": 7}]
    lines = [
        {"action": action, "addr": at, "size": size, "stream": 0, "time_us": 10 + number,
         "frames": frames}
        for number, (action, size) in enumerate(
            (("segment_alloc", 2 << 20), ("alloc", 1000), ("free_requested", 1000),
             ("free_completed", 1000), ("alloc", 1000), ("oom", 1 << 40))
        )
    ]  # fmt: skip
    found = {"segments": [segment], "device_traces": [lines], "allocator_settings": {}}
    return [pickle.dumps(found, protocol) for protocol in (2, 3, 4, 5)]


def with_surroundings(golden: Path, made: Path) -> Path:
    """The golden recording with what else may stand in one: limits, counts, streams, an error."""
    shutil.copytree(golden, made)
    meta = json.loads((made / "meta.json").read_bytes())
    start = meta["started"]["monotonic_ns"]
    path = "/sys/fs/cgroup/memory/job"
    source = f"{path}/memory.limit_in_bytes"
    limit = {"name": "cgroup", "bytes": 300 << 20, "channel": "cgroup.used", "source": source}
    meta["limits"] = [limit, {**limit, "name": "RLIMIT_AS", "channel": "host.virtual"}]
    counts = {"path": path, "version": 1, "id": 7, "oom": 3, "oom_kill": 1, "peak": 1 << 20}
    meta["kernel"] = {"cgroups": [counts], "machine": {"oom_kill": 5}}
    meta["channels"]["cgroup.used"] = {"stream": "cgroup", "value": "used", "high": "most"}
    (made / "meta.json").write_text(json.dumps(meta, indent=1))
    fields = (("t_ns", "<i8"), ("read_ns", "<u4"), ("used", "<i8"), ("most", "<i8"))
    rows = SampleWriter(str(made / "samples.cgroup.npy"), fields)
    for number in range(40):
        rows.append(start + number * 10_000_000, 500, number << 20, number << 20)
    rows.close()
    summary = json.loads((made / "summary.json").read_bytes())
    summary |= {"end": "killed", "signal": "SIGKILL", "exit_code": None}
    after = {**counts, "oom_kill": 2, "oom": 9, "peak": 300 << 20}
    summary["kernel"] = {"cgroups": [after], "machine": {"oom_kill": 6}}
    (made / "summary.json").write_text(json.dumps(summary, indent=1))
    with (made / "events.4711.jsonl").open("a") as file:
        file.write(f'{{"k":"error","t":{start + 600_000_000},"type":"MemoryError","p":"","i":2}}\n')
    return made


def with_devices(golden: Path, made: Path) -> Path:
    """The golden recording with two GPUs, by the driver and by torch's marks and looks."""
    shutil.copytree(golden, made)
    meta = json.loads((made / "meta.json").read_bytes())
    start = meta["started"]["monotonic_ns"]
    fields = (("t_ns", "<i8"), ("read_ns", "<u4"), ("used", "<i8"), ("process", "<i8"))
    for number in (0, 1):
        stream = f"gpu{number}"
        rows = SampleWriter(str(made / layout.samples_name(stream)), fields)
        for i in range(12):
            rows.append(start + i * 40 * MS, 500, (9 + i) * GiB, (i - 1) * GiB if i else -1)
        rows.close()
        device = {"model": "NVIDIA H100", "uuid": f"GPU-{number}", "total": 80 * GiB,
                  "cuda": number}  # fmt: skip
        for value in ("used", "process"):
            meta["channels"][f"{stream}.{value}"] = {
                "stream": stream, "value": value, "unit": "byte", "source": "nvml", "exact": False,
                "reason": "NVML knows no high-water mark", "device": device,
            }  # fmt: skip
    (made / "meta.json").write_text(json.dumps(meta, indent=1))
    events = made / "events.4711.jsonl"
    lines = []
    for i, text in enumerate(events.read_text().splitlines()):
        line = json.loads(text)
        told = {str(gpu): [(i + gpu) * GiB, (i + gpu + 1) * GiB] * 4 + [gpu, 0] for gpu in (0, 1)}
        if line["k"] in "bemr" and "rss" in line:
            line["cuda"] = told
        lines.append(line)
        lines.append({"k": "d", "t": line["t"] + 1, "cuda": told})
    for gpu in (0, 1):
        fact = {"k": "fact", "t": start, "name": f"cuda{gpu}", "value": f"GPU-{gpu}"}
        lines.insert(1, fact)
    events.write_text(_written(lines))
    return made


def with_children(golden: Path, made: Path) -> Path:
    """The golden recording with children, a weighed step and lines."""
    shutil.copytree(golden, made)
    meta = json.loads((made / "meta.json").read_bytes())
    start = meta["started"]["monotonic_ns"]
    lines = []
    for number in (1, 2, 3):
        lines.append({"k": "found", "t": start + number * MS, "i": number, "pid": 5000 + number,
                      "up": number // 2, "began": start, "name": "pt_data_worker",
                      "command": "python train.py", "forked": True})  # fmt: skip
    lines.append({"k": "runs", "t": start + 9 * MS, "i": 3, "name": "sh", "command": "sh -c true",
                  "forked": False})  # fmt: skip
    lines.append({"k": "gone", "t": start + 90 * MS, "i": 2})
    (made / layout.PROCESSES).write_text(_written(lines))
    streams = {
        "processes": layout.PROCESS_FIELDS,
        "processes_pss": layout.PROCESS_PSS_FIELDS,
        "pss": layout.PSS_FIELDS,
    }
    for stream, fields in streams.items():
        rows = SampleWriter(str(made / layout.samples_name(stream)), fields)
        for i in range(30):
            row = (start + i * 10 * MS, 1 + i % 3, *[(i + 1) << 20] * (len(fields) - 2))
            rows.append(*row)
        rows.close()
    for name in ("host", "children", "total"):
        meta["channels"][f"{name}.pss"] = {"stream": "pss", "value": name, "unit": "byte"}
    (made / "meta.json").write_text(json.dumps(meta, indent=1))
    sizes = dict.fromkeys(CATEGORIES, 1 << 20)
    at = {"t": start + 50 * MS, "rss": 9 << 20, "high": 9 << 20, "file": 1 << 20,
          "in_use": 7 << 20, "free": 1 << 20}  # fmt: skip
    phase = {"phase": 2, "path": "step/forward", "what": "ResNet", "at": at, "high": 10 << 20,
             "rise": 9, "shared": 0, "categories": sizes, "layers": [[0, 1 << 20]]}  # fmt: skip
    layer = {"name": "conv1", "kind": "Conv2d", "parameters": 9, "parameter": 36, "buffer": 0,
             "gradient": 36, "activation": 99, "output_shape": [8, 512], "output_dtype": "float32",
             "output_bytes": 16384, "calls": 1}  # fmt: skip
    weighed = {
        "timeline": 1, "step": 2, "began": start + 40 * MS, "ended": start + 200 * MS, "spent": 7,
        "before": {**at, "held": 0}, "phases": [phase, {**phase, "path": "step/backward"}],
        "categories": sizes, "layers": [layer, {**layer, "name": "fc"}], "parameters": 9,
        "trained": [{"optimizer": "SGD", "options": {"momentum": True}, "sizes": [[9, 4]]}],
        "devices": ["cpu"], "not_counted": ["what cannot be seen"],
    }  # fmt: skip
    (made / layout.BREAKDOWN).write_text(json.dumps(weighed))
    traced = [{"line": 2, "text": "def build(n):", "memory": 1 << 20, "increment": 0, "count": 1,
               "phases": ["load"]}]  # fmt: skip
    functions = [{"name": "__main__.build", "file": "train.py", "lines": traced}]
    (made / layout.LINES).write_text(json.dumps({"timeline": 1, "functions": functions}))
    return made


def of_ranks(made: Path) -> Path:
    """A directory of three ranks on two hosts: one has a GPU, one was killed."""
    made.mkdir()
    write_ranks = ((0, 0, {}), (1, 0, {"devices": {0: 3 * GiB}}), (2, 1, {"boot_ns": 10**13}))
    for rank, node, more in write_ranks:
        rows = [(i * 10 * MS, (i + rank) << 20, (i + rank + 1) << 20) for i in range(1, 40)]
        phases = [("step", i * 40 * MS, i * 40 * MS + (30 + rank) * MS) for i in range(1, 9)]
        killed = {"end": "killed", "exit_code": None, "signal": "SIGKILL"}
        write_rank(
            made, rank, rows, world=4, node=node, phases=phases, place="1:2",
            ended=killed if rank == 2 else None, **more,
        )  # fmt: skip
    group = {"timeline": 1, "world": 4, "run": "job7", "restart": 0, "master": "node0:29500"}
    (made / layout.RANKS).write_text(json.dumps(group))
    return made


def _written(lines: list[dict[str, object]]) -> str:
    return "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
