"""The way out: octets read from the buffer and octets of the transposition become one packet."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .records import PATCH_OCTETS, write_job

__all__ = ["Egress", "leaving_beat"]


def leaving_beat(*, data_width, function_id_width):
    """One beat of a packet on its way to an exit; all but ``data`` and ``first`` is constant."""
    return data.StructLayout({
        "data":        data_width,
        "exit":        2,
        "function_id": function_id_width,
        "length":      14,
        "port":        2,
        "first":       1,
        "last":        1,
    })


class Egress(wiring.Component):
    """Write packets: patched octets over those read, moved to where they shall stand.

    Timing
    ------
    A beat leaves 1 cycle after what it needs is there; one beat per cycle, also between packets.
    A packet whose octets move down and whose first beat needs two of those read costs one cycle.

    Parameters
    ----------
    data_width : int
        Bits of a beat.
    function_id_width : int
        Width of ``function_id``.

    Members
    -------
    jobs : ``In(stream.Signature(write_job(...)))``
        What to write.
    beats : ``In(stream.Signature(data_width))``
        Octets read for these jobs, in their order, rotated as the jobs say.
    o : ``Out(stream.Signature(leaving_beat(...)))``
        The packets.
    done : ``Out(1)``
        The last beat of a job has been written.
    """

    # What a mutant changes: no octet of a packet shows in the next.
    _forgets = True

    def __init__(self, *, data_width, function_id_width):
        self.data_width = data_width
        widths = {"data_width": data_width, "function_id_width": function_id_width}
        super().__init__({
            "jobs":  In(stream.Signature(write_job(**widths))),
            "beats": In(stream.Signature(data_width)),
            "o":     Out(stream.Signature(leaving_beat(**widths))),
            "done":  Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        lanes = self.data_width // 8
        job, o = self.jobs.p, self.o.p
        going   = Signal()
        # Numbers of what remains, and what is known of them: the next beat leads, some are to be
        # read, this is the last.
        beats_r, lead_r = Signal.like(job.beats), Signal.like(job.lead)
        left_r  = Signal.like(job.take)
        leads_r, reads_r, last_r, primed_r = (Signal(name=name) for name in (
            "leads_r", "reads_r", "last_r", "primed_r"))
        patch_r = Signal(8 * PATCH_OCTETS)
        mask_r  = Signal(PATCH_OCTETS)
        given   = Signal()                 # a beat of this job
        before  = Signal(self.data_width)  # the beat read before this one

        beats, lead, left = Signal.like(beats_r), Signal.like(lead_r), Signal.like(left_r)
        leads, reads, last, primed = (Signal(name=name) for name in (
            "leads", "reads", "last", "primed"))
        patch, mask = Signal(8 * PATCH_OCTETS), Signal(PATCH_OCTETS)
        m.d.comb += [
            beats.eq(Mux(going, beats_r, job.beats)),
            lead.eq(Mux(going, lead_r, job.lead)),
            left.eq(Mux(going, left_r, job.take)),
            leads.eq(Mux(going, leads_r, job.leads)),
            reads.eq(Mux(going, reads_r, job.reads)),
            last.eq(Mux(going, last_r, job.one_beat)),
            primed.eq(going & primed_r | ~job.ahead),
            patch.eq(Mux(going, patch_r, job.patch)),
            mask.eq(Mux(going, mask_r, job.mask)),
        ]

        # What this cycle needs, takes and gives.
        wants, gives, takes, free = (Signal(name=name) for name in (
            "wants", "gives", "takes", "free"))
        m.d.comb += [
            free.eq(~self.o.valid | self.o.ready),
            wants.eq(reads & (~leads | ~primed)),
            # While it leads, a beat is given whether or not the one to be held came.
            gives.eq(self.jobs.valid & free & (leads | primed & (self.beats.valid | ~reads))),
            takes.eq(self.jobs.valid & self.beats.valid & wants & Mux(primed, gives, 1)),
            self.beats.ready.eq(takes),
        ]
        primes = Signal()
        m.d.comb += primes.eq(self.jobs.valid & ~primed & (takes | ~reads))

        dry   = Signal()  # nothing is left to read, and nothing of other packets may show
        m.d.comb += dry.eq(~reads)
        moved = Signal(self.data_width)
        low   = Signal(lanes)  # lanes below `rotate` show the beat before
        m.d.comb += low.eq((1 << job.rotate) - 1)
        m.d.comb += moved.eq(Cat(
            Mux(mask[n], patch[8 * n:8 * n + 8],
                Mux(low[n], before[8 * n:8 * n + 8],
                    Mux(dry, 0, self.beats.payload[8 * n:8 * n + 8])))
            for n in range(lanes)))

        with m.If(free):
            m.d.sync += self.o.valid.eq(gives)
        with m.If(gives):
            m.d.sync += [
                o.data.eq(moved), o.exit.eq(job.exit), o.function_id.eq(job.function_id),
                o.length.eq(job.length), o.port.eq(job.port),
                o.first.eq(~given), o.last.eq(last),
            ]
        m.d.comb += [self.jobs.ready.eq(gives & last), self.done.eq(gives & last)]
        with m.If(takes):
            m.d.sync += before.eq(self.beats.payload)
        with m.If(gives & last & self._forgets):
            m.d.sync += before.eq(0)
        with m.If(gives | takes | primes):
            m.d.sync += [
                going.eq(~(gives & last)),
                beats_r.eq(beats - gives),
                last_r.eq(Mux(gives, beats == 2, last)),
                lead_r.eq(lead - (gives & leads)),
                leads_r.eq(leads & ~(gives & (lead == 1))),
                left_r.eq(left - takes),
                reads_r.eq(reads & ~(takes & (left == 1))),
                given.eq((given | gives) & ~(gives & last)),
                primed_r.eq(primed | primes),
                patch_r.eq(Mux(gives, patch[self.data_width:], patch)),
                mask_r.eq(Mux(gives, mask[lanes:], mask)),
            ]

        return m
