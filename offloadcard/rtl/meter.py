"""Token buckets in memory: octets and packets per second of each row."""

# Ref: itu-t-i.371, annex A (generic cell rate algorithm; equal to a token bucket)

from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Meter", "meter_limit", "LATENCY"]

LATENCY   = 4
FRACTION  = 16
TIME_BITS = 48


def meter_limit():
    """One limit: what a unit costs in cycles (16.16), and how far ahead of time it may run."""
    return data.StructLayout({"cycles": 32, "burst": 32})


class Meter(wiring.Component):
    """Two token buckets a row, of octets and of packets; a packet passes if both allow it.

    Written as virtual scheduling: a row keeps the time at which it would be even again, so it is
    "refilled" by the clock alone and idle rows need no visit. Limits of 0 do not limit.

    Timing
    ------
    Latency 4 cycles, one packet per cycle, also of the same row; never stalls.

    Parameters
    ----------
    row_width : int
        log2 of the rows.
    length_width : int
        Bits of a packet's length.

    Members
    -------
    row, length : ``In``
        A packet, perhaps.
    charge : ``In(1)``
        3 cycles later: it is one, and it is charged to both buckets if both allow it.
    conforms, exceeded : ``Out(1)``, ``Out(2)``
        4 cycles later: both buckets allow it; those that do not.
    limits : ``In(data.ArrayLayout(meter_limit(), 2))``
        Of octets, of packets: what ``write`` writes.
    write_row, write : ``In(row_width)``, ``In(1)``
        Write the limits of a row.
    """

    def __init__(self, *, row_width, length_width):
        if row_width < 1 or length_width < 1:
            raise ValueError("`row_width` and `length_width` must be positive, "
                             f"not {row_width!r} and {length_width!r}")
        self.row_width    = row_width
        self.length_width = length_width
        super().__init__({
            "row":       In(row_width),
            "length":    In(length_width),
            "charge":    In(1),
            "conforms":  Out(1),
            "exceeded":  Out(2),
            "limits":    In(data.ArrayLayout(meter_limit(), 2)),
            "write_row": In(row_width),
            "write":     In(1),
        })

    def elaborate(self, platform):
        m = Module()

        width = TIME_BITS + FRACTION
        limits_shape = data.ArrayLayout(meter_limit(), 2)
        states_shape = data.ArrayLayout(width, 2)
        m.submodules.limits = limits = memory.Memory(
            shape=limits_shape, depth=1 << self.row_width, init=[])
        m.submodules.states = states = memory.Memory(
            shape=Shape.cast(states_shape).width, depth=1 << self.row_width, init=[])
        now = Signal(TIME_BITS, init=1)
        m.d.sync += now.eq(now + 1)

        limits_w, limits_r = limits.write_port(), limits.read_port()
        m.d.comb += [
            limits_w.addr.eq(self.write_row), limits_w.en.eq(self.write),
            limits_w.data.eq(self.limits), limits_r.addr.eq(self.row),
        ]

        # Cycle 1: limits. Cycle 2: costs. Cycle 3: the rows' states, one turn of the loop.
        rows    = [Signal(self.row_width, name=f"row_{n}") for n in range(3)]
        length  = Signal(self.length_width)
        m.d.sync += [rows[0].eq(self.row), length.eq(self.length)]
        for n in range(2):
            m.d.sync += rows[n + 1].eq(rows[n])
        costs  = [Signal(width, name=f"cost_{n}") for n in range(2)]
        bursts = [Signal(32, name=f"burst_{n}") for n in range(2)]
        counts = (length, C(1))
        for n in range(2):
            m.d.sync += [costs[n].eq(limits_r.data[n].cycles * counts[n]),
                         bursts[n].eq(limits_r.data[n].burst)]
        # All that does not need the state is ready before it comes.
        now_2    = Signal(width)
        costs_r  = [Signal(width, name=f"cost_{n}_r") for n in range(2)]
        idle     = [Signal(width, name=f"idle_{n}") for n in range(2)]    # even, of an idle row
        latest   = [Signal(signed(width), name=f"latest_{n}") for n in range(2)]
        fits     = [Signal(name=f"fits_{n}") for n in range(2)]           # into an idle row
        free     = [Signal(name=f"free_{n}") for n in range(2)]
        m.d.comb += now_2.eq(Cat(C(0, FRACTION), now))
        for n in range(2):
            burst = Signal(width, name=f"burst_{n}_wide")
            m.d.comb += burst.eq(bursts[n] << FRACTION)
            m.d.sync += [
                costs_r[n].eq(costs[n]),
                idle[n].eq(now_2 + costs[n]),
                latest[n].eq(now_2 + burst - costs[n]),
                fits[n].eq(costs[n] <= burst),
                free[n].eq((costs[n] == 0) & (bursts[n] == 0)),
            ]

        states_w = states.write_port()
        states_r = states.read_port(transparent_for=(states_w,))
        m.d.comb += states_r.addr.eq(rows[1])
        state = data.View(states_shape, states_r.data)
        conforms, new = Signal(), Signal(states_shape)
        now_r = Signal(width)
        m.d.sync += now_r.eq(now_2)
        allowed = []
        for n in range(2):
            behind, spare = Signal(signed(width)), Signal(signed(width))
            m.d.comb += [
                behind.eq(state[n] - now_r),
                spare.eq(latest[n] - state[n]),
                new[n].eq(Mux(behind[-1], idle[n], state[n] + costs_r[n])),
            ]
            allowed.append(free[n] | Mux(behind[-1], fits[n], ~spare[-1]))
        m.d.comb += conforms.eq(Cat(allowed).all())
        m.d.comb += [
            states_w.addr.eq(rows[2]), states_w.data.eq(new.as_value()),
            states_w.en.eq(self.charge & conforms),
        ]
        m.d.sync += [self.conforms.eq(conforms), self.exceeded.eq(~Cat(allowed))]

        return m
