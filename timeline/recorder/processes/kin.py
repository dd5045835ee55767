"""Follows the target's family by the kernel's notices, so that nobody in it is too brief."""

from __future__ import annotations

import _thread

from timeline.recorder.processes.notices import BEGAN, ENDED, Notices

TYPE_CHECKING = False
if TYPE_CHECKING:
    from timeline.recorder.processes.notices import Account


MOST_LOSSES = 3
"""Where the machine starts more than can be followed, it is not followed."""

MOST_IN_PASSING = 100
"""Notices that are heard in the thread of the host's samples at once, 3 µs each."""


class Brief:
    """A process that had ended before it could be read, as
    `timeline.recorder.processes.ledger.Written` has it."""

    borrowed = False
    rss = mark = 0
    command = ""

    def __init__(self, pid: int, number: int, up: int, began_ns: int) -> None:
        self.pid = pid
        self.number = number
        self.up = up
        self.began_ns = self.t_ns = began_ns
        self.name = ""
        self.forked = False

    def told(self, account: Account) -> None:
        """Take over what the kernel said of it in the end."""
        self.name = account.name
        self.forked = account.forked


class Kin:
    """Who is of the family, by its beginnings and ends in their order.

    Attributes:
        accounted: whether the kernel tells what each had that ends.
    """

    def __init__(self, pid: int) -> None:
        """Listen; those who are there already are to be told by `add`.

        Raises:
            OSError: the kernel tells nothing, or not us.
        """
        self._notices = Notices()
        self._target = pid
        self._pids = {pid}
        self._one_at_a_time = _thread.allocate_lock()
        self._news: list[tuple[int, int, int, int]] = []
        self._accounts: dict[int, Account] = {}
        self._unclaimed: dict[int, Account] = {}
        self._waiting = self._notices.waiting
        self.accounted = self._notices.accounted

    @property
    def lost(self) -> int:
        """How often there was more than could be heard: somebody may be missing since then."""
        return self._notices.lost

    def stirs(self) -> bool:
        """Whether there is news; another thread may ask, and is not kept waiting."""
        if not self._waiting() or not self._one_at_a_time.acquire(False):
            return bool(self._news)
        try:
            # Of a busy machine's processes next to none are ours: to wake for each would be dear.
            return self._hear(MOST_IN_PASSING) or bool(self._news)
        finally:
            self._one_at_a_time.release()

    def add(self, pid: int) -> None:
        """This one is of the family too."""
        self._pids.add(pid)

    def news(self) -> list[tuple[int, int, int, int]]:
        """The notices of the family since the call before, as `Notices.take` gives them."""
        with self._one_at_a_time:
            self._hear()
            news, self._news = self._news, []
        ended = {pid for what, _, pid, _ in news if what == ENDED}
        accounts = self._notices.accounts()
        # One may have come and gone while its account was read, and its notices come next time.
        for pid, account in (*self._unclaimed.items(), *accounts.items()):
            if pid in ended or pid in self._pids:
                self._accounts[pid] = account
        self._unclaimed = accounts
        return news

    def _hear(self, most: int = 0) -> bool:
        """Keep what waits of the family. Returns whether there may be more than was heard."""
        for heard, notice in enumerate(self._notices.take(), 1):
            what, _, pid, more = notice
            if (more if what == BEGAN else pid) in self._pids:
                self._news.append(notice)
                if what == BEGAN:
                    self._pids.add(pid)
                elif what == ENDED and pid != self._target:
                    # Where another thread than its first runs a new program, the target goes on.
                    self._pids.discard(pid)
            if heard == most:
                return True
        return False

    def account(self, pid: int) -> Account | None:
        """What the kernel said of one that ended; asked for once."""
        return self._accounts.pop(pid, None)

    def close(self) -> None:
        """Listen no more."""
        self._notices.close()
