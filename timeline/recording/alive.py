"""Who writes a recording, and whether that process still lives. Standard library only."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def writer_identity() -> dict[str, object]:
    """The keys of ``meta.json`` by which `writer_lives` knows the calling process again."""
    return {"host": _host(), "boot": _boot(), "clock": _clock(), "sampler_pid": os.getpid()}


def writer_lives(meta: Mapping[str, object], key: str = "sampler_pid") -> bool:
    """Whether the process that wrote this ``meta.json`` lives here and now.

    With ``key="pid"`` whether the one that is recorded does, which writes the marks. A pid alone
    does not tell: the recording may come from another host or another boot, and pids are used
    again, so a process that began after the recording is another one.
    """
    pid, started = meta.get(key), meta.get("started")
    if type(pid) is not int or not 0 < pid < 1 << 31 or meta.get("host") != _host():
        return False
    boot = _boot()
    if boot and meta.get("boot", boot) != boot:
        return False
    times = started if isinstance(started, dict) else {}
    monotonic, wall = times.get("monotonic_ns"), times.get("time_ns")
    if type(monotonic) is not int or type(wall) is not int:
        return False
    if monotonic > time.monotonic_ns():
        return False
    if hasattr(time, "CLOCK_BOOTTIME"):
        return _lives_since(pid, monotonic)
    return _psutil_lives_since(pid, wall)


def same_boot(meta: Mapping[str, object]) -> bool:
    """Whether this ``meta.json`` was written on this machine and since it was started last."""
    boot = _boot()
    return bool(boot) and meta.get("boot") == boot and meta.get("host") == _host()


def _host() -> str:
    if hasattr(os, "uname"):
        return os.uname().nodename
    return os.environ.get("COMPUTERNAME", "")


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except (OSError, ValueError):
        return ""


def _clock() -> str:
    """What tells monotonic clocks of one boot apart: a time namespace has one of its own."""
    try:
        return os.readlink("/proc/self/ns/time")
    except OSError:
        return ""


def stat_fields(stat: bytes) -> list[bytes]:
    """The fields of a ``/proc/PID/stat`` from the third, the state, on.

    The second, the command's name, may hold spaces and brackets.

    Raises:
        ValueError: it is no such file's text.
    """
    return stat[stat.rindex(b")") + 1 :].split()


def _lives_since(pid: int, monotonic_ns: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = stat_fields(file.read())
        state, ticks = fields[0], int(fields[19])
    except FileNotFoundError:
        return _hidden(pid)
    except (OSError, ValueError, IndexError):
        return False
    if state in (b"Z", b"X"):
        return False
    # /proc counts from the boot with the time asleep, CLOCK_MONOTONIC without it. All sleep so
    # far is added to the recording's start, so a living writer is never taken for dead.
    asleep = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
    began = ticks / os.sysconf("SC_CLK_TCK")
    return began <= monotonic_ns / 1e9 + asleep + 1


def _hidden(pid: int) -> bool:
    """Where /proc is mounted with hidepid, a process of another user has no entry but lives."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _psutil_lives_since(pid: int, time_ns: int) -> bool:
    import psutil

    try:
        process = psutil.Process(pid)
        dead = process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        # create_time() has whole seconds on some systems.
        return not dead and process.create_time() <= time_ns / 1e9 + 2
    except psutil.AccessDenied:
        return True
    except psutil.Error:
        return False
