"""Keys that a guest of User-Mode Linux has overlooked: they are shown to it again.

Its kernel watches its console by epoll, edge-triggered. A key that comes while it waits for its
turn, with interrupts disabled, is an edge that its signal handler takes, as far as to note that a
signal is pending; when interrupts are enabled again, it asks epoll once more, which has no edge any
longer. The key is then read with the next one.
"""

# Ref: linux-6.1, arch/um/kernel/irq.c (_sigio_handler), arch/um/os-Linux/irq.c (EPOLLET)

import fcntl
import os
import signal
import struct
import termios
import time

__all__ = ["Keys"]

_EVERY_S = 0.05
_TAKEN_S = 0.002  # of a signal's way to a handler on another processor


class Keys:
    """Of one terminal.

    Parameters
    ----------
    terminal : Path
    process : subprocess.Popen
        The guest's kernel.

    Attributes
    ----------
    shown : int
        How often keys were shown again.
    """

    def __init__(self, terminal, process):
        self.process, self.shown, self._looked = process, 0, 0.0
        self._file = os.open(terminal, os.O_RDONLY | os.O_NOCTTY)
        # Setting what is set already must not stop us where we are in the background.
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)

    def _waiting(self):
        """Octets that nobody has read."""
        return struct.unpack("i", fcntl.ioctl(self._file, termios.FIONREAD, bytes(4)))[0]

    def show(self):
        """Only while the guest stands still: if keys wait, let its next turn begin with them.

        Setting a terminal's attributes wakes its readers, which is an edge, without a signal. The
        signal takes the edge before it and leaves its note; the edge behind it is there when the
        note is read. The kernel has its handler once it has made its console raw.
        """
        if time.monotonic() - self._looked < _EVERY_S or self.process.poll() is not None:
            return
        self._looked = time.monotonic()
        attributes = termios.tcgetattr(self._file)
        if attributes[3] & termios.ICANON or not self._waiting():
            return
        self.shown += 1
        termios.tcsetattr(self._file, termios.TCSANOW, attributes)
        os.kill(self.process.pid, signal.SIGIO)
        time.sleep(_TAKEN_S)
        termios.tcsetattr(self._file, termios.TCSANOW, attributes)

    def close(self):
        """Let the terminal go."""
        os.close(self._file)
