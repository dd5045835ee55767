"""The witness of the launcher's signals: a real child, real signals."""

from __future__ import annotations

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
