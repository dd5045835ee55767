"""What a process may have at the most, and what the kernel counts around it.

Read from beside the process when it is recorded, and once more at its end: the difference tells
whether the kernel's OOM killer struck, and at which limit. Nothing here raises.
"""

from __future__ import annotations

from timeline.recording.alive import stat_fields
from timeline.recording.cgroups import cgroups_of
from timeline.recording.format import SIZE_LIMIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from timeline.recording.cgroups import Cgroup

_RLIMITS = (
    ("RLIMIT_AS", "Max address space", "host.virtual"),
    ("RLIMIT_DATA", "Max data size", "host.data"),
)


class Surroundings:
    """The limits and the cgroups of one process.

    Attributes:
        cgroups: its own first, then those around it; empty where there are none to be seen.
        limits: what ``meta.json`` says of them: ``name``, ``bytes``, the ``channel`` that the limit
            is of, and its ``source``.
    """

    def __init__(self, pid: int, proc: str = "/proc") -> None:
        """Look at a process.

        Args:
            pid: the process, which lives.
            proc: where procfs is mounted.
        """
        self._proc = proc
        self.cgroups = cgroups_of(pid, proc)
        self.limits: list[dict[str, object]] = []
        for cgroup in self.cgroups:
            self._limits_of(cgroup)
        for name, line, channel in _RLIMITS:
            self._add(name, _soft_limit(f"{proc}/{pid}/limits", line), channel, f"RLIMIT of {pid}")
        machine = _meminfo(proc)
        self._add("machine", machine.get("MemTotal"), "machine.used", "MemTotal")
        self._add("machine.swap", machine.get("SwapTotal") or None, "machine.swap", "SwapTotal")

    def counted(self) -> dict[str, object]:
        """What the kernel counts now, for ``meta.json`` and for ``summary.json``."""
        machine = {
            name: size
            for name, key in (("available", "MemAvailable"), ("swap_free", "SwapFree"))
            if (size := _meminfo(self._proc).get(key)) is not None
        }
        kills = _oom_kills(self._proc)
        if kills is not None:
            machine["oom_kill"] = kills
        return {"cgroups": [each.facts() for each in self.cgroups], "machine": machine}

    @property
    def tightest(self) -> Cgroup | None:
        """The cgroup whose limit is the smallest, of equal ones the outermost, which has the more
        to hold; None where no cgroup has a limit that this machine could reach."""
        total = _meminfo(self._proc).get("MemTotal", SIZE_LIMIT)
        limits = [(size, -at) for at, each in enumerate(self.cgroups) if (size := each.size("max"))]
        if not limits or min(limits)[0] > total:
            return None
        return self.cgroups[-min(limits)[1]]

    def _limits_of(self, cgroup: Cgroup) -> None:
        most = cgroup.size("max")
        self._add("cgroup", most, "cgroup.used", cgroup.file("max"))
        self._add("cgroup.high", cgroup.size("high"), "cgroup.used", cgroup.file("high"))
        self._add("cgroup.swap", cgroup.size("swap"), "cgroup.swap", cgroup.file("swap"))
        both = cgroup.size("both")
        if both is not None and both != most:
            self._add("cgroup.memory+swap", both, "cgroup.used+swap", cgroup.file("both"))

    def _add(self, name: str, size: int | None, channel: str, source: str) -> None:
        if size is not None:
            limit = {"name": name, "bytes": size, "channel": channel, "source": source}
            self.limits.append(limit)


def memory_of_machine(proc: str = "/proc") -> dict[str, int]:
    """Bytes of memory and of swap in use on this machine, as ``machine`` and ``swap``.

    In use is what is not available: page cache that can be taken back is.
    """
    found, out = _meminfo(proc), {}
    if "MemTotal" in found and "MemAvailable" in found:
        out["machine"] = found["MemTotal"] - found["MemAvailable"]
    if found.get("SwapTotal") and "SwapFree" in found:
        out["swap"] = found["SwapTotal"] - found["SwapFree"]
    return out


def memory_of_process(pid: int, proc: str = "/proc") -> dict[str, int]:
    """Bytes of address space and of data of a process; empty where it is gone.

    ``most`` is the most that it ever had: the kernel never resets that.
    """
    found = {}
    keys = {"VmPeak": "most", "VmSize": "virtual", "VmData": "data"}
    for line in _text(f"{proc}/{pid}/status").splitlines():
        name, _, value = line.partition(":")
        if name in keys:
            found[keys[name]] = int(value.split()[0]) << 10
    return found


def has_ended(pid: int, proc: str = "/proc") -> bool:
    """Whether a process is gone, or only waits to be reaped: what is read then is after its end."""
    try:
        return stat_fields(_text(f"{proc}/{pid}/stat").encode())[0] in (b"Z", b"X")
    except (ValueError, IndexError):
        return True


def _soft_limit(path: str, name: str) -> int | None:
    for line in _text(path).splitlines():
        if line.startswith(name):
            soft = line[len(name) :].split()[0]
            return int(soft) if soft.isdigit() and int(soft) <= SIZE_LIMIT else None
    return None


def _meminfo(proc: str) -> dict[str, int]:
    found = {}
    for line in _text(f"{proc}/meminfo").splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if words and words[0].isdigit():
            found[name] = int(words[0]) << 10
    return found


def _oom_kills(proc: str) -> int | None:
    """How many processes any OOM killer of this machine has killed since the boot."""
    for line in _text(f"{proc}/vmstat").splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill" and value.isdigit():
            return int(value)
    return None


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(1 << 20)
    except OSError:
        return ""
