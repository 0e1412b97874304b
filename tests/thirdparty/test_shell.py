"""A shell in a Linux guest, typed into key by key, while another guest lives beside it."""

import contextlib
import os
import pty
import select
import subprocess
import sys
import time

import pytest

from offloadcard.config import SMALL
from sim.build import ROOT, card_simulator
from sim.linux import kernel

from .test_linux import MISSING

BOOT_S, KEY_S = 300, 2.5  # of wall time


class Typist:
    """At the terminal of ``offloadcard linux``."""

    def __init__(self, *words):
        self.end, there = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "offloadcard.cli", "linux", *words], cwd=ROOT, stdin=there,
            stdout=there, stderr=there, start_new_session=True,
            env={**os.environ, "TERM": "dumb"})
        os.close(there)
        self.said = b""

    def hear(self, ready, most_s):
        """Seconds until ``ready()``; an assertion fails if that is too long."""
        began = time.monotonic()
        while not ready():
            assert time.monotonic() < began + most_s, self.said[-2000:].decode(errors="replace")
            if select.select([self.end], [], [], 0.05)[0]:
                with contextlib.suppress(OSError):  # nobody has it open any more
                    self.said += os.read(self.end, 4096)
        return time.monotonic() - began

    def type(self, line):
        """Key by key: each must be echoed before the next."""
        for key in line:
            seen = len(self.said)
            os.write(self.end, bytes([key]))
            self.hear(lambda seen=seen: len(self.said) > seen, KEY_S)
            time.sleep(0.02)


@pytest.mark.thirdparty
@pytest.mark.skipif(bool(MISSING), reason=f"needs: apt install {' '.join(MISSING)}")
@pytest.mark.parametrize("words", [("--guests", "2"), ("--cards", "2")], ids="-".join)
def test_every_key_is_seen(words, tmp_path):
    """Lines are typed slowly; each key comes back in time, and each line has its answer."""
    kernel.kernel()
    card_simulator(SMALL)
    typist = Typist(*words, "--out", str(tmp_path / "out"))
    try:
        typist.hear(lambda: typist.said.endswith(b"# "), BOOT_S)
        for number in range(6):
            typist.type(b"echo x$((%d+1))y\r" % number)
            typist.hear(lambda n=number: b"x%dy" % (n + 1) in typist.said, KEY_S)
        typist.said = b""
        typist.type(b"ping -q -c 2 -i 0.01 10.0.0.11\r")
        typist.hear(lambda: b"2 received" in typist.said, 60)
        typist.type(b"exit\r")
        typist.hear(lambda: typist.process.poll() is not None, 60)
        assert typist.process.returncode == 0
    finally:
        typist.process.kill()
        os.close(typist.end)
