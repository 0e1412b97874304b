"""Keys that wait at a terminal are shown again to who waits for edges."""

import os
import pty
import select
import signal
import time
import tty
from types import SimpleNamespace

import pytest

from sim.bridge.keys import Keys


@pytest.fixture
def terminal():
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def ready(ours, octets):
    os.write(ours, octets)
    time.sleep(0.01)  # the host carries them to the other end


def test_an_edge_that_was_taken_comes_again(terminal):
    """As the kernel's handler does: the first signal takes the edge, and a note is left."""
    ours, theirs = terminal
    tty.setraw(theirs)
    epoll, taken = select.epoll(), []
    epoll.register(theirs, select.EPOLLIN | select.EPOLLET)
    before = signal.signal(signal.SIGIO, lambda *_: taken.append(epoll.poll(0)))
    keys = Keys(os.ttyname(theirs), SimpleNamespace(pid=os.getpid(), poll=lambda: None))
    try:
        ready(ours, b"k")
        assert epoll.poll(0) and not epoll.poll(0)
        keys.show()
        assert keys.shown == 1 and taken == [[(theirs, select.EPOLLIN)]]
        assert epoll.poll(0) == [(theirs, select.EPOLLIN)]
        keys.show()
        assert keys.shown == 1  # not so soon
        time.sleep(0.06)
        assert os.read(theirs, 9) == b"k"
        keys.show()
        assert keys.shown == 1  # nothing waits
    finally:
        keys.close()
        signal.signal(signal.SIGIO, before)


def test_a_kernel_without_a_console_gets_no_signal(terminal):
    """It would die of it: it has no handler yet, and the terminal is as the host left it."""
    ours, theirs = terminal
    keys = Keys(os.ttyname(theirs), SimpleNamespace(pid=-1, poll=lambda: None))
    ready(ours, b"k\n")
    keys.show()
    keys.close()
    assert keys.shown == 0
