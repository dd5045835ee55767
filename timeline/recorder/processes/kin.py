"""Follows the target's family by the kernel's notices, so that nobody in it is too brief."""

from __future__ import annotations

from timeline.recorder.processes.notices import BEGAN, ENDED, Notices

TYPE_CHECKING = False
if TYPE_CHECKING:
    from timeline.recorder.processes.notices import Account


MOST_LOSSES = 3
"""Where the machine starts more than can be followed, it is not followed."""


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
        self._pids = {pid}
        self._accounts: dict[int, Account] = {}
        self._unclaimed: dict[int, Account] = {}
        self.accounted = self._notices.accounted

    @property
    def lost(self) -> int:
        """How often there was more than could be heard: somebody may be missing since then."""
        return self._notices.lost

    def stirs(self) -> bool:
        """Whether there may be news; another thread may ask."""
        return self._notices.waiting()

    def add(self, pid: int) -> None:
        """This one is of the family too."""
        self._pids.add(pid)

    def news(self) -> list[tuple[int, int, int, int]]:
        """The notices of the family since the call before: see `Notices.take`."""
        notices, accounts = self._notices.take()
        mine = []
        ended = set()
        for notice in notices:
            what, _, pid, parent = notice
            if what == BEGAN and parent in self._pids:
                self._pids.add(pid)
            elif pid not in self._pids or what == BEGAN:
                continue
            if what == ENDED:
                self._pids.discard(pid)
                ended.add(pid)
            mine.append(notice)
        # One may have come and gone while its account was read, and its notices come next time.
        for pid, account in (*self._unclaimed.items(), *accounts.items()):
            if pid in ended or pid in self._pids:
                self._accounts[pid] = account
        self._unclaimed = accounts
        return mine

    def account(self, pid: int) -> Account | None:
        """What the kernel said of one that ended; asked for once."""
        return self._accounts.pop(pid, None)

    def close(self) -> None:
        """Listen no more."""
        self._notices.close()
