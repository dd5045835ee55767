"""Keeps a followed script from the world: its writes go to a scratch directory that is thrown away,
and it opens no connection and starts no process.

A file that the script wrote is found there again when it reads it; the user's files stay as they
are. What cannot be led aside, such as a library that writes by itself in C, is not seen here.
"""

from __future__ import annotations

import builtins
import io
import multiprocessing.util
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

OFFLINE = {
    "WANDB_MODE": "disabled", "WANDB_SILENT": "true", "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "COMET_MODE": "disabled",
    "CLEARML_OFFLINE_MODE": "1", "NEPTUNE_MODE": "debug", "MLFLOW_TRACKING_URI": "file:mlruns",
    "TOKENIZERS_PARALLELISM": "false",
}  # fmt: skip
"""What the common loggers and hubs are asked to do by."""


class Refused(OSError):
    """Something that a script may not do while it is followed."""


def put_up(scratch: str, note: Callable[[str], None]) -> None:
    """Lead writes aside and refuse connections and processes.

    Args:
        scratch: an absolute directory, which exists.
        note: takes a sentence on what was led aside or refused.
    """
    _files(scratch, note)
    _others(note)


def _files(scratch: str, note: Callable[[str], None]) -> None:
    free = (scratch + os.sep, "/dev/", "/proc/")

    def aside(path: Any) -> str | None:
        """Where a path is led to; None for one that is left alone."""
        if isinstance(path, int) or path is None:
            return None
        try:
            whole = os.path.abspath(os.fsdecode(path))
        except (TypeError, ValueError):
            return None
        return None if whole.startswith(free) or whole == scratch else scratch + whole

    def to_write(path: Any) -> Any:
        place = aside(path)
        if place is None:
            return path
        real_makedirs(os.path.dirname(place), exist_ok=True)
        whole = os.path.abspath(os.fsdecode(path))
        there = os.path.isfile(whole) and not os.path.lexists(place)
        if there and os.path.getsize(whole) < 1 << 24:  # it may be read, changed or appended to
            shutil.copyfile(whole, place)
        note("what the script writes goes to a scratch directory and is thrown away")
        return place

    def to_read(path: Any) -> Any:
        place = aside(path)
        return place if place is not None and real_stat_ok(place) else path

    real_open, real_os_open, real_stat = io.open, os.open, os.stat
    real_mkdir, real_lstat, real_listdir, real_scandir = os.mkdir, os.lstat, os.listdir, os.scandir

    def real_stat_ok(place: str) -> bool:
        try:
            real_stat(place)
        except OSError:
            return False
        return True

    def real_makedirs(place: str, exist_ok: bool) -> None:
        if not place or real_stat_ok(place):
            return
        real_makedirs(os.path.dirname(place), exist_ok)
        try:
            real_mkdir(place)
        except FileExistsError:
            pass

    def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        writes = isinstance(mode, str) and any(letter in mode for letter in "wax+")
        return real_open(to_write(file) if writes else to_read(file), mode, *args, **kwargs)

    def os_opened(path: Any, flags: int, mode: int = 0o777, *, dir_fd: Any = None) -> int:
        if dir_fd is not None:
            return real_os_open(path, flags, mode, dir_fd=dir_fd)
        return real_os_open(to_write(path) if flags & _WRITING else to_read(path), flags, mode)

    def made(path: Any, mode: int = 0o777, *, dir_fd: Any = None) -> None:
        place = aside(path)
        if place is None:
            return real_mkdir(path, mode)
        if real_stat_ok(os.path.abspath(os.fsdecode(path))):
            raise FileExistsError(17, "File exists", path)
        real_makedirs(os.path.dirname(place), True)
        return real_mkdir(place, mode)

    def looked(real: Callable[..., Any]) -> Callable[..., Any]:
        def look(path: Any = ".", *args: Any, **kwargs: Any) -> Any:
            try:
                return real(path, *args, **kwargs)
            except FileNotFoundError:
                place = aside(path)
                if place is None:
                    raise
                return real(place, *args, **kwargs)

        return look

    def changed(name: str, real: Callable[..., Any], paths: int) -> Callable[..., Any]:
        def change(*args: Any, **kwargs: Any) -> Any:
            places = [aside(each) for each in args[:paths]]
            if all(each is None for each in places):
                return real(*args, **kwargs)
            if places[0] is None or not real_stat_ok(places[0]):
                note(f"{name} of a file that is not the script's own is passed over")
                return None
            led = [args[i] if each is None else each for i, each in enumerate(places)]
            if paths == 2 and places[1] is not None:
                real_makedirs(os.path.dirname(places[1]), True)
            return real(*led, *args[paths:], **kwargs)

        return change

    builtins.open = io.open = opened
    os.open, os.mkdir = os_opened, made
    os.stat, os.lstat = looked(real_stat), looked(real_lstat)
    os.listdir, os.scandir = looked(real_listdir), looked(real_scandir)
    for name, paths in (("remove", 1), ("unlink", 1), ("rmdir", 1), ("rename", 2), ("replace", 2),
                        ("truncate", 1), ("chmod", 1), ("utime", 1), ("symlink", 2), ("link", 2),
                        ("chown", 1), ("removedirs", 1), ("renames", 2)):  # fmt: skip
        setattr(os, name, changed(f"os.{name}", getattr(os, name), paths))
    setattr(shutil, "rmtree", changed("shutil.rmtree", shutil.rmtree, 1))  # noqa: B010


_REFUSED = {
    "socket.connect": "a connection",
    "socket.bind": "a socket that listens",
    "socket.getaddrinfo": "the network",
    "subprocess.Popen": "another process",
    "os.system": "another process",
    "os.posix_spawn": "another process",
    "os.spawn": "another process",
    "os.exec": "another program",
    "os.fork": "another process",
    "os.forkpty": "another process",
}


_LOOKING = {"ldconfig", "gcc", "ld", "objdump", "uname", "lscpu", "git", "nproc"}
"""Programs by which libraries look around, such as ctypes.util.find_library."""


def _others(note: Callable[[str], None]) -> None:
    def heard(event: str, args: Any) -> None:
        what = _REFUSED.get(event)
        if what is None:
            return
        asked = _asked(event, args)
        if event == "subprocess.Popen" and asked.strip(" ()") in _LOOKING:
            return
        note(f"the script wanted {what}{asked}, which was refused")
        raise Refused(f"an estimate opens no connection and starts no process{asked}")

    sys.addaudithook(heard)
    util: Any = multiprocessing.util
    started = util.spawnv_passfds

    def spawned(path: Any, args: Any, passed: Any) -> Any:
        # Of the ways to start a process the only one without an event of its own.
        if any("resource_tracker" in os.fsdecode(each) for each in args):
            return started(path, args, passed)
        note("the script wanted another process, which was refused")
        raise Refused("an estimate opens no connection and starts no process")

    util.spawnv_passfds = spawned


def _asked(event: str, args: Any) -> str:
    if event == "socket.getaddrinfo":
        return f" ({args[0]})"
    if event == "subprocess.Popen":
        words = args[1] if isinstance(args[1], list | tuple) else [args[1]]
        return f" ({Path(os.fsdecode(words[0])).name})" if words else ""
    return ""
