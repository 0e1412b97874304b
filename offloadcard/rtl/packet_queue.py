"""Packets rest in memory until they are whole; then they go on, or it was as if they never came."""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .buffer import Queue

__all__ = ["PacketQueue", "queued_beat"]


def queued_beat(shape, meta_shape):
    """A beat as it leaves: what came in, and ``meta`` of its packet, constant to the last beat."""
    return data.StructLayout({"beat": shape, "meta": meta_shape})


class PacketQueue(wiring.Component):
    """Store a packet whole, then commit it, or roll it back.

    With the last beat the producer says what is known only then: ``meta`` (the length, say) and
    whether to ``discard``. A packet that finds no room is discarded whole and ``overrun`` tells so:
    the input is never stalled. A beat with ``first`` discards what was begun before and not ended.

    Timing
    ------
    A packet's first beat leaves 2 cycles after its last came in; one beat per cycle both ways.

    Parameters
    ----------
    shape : Layout
        Shape of a beat; has fields ``first`` and ``last``.
    meta_shape : shape-castable
        Shape of ``meta``.
    depth : int
        Beats that fit; a power of two.

    Members
    -------
    i : ``In(stream.Signature(shape, always_ready=True))``
        Beats in.
    meta : ``In(meta_shape)``
        Counts with the last beat.
    discard : ``In(1)``
        Counts with the last beat.
    o : ``Out(stream.Signature(queued_beat(shape, meta_shape)))``
        Beats of whole packets, in order.
    overrun : ``Out(1)``
        A packet that should have been kept was discarded in the cycle before: no room.
    torn : ``Out(1)``
        A packet was discarded in the cycle before: another began before it ended.
    """

    # What a mutant changes: roll the write position back when a packet is discarded.
    _rolls_back = True

    def __init__(self, shape, *, meta_shape, depth):
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"`depth` must be a power of two, 2 or more, not {depth!r}")
        self.shape      = shape
        self.meta_shape = meta_shape
        self.depth      = depth
        super().__init__({
            "i":       In(stream.Signature(shape, always_ready=True)),
            "meta":    In(meta_shape),
            "discard": In(1),
            "o":       Out(stream.Signature(queued_beat(shape, meta_shape))),
            "overrun": Out(1),
            "torn":    Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        m.submodules.store = store = memory.Memory(shape=self.shape, depth=self.depth, init=[])
        m.submodules.metas = metas = Queue(self.meta_shape, depth=self.depth)
        w_port, r_port = store.write_port(), store.read_port()

        # Positions have one bit more than the address, so that full and empty differ. Levels are
        # kept beside them: their top bit is all that a beat has to look at.
        committed = Signal(range(2 * self.depth))
        ahead     = Signal.like(committed)
        committed_level = Signal(range(self.depth + 1))
        ahead_level     = Signal.like(committed_level)
        begun     = Signal()
        spoiled   = Signal()

        beat  = self.i.p
        start = Signal.like(committed)
        level = Signal.like(committed_level)
        back  = Signal()
        moves = Signal()
        room  = Signal()
        lost  = Signal()
        torn  = Signal()
        m.d.comb += [
            torn.eq(self.i.valid & beat.first & begun),
            back.eq(beat.first & self._rolls_back),
            start.eq(Mux(back, committed, ahead)),
            level.eq(Mux(back, committed_level, ahead_level)),
            room.eq(~Mux(back, committed_level[-1], ahead_level[-1])),
            lost.eq(~room | spoiled & ~beat.first),
            w_port.addr.eq(start[:-1]),
            w_port.data.eq(self.i.payload),
            w_port.en.eq(self.i.valid & room),
            metas.i.payload.eq(self.meta),
            metas.i.valid.eq(self.i.valid & beat.last & ~self.discard & ~lost
                             & (beat.first | begun)),
        ]
        m.d.sync += [self.torn.eq(torn), self.overrun.eq(0),
                     committed_level.eq(committed_level - moves),
                     ahead_level.eq(ahead_level - moves)]
        with m.If(self.i.valid & (beat.first | begun)):
            m.d.sync += [begun.eq(~beat.last), spoiled.eq(lost), ahead.eq(start + room),
                         ahead_level.eq(level + room - moves)]
            with m.If(beat.last):
                m.d.sync += self.overrun.eq(lost & ~self.discard)
                with m.If(metas.i.valid):
                    m.d.sync += [committed.eq(start + 1), committed_level.eq(level + 1 - moves)]

        # The reader: the memory's output is the place where a beat waits.
        fetch = Signal()
        held  = Signal()
        fetched = Signal.like(committed)
        m.d.comb += [
            moves.eq(self.o.valid & self.o.ready),
            fetch.eq((~held | moves) & (fetched != committed)),
            r_port.addr.eq(fetched[:-1]),
            r_port.en.eq(fetch),
            self.o.valid.eq(held & metas.o.valid),
            self.o.p.beat.eq(r_port.data),
            self.o.p.meta.eq(metas.o.payload),
            metas.o.ready.eq(moves & r_port.data.last),
        ]
        with m.If(fetch):
            m.d.sync += [held.eq(1), fetched.eq(fetched + 1)]
        with m.Elif(moves):
            m.d.sync += held.eq(0)

        return m
