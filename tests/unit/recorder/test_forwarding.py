"""The witness of the launcher's signals: a real child, real signals."""

from __future__ import annotations

import os
import signal

import pytest

from timeline.recorder.forwarding import Witness

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no such signals here")


def test_a_witness_that_ends_while_it_is_asked_has_got_nothing():
    witness = Witness()
    witness.start([signal.SIGUSR1])
    before = signal.signal(signal.SIGALRM, lambda number, frame: witness.end())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        assert not witness.has_got(signal.SIGUSR1)
        assert not witness.has_got(signal.SIGUSR1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        witness.end()


@pytest.mark.parametrize("free", range(5))
def test_where_no_file_can_be_opened_there_is_no_witness_and_nothing_stays_open(free):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    witness = Witness()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))
        while len(held) < 64:
            try:
                held.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        for fd in [held.pop() for _ in range(free)]:
            os.close(fd)
        witness.start([signal.SIGUSR1])
        assert not witness.has_got(signal.SIGUSR1)
        witness.end()
        for _ in range(free):
            held.append(os.open(os.devnull, os.O_RDONLY))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in held:
            os.close(fd)
