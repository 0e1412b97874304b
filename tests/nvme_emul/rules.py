"""Properties that several Specs of this house use."""

from amaranth import *
from amaranth.hdl import Assert, Assume

__all__ = ["assume_producer", "assert_producer", "symbolic"]


def _held(m, stream, check, name):
    payload = stream.payload
    payload = payload.as_value() if hasattr(payload, "as_value") else payload
    waits  = Signal(name=f"{name}_waits")
    before = Signal(len(payload), name=f"{name}_before")
    m.d.sync += [waits.eq(stream.valid & ~stream.ready), before.eq(payload)]
    with m.If(waits):
        m.d.comb += check(stream.valid & (payload == before))


def assume_producer(m, stream, name):
    """Who feeds ``stream`` keeps the stream rules."""
    _held(m, stream, Assume, name)


def assert_producer(m, stream, name):
    """Who offers ``stream`` keeps the stream rules."""
    _held(m, stream, Assert, name)


def symbolic(m, free, width, name):
    """A value that the solver chooses once."""
    chosen = Signal(width, name=name)
    before = Signal(width, name=f"{name}_before")
    begun  = Signal(name=f"{name}_begun")
    m.d.sync += [before.eq(chosen), begun.eq(1)]
    with m.If(begun):
        m.d.comb += Assume(chosen == before)
    free.append(chosen)
    return chosen
