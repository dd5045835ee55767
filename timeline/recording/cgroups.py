"""The memory cgroups of a process: their limits, and how often the kernel had to kill for them.

Version 1 and 2, and nested: a process is held by its own cgroup and by every one around it, so each
of them is read. Standard library only; the sampler's side reads it at the start and at the end, and
a reader once more where no end was written and the cgroup is still there.
"""

from __future__ import annotations

import os

from timeline.recording.format import SIZE_LIMIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_NAMES = {
    1: {
        "max": "memory.limit_in_bytes",
        "both": "memory.memsw.limit_in_bytes",
        "kernel": "memory.kmem.usage_in_bytes",
        "used": "memory.usage_in_bytes",
        "peak": "memory.max_usage_in_bytes",
    },
    2: {
        "max": "memory.max",
        "high": "memory.high",
        "swap": "memory.swap.max",
        "used": "memory.current",
        "peak": "memory.peak",
    },
}
"""``both`` is memory and swap together, which version 2 limits apart."""


class Cgroup:
    """One memory cgroup, by its directory.

    Attributes:
        path: the directory.
        version: 1 or 2.
    """

    __slots__ = ("path", "version")

    def __init__(self, path: str, version: int) -> None:
        self.path = path
        self.version = version

    def file(self, what: str) -> str:
        """The path of the file of a figure; empty where this version has none."""
        name = _NAMES[self.version].get(what)
        return os.path.join(self.path, name) if name else ""

    def size(self, what: str) -> int | None:
        """A figure in bytes; None where there is none, or no limit is set."""
        text = _read(self.file(what)).strip()
        # "max", or in version 1 what 64 bits hold in whole pages.
        return int(text) if text.isdigit() and int(text) <= SIZE_LIMIT else None

    def identity(self) -> int:
        """A number that no other cgroup of this boot has; 0 if it is gone."""
        try:
            return os.stat(self.path).st_ino
        except OSError:
            return 0

    def counts(self) -> dict[str, int]:
        """How often the kernel killed, by its own count, and how often the limit was the reason.

        ``oom_kill`` counts the processes killed, by any OOM killer, in version 2 with those of
        cgroups inside. ``oom`` is how often this limit itself was reached with nothing left to take
        back; version 1 counts every time that the limit was reached. Empty where it is gone.
        """
        found: dict[str, int] = {}
        if self.version == 2:
            events = _pairs(_read(os.path.join(self.path, "memory.events")))
            # Without .local, from kernels before 5.2, the count holds those of cgroups inside.
            local = _pairs(_read(os.path.join(self.path, "memory.events.local"))) or events
            _take(found, "oom_kill", events.get("oom_kill"))
            _take(found, "oom", local.get("oom"))
        else:
            control = _pairs(_read(os.path.join(self.path, "memory.oom_control")))
            _take(found, "oom_kill", control.get("oom_kill"))
            failed = _read(os.path.join(self.path, "memory.failcnt")).strip()
            _take(found, "oom", int(failed) if failed.isdigit() else None)
        return found

    def parts(self) -> dict[str, int]:
        """What the used bytes are made of, its children's with them, as far as this kernel says.

        ``anon`` is the programs' own memory, ``cache`` the page cache of files, which is taken back
        before anybody is killed, ``shared`` files in memory, which are not, ``kernel`` what the
        kernel holds for it.
        """
        found = _pairs(_read(os.path.join(self.path, "memory.stat")))
        old = self.version == 1
        names = ("total_rss", "total_cache", "total_shmem") if old else ("anon", "file", "shmem")
        anon, file, shared = (found.get(name) for name in names)
        parts: dict[str, int] = {}
        _take(parts, "anon", anon)
        if file is not None:
            parts["cache"] = max(file - (shared or 0), 0)
        _take(parts, "shared", shared)
        if old:
            _take(parts, "kernel", self.size("kernel"))
        elif "kernel" in found:
            parts["kernel"] = found["kernel"]
        elif "slab" in found:  # before 5.18
            rest = ("slab", "kernel_stack", "pagetables", "percpu", "sock")
            parts["kernel"] = sum(found.get(name, 0) for name in rest)
        return parts

    def kills_all(self) -> bool:
        """Whether the OOM killer takes every process of it at once."""
        return _read(os.path.join(self.path, "memory.oom.group")).strip() == "1"

    def facts(self) -> dict[str, object]:
        """What ``meta.json`` and ``summary.json`` hold of it."""
        facts: dict[str, object] = {"path": self.path, "version": self.version}
        facts["id"] = self.identity()
        facts.update(self.counts())
        for name in ("used", "peak"):
            size = self.size(name)
            if size is not None:
                facts[name] = size
        if self.kills_all():
            facts["group"] = True
        return facts


def cgroups_of(pid: int, proc: str = "/proc") -> list[Cgroup]:
    """The memory cgroups of a process that can be seen from here, its own first, then outwards.

    Args:
        pid: the process.
        proc: where procfs is mounted.
    """
    paths = {}
    for line in _read(f"{proc}/{pid}/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):
            paths[1] = path
        elif number == "0" and not controllers:
            paths[2] = path
    mounts = _mounts(_read(f"{proc}/self/mountinfo"))
    for version in (1, 2):
        if version in paths and version in mounts:
            root, point = mounts[version]
            found = _upwards(_below(paths[version], root), point, version)
            if found:
                return found
    return []


def _upwards(inside: str, point: str, version: int) -> list[Cgroup]:
    has = "memory.stat"
    found = []
    while True:
        path = os.path.join(point, inside) if inside else point
        # Where cgroup 2 is mounted beside version 1 it does not have the memory.
        if os.path.exists(os.path.join(path, has)):
            found.append(Cgroup(path, version))
        if not inside:
            return found
        inside = os.path.dirname(inside)


def _below(path: str, root: str) -> str:
    """A cgroup's path below the one that is mounted; empty where it lies elsewhere."""
    root = root.rstrip("/")
    if path != root and not path.startswith(root + "/"):
        return ""
    inside = path[len(root) :].strip("/")
    # A process outside of the cgroup namespace here has a path like /../other.
    return "" if ".." in inside.split("/") else inside


def _mounts(mountinfo: str) -> dict[int, tuple[str, str]]:
    """By version the root and the place of the mount that has the memory."""
    found: dict[int, tuple[str, str]] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, *more) = before.split(), after.split() or [""]
        if len(fields) < 5:
            continue
        options = more[-1].split(",") if more else []
        version = 2 if kind == "cgroup2" else 1 if kind == "cgroup" and "memory" in options else 0
        if version:
            found.setdefault(version, (_unescaped(fields[3]), _unescaped(fields[4])))
    return found


def _unescaped(path: str) -> str:
    # Only what mountinfo writes so: space, tab, newline and the backslash itself.
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, char)
    return path


def _take(found: dict[str, int], name: str, value: int | None) -> None:
    if value is not None:
        found[name] = value


def _pairs(text: str) -> Mapping[str, int]:
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if value.strip().isdigit():
            found[name] = int(value)
    return found


def _read(path: str) -> str:
    if not path:
        return ""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(1 << 20)
    except OSError:
        return ""
