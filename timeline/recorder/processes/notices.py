"""What the kernel tells unasked of every process: that it begins, runs another program, or ends.

Two sockets, where the kernel has them and lets us: its process connector (CONFIG_PROC_EVENTS; for
root, and from Linux 6.6 on for everyone) and its accounts of what ends (CONFIG_TASKSTATS; for root
alone). Both tell of the whole machine, so neither is there in a container that numbers its
processes itself. See linux/cn_proc.h, linux/taskstats.h and linux/genetlink.h.
"""

from __future__ import annotations

import errno
import functools
import os
import select
import struct
import time
from array import array

# What socket is made of: with all that it imports that one takes 15 ms from the first samples, and
# five times as much on a busy machine.
try:
    import _socket as socket
except ImportError:  # a Python without any
    socket = None  # type: ignore[assignment]

from timeline.recorder.probes.descent import INITIAL_PIDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BEGAN, RUNS, ENDED = 1, 2, 0x80000000
"""PROC_EVENT_FORK, PROC_EVENT_EXEC, PROC_EVENT_EXIT."""

ANSWERS_WITHIN_MS = 100

KEPT_BYTES = 4 << 20
"""Of notices that wait to be read, some 5,000: as many processes can begin in 50 ms."""

_CONNECTOR, _GENERIC = 11, 16  # NETLINK_CONNECTOR, NETLINK_GENERIC
_PROC = 1  # CN_IDX_PROC, CN_VAL_PROC, and the group of the socket
_LISTEN, _IGNORE = 1, 2  # PROC_CN_MCAST_LISTEN, PROC_CN_MCAST_IGNORE
_NETLINK = "=IHHII"  # length, type, flags, sequence, port
_MESSAGE = "=IIIIHH"  # of the connector: index, value, sequence, answer, length, flags
_NOTICE = struct.Struct("=IIQIIII")
_NOTICE_AT = 36

_FORKED = 0x01  # AFORK: ended without an exec


class Account:
    """What the kernel says of a process as it ends.

    Attributes:
        name: what the kernel calls it.
        forked: whether it never became a program of its own.
        peak: the high-water mark of its RSS, in bytes.
        virtual: that of its address space, in bytes.
    """

    __slots__ = ("forked", "name", "peak", "virtual")

    def __init__(self, name: str, forked: bool, peak: int, virtual: int) -> None:
        self.name = name
        self.forked = forked
        self.peak = peak
        self.virtual = virtual


class Notices:
    """Both sockets, read without waiting.

    Attributes:
        lost: how often the kernel had more to tell than there was room for.
        waiting: gives something true where there is something to `take`, and costs one call of the
            kernel alone; another thread may ask.
        accounted: whether it tells what each had that ends.
    """

    def __init__(self) -> None:
        """Listen.

        Raises:
            OSError: the kernel has no such socket, or does not let us.
        """
        if os.readlink("/proc/self/ns/pid") != INITIAL_PIDS:
            raise PermissionError("processes have other numbers outside of this container")
        self.lost = 0
        self._accounts: Accounts | None = None
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _CONNECTOR)
        try:
            _make_room(self._socket)
            self._socket.bind((0, _PROC))
            _let_in_processes_alone(self._socket)
            self._ask(_LISTEN)
            self._poll = select.poll()
            self._poll.register(self._socket.fileno(), select.POLLIN)
            self.waiting: Callable[[], object] = functools.partial(self._poll.poll, 0)
            self._socket.setblocking(False)
            if not any(what == 0 and not error for what, _, error, *_ in self._answers()):
                raise PermissionError("the kernel does not answer")
        except BaseException:
            self._socket.close()
            raise
        try:
            self._accounts = Accounts()
        except (OSError, struct.error, KeyError):
            pass

    @property
    def accounted(self) -> bool:
        """Whether the kernel tells what each had that ends."""
        return self._accounts is not None

    def take(self) -> Iterator[tuple[int, int, int, int]]:
        """What waits, in its order, as ``what, t_ns, pid, more``: the time is monotonic, and more
        is the parent of what `BEGAN`, and what ``wait`` gives of what `ENDED`."""
        for what, t, _, parent, status, pid in self._received():
            # An end and an exec name the process where a beginning names its parent.
            if what == BEGAN:
                yield what, t, pid, parent
            else:
                yield what, t, parent, status

    def accounts(self) -> dict[int, Account]:
        """By process, those of the ones that ended since the call before.

        The account of a process is there before the notice of its end.
        """
        return self._accounts.take() if self._accounts is not None else {}

    def close(self) -> None:
        """Listen no more."""
        try:
            self._ask(_IGNORE)  # kernels before 6.6 count those who ended without a word
        except OSError:
            pass
        self._socket.close()
        if self._accounts is not None:
            self._accounts.close()

    def _ask(self, what: int) -> None:
        body = struct.pack("=I", what)
        body = struct.pack(_MESSAGE, _PROC, _PROC, 0, 0, len(body), 0) + body
        done = 3  # NLMSG_DONE, which is what the connector's messages are
        self._socket.send(struct.pack(_NETLINK, 16 + len(body), done, 0, 0, 0) + body)

    def _answers(self) -> Iterator[tuple[int, int, int, int, int, int]]:
        # By a deadline: where processes begin and end all the time there is always something to
        # hear, also if the answer itself was lost.
        until = time.monotonic() + ANSWERS_WITHIN_MS / 1e3
        while (left := until - time.monotonic()) > 0 and self._poll.poll(left * 1e3):
            yield from self._received()

    def _received(self) -> Iterator[tuple[int, int, int, int, int, int]]:
        for text in _datagrams(self._socket):
            if text is None:
                self.lost += 1
            elif len(text) >= _NOTICE_AT + _NOTICE.size:
                what, _, t, *four = _NOTICE.unpack_from(text, _NOTICE_AT)
                yield what, t, four[0], four[1], four[2], four[3]


class Accounts:
    """The kernel's accounts of tasks as they end."""

    def __init__(self) -> None:
        """Register for all.

        Raises:
            OSError: the kernel does not let us, or keeps none.
            KeyError, struct.error: its answer is not understood.
        """
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _GENERIC)
        try:
            _make_room(self._socket)
            self._socket.bind((0, 0))
            self._socket.settimeout(ANSWERS_WITHIN_MS / 1e3)
            # CTRL_CMD_GETFAMILY by CTRL_ATTR_FAMILY_NAME gives CTRL_ATTR_FAMILY_ID.
            self._ask(_GENERIC, 3, _attribute(2, b"TASKSTATS\0"))
            (family,) = struct.unpack("=H", _attributes(self._socket.recv(1 << 14)[20:])[1])
            with open("/sys/devices/system/cpu/possible", "rb") as file:
                processors = file.read().strip() + b"\0"
            # TASKSTATS_CMD_GET with TASKSTATS_CMD_ATTR_REGISTER_CPUMASK; answered by an error of 0.
            self._ask(family, 1, _attribute(3, processors))
            until = time.monotonic() + ANSWERS_WITHIN_MS / 1e3
            while True:
                if time.monotonic() > until:
                    raise OSError(errno.ETIMEDOUT, "the kernel does not answer")
                text = self._socket.recv(1 << 14)
                _, kind, *_ = struct.unpack_from(_NETLINK, text)
                if kind == 2:  # NLMSG_ERROR
                    (error,) = struct.unpack_from("=i", text, 16)
                    if error:
                        raise OSError(-error, os.strerror(-error))
                    break
            # With a time to wait Python waits for it, whatever the flags of a recv say.
            self._socket.setblocking(False)
        except BaseException:
            self._socket.close()
            raise

    def take(self) -> dict[int, Account]:
        """By process, the last that was told since the call before; also as a mere thread ends."""
        found: dict[int, Account] = {}
        for text in _datagrams(self._socket):
            told = _account(text) if text is not None else None
            if told is None:
                continue
            task, process, account = told
            before = found.get(process)
            if before is not None and task != process:
                # The last word counts; name and program are told of by the first thread alone.
                account.name, account.forked = before.name, before.forked
            found[process] = account
        return found

    def close(self) -> None:
        """The kernel finds out by itself."""
        self._socket.close()

    def _ask(self, kind: int, command: int, attribute: bytes) -> None:
        body = struct.pack("=BBH", command, 1, 0) + attribute
        request_and_answer = 1 | 4  # NLM_F_REQUEST, NLM_F_ACK
        flags = request_and_answer if kind != _GENERIC else 1
        self._socket.send(struct.pack(_NETLINK, 16 + len(body), kind, flags, 0, 0) + body)


def _account(text: bytes) -> tuple[int, int, Account] | None:
    """Of which thread, of which process, and what; None where it is something else."""
    try:
        aggregate = _attributes(text[20:])[4]  # TASKSTATS_TYPE_AGGR_PID
        parts = _attributes(aggregate)
        (task,) = struct.unpack("=I", parts[1])  # TASKSTATS_TYPE_PID
        said = parts[3]  # TASKSTATS_TYPE_STATS
        (version,) = struct.unpack_from("=H", said)
        flags = said[8]
        # Kernels 6.14 and 6.15 had moved the fields: then this is another number.
        (same,) = struct.unpack_from("=I", said, 128)
        if same != task:
            return None
        peak_kib, virtual_kib = struct.unpack_from("=QQ", said, 200)
        process = struct.unpack_from("=I", said, 368)[0] if version >= 12 else task
    except (KeyError, IndexError, struct.error):
        return None
    name = said[80:112].partition(b"\0")[0].decode("utf-8", "replace")
    return task, process, Account(name, bool(flags & _FORKED), peak_kib << 10, virtual_kib << 10)


def _attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + b"\0" * (-length % 4)


def _attributes(text: bytes) -> dict[int, bytes]:
    found = {}
    at = 0
    while at + 4 <= len(text):
        length, kind = struct.unpack_from("=HH", text, at)
        if length < 4:
            break
        found[kind & 0x3FFF] = text[at + 4 : at + length]  # the two bits above are flags
        at += length + (-length % 4)
    return found


def _datagrams(source: socket.socket) -> Iterator[bytes | None]:
    """All that wait; None stands for some that were lost."""
    while True:
        try:
            yield source.recv(1 << 14)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != 105:  # ENOBUFS
                return
            yield None


def _make_room(opened: socket.socket) -> None:
    try:
        opened.setsockopt(socket.SOL_SOCKET, 33, KEPT_BYTES)  # SO_RCVBUFFORCE, for root
    except OSError:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KEPT_BYTES)


def _let_in_processes_alone(opened: socket.socket) -> None:
    """Leave threads out, and notices of other kinds, by a filter in the kernel.

    A training starts hundreds of threads, and nobody need wake for them.
    """
    load, tax, equal, same, jump, end = 0x20, 0x07, 0x15, 0x1D, 0x05, 0x06  # linux/bpf_common.h
    task, process, child_task, child_process = range(_NOTICE_AT + 16, _NOTICE_AT + 32, 4)
    steps = (
        (load, 0, 0, _NOTICE_AT),
        (equal, 12, 0, 0),  # an answer to us: let in, the last step
        (equal, 11, 0, socket.htonl(RUNS)),
        (equal, 1, 0, socket.htonl(ENDED)),
        (equal, 4, 8, socket.htonl(BEGAN)),
        (load, 0, 0, task),
        (tax, 0, 0, 0),
        (load, 0, 0, process),
        (jump, 0, 0, 3),
        (load, 0, 0, child_task),
        (tax, 0, 0, 0),
        (load, 0, 0, child_process),
        (same, 1, 0, 0),  # a process has the number of its first thread
        (end, 0, 0, 0),
        (end, 0, 0, 1 << 16),
    )
    packed = array("B", b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = struct.pack("@HP", len(steps), packed.buffer_info()[0])
    opened.setsockopt(socket.SOL_SOCKET, 26, program)  # SO_ATTACH_FILTER
