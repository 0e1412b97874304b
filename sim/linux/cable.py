"""The wire between two cards, each in a simulation of its own, and their one time line.

A frame takes :data:`DELAY_NS` from one card to the other, so neither can be touched by what the
other does in the next :data:`DELAY_NS`; nor earlier than that after the first thing that can
happen on either card, when both rest. Until then goes a window. The first card runs it, hands over
its frames and stands still; then the second runs the same window. So there are no races between
the cards, nor in the folder that all guests share, and a run repeats bit for bit.
"""

# Ref: Chandy and Misra, Distributed Simulation, 1979 (conservative, with lookahead)

import time
from ipaddress import IPv4Address
from multiprocessing.connection import Client, Listener

import cocotb

from offloadcard.control.network import Fabric
from sim.rig import FABRIC

__all__ = ["CARDS", "DELAY_NS", "Cable", "fabric"]

CARDS = 2
DELAY_NS = 2_000  # from the last octet to the first: two PHYs and a switch (guess)
_LONGEST_NS = 1_000_000_000
_FOREVER = 1 << 62
_PATIENCE_S = 300  # of wall time, until the other card is provided


def fabric(card):
    """Addresses of that card on the wire; each is the other's next hop."""
    return FABRIC if card == 0 else \
        Fabric(IPv4Address(int(FABRIC.address) + card), FABRIC.next_hop_mac, FABRIC.mac)


class Cable:
    """One end.

    Parameters
    ----------
    env : sim.env.Env
    timeline : sim.linux.timeline.Timeline
    card : int
        0 runs each window first.
    path : Path
        Of the socket between the two processes.

    Attributes
    ----------
    horizon_ns : int
        Nothing comes from the other card before.
    frames : list of (time_ns, octets)
        What passed on the wire, both ways.
    under_way : int
        Frames that have not come yet.
    windows : int
    """

    routes, refused = {}, 0  # as of a Router, which this stands for

    def __init__(self, env, timeline, card, path):
        self.env, self.timeline, self.card, self.path = env, timeline, card, str(path)
        self.frames, self.under_way, self.windows = [], 0, 0
        self.horizon_ns, self._sent, self._other, self._task = DELAY_NS, [], None, None
        env.listen_to_wire(self._went)

    # --- frames ---

    def _went(self, _time_ps, octets, error):
        now = self.timeline.now_ns
        self.frames.append((now, octets))
        self._sent.append((now, octets, error))

    async def _come(self, at_ns, octets, error):
        await self.timeline.sleep(at_ns - self.timeline.now_ns)
        self.frames.append((self.timeline.now_ns, octets))
        self.env.wire_send(octets, error=error)
        self.under_way -= 1

    # --- time ---

    def begin(self, due):
        """Time 0, on both cards: returns when it is this one's turn.

        ``due()`` is the first time at which a guest of this card may act, if nothing comes.
        """
        self.due, self._other = due, self._connect()
        if self.card:
            self._first = self._hear()
        self._task = cocotb.start_soon(self._run())

    def _connect(self):
        if self.card == 0:
            with Listener(self.path, "AF_UNIX") as listener:
                return listener.accept()
        for _ in range(_PATIENCE_S * 20):
            try:
                return Client(self.path, "AF_UNIX")
            except (FileNotFoundError, ConnectionRefusedError):
                time.sleep(0.05)
        raise RuntimeError(f"the first card must be there within {_PATIENCE_S} s")

    def _promise(self):
        """The first time at which this card may send something, if nothing comes."""
        now = self.timeline.now_ns
        return min(max(self.due(), now), now + _LONGEST_NS) if self.timeline.idle else now

    def _hear(self):
        """What the other card's window came to: ``(promise, did it send?)``."""
        try:
            promise, frames = self._other.recv()
        except (EOFError, ConnectionError):
            raise RuntimeError("the other card's simulation ended before its guests") from None
        for sent_ns, octets, error in frames:
            at = sent_ns + DELAY_NS
            if at < self.timeline.now_ns:
                raise RuntimeError(f"a frame of the other card must come by {at} ns, and it is "
                                   f"{self.timeline.now_ns} ns")
            self.under_way += 1
            cocotb.start_soon(self._come(at, octets, error))
        if promise is None:  # its guests are gone, and nobody moves its time any more
            self._other.close()
            self._other, self.horizon_ns = None, _FOREVER
        return promise, bool(frames)

    def _tell(self, promise):
        """Hand over; ``(promise, did we send?)``."""
        frames, self._sent = self._sent, []
        self._other.send((promise, frames))
        return promise, bool(frames)

    async def _run(self):
        while self._other is not None:
            await self.timeline.sleep(self.horizon_ns - self.timeline.now_ns)
            self.windows += 1
            if self.card == 0:
                first, second = self._tell(self._promise()), self._hear()
            else:
                first, second = self._first, self._tell(self._promise())
            if self._other is None:
                return
            # The first card promised before it heard of the second's frames.
            now = self.timeline.now_ns
            self.horizon_ns = DELAY_NS + (now if second[1] else min(first[0], second[0]))
            if self.card:
                self._first = self._hear()

    def end(self):
        """This card's guests are gone: the other goes on by itself."""
        if self._task is not None:
            self._task.cancel()
        if self._other is not None:
            self._tell(None)
            self._other.close()
            self._other = None
