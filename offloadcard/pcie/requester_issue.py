"""Reads leave for the link: each with its function's requester id, or not at all."""

# Ref: pcie-5.0, 2.2.6.2 (Transaction Descriptor - Transaction ID Field), 7.5.1.1.3 (Command
# Register: Bus Master Enable)

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Buffer
from ..rtl.ports import READ_MAX, attributes
from .credits import CreditGate
from .functions import function_row, routing_id, settings
from .header import memory_request
from .requester_gate import Gate
from .requester_records import EPOCH_WIDTH, INDEX_WIDTH, launch
from .spec import credit, tlp_beat

__all__ = ["Issue", "read_tlp"]


def read_tlp(*, tags, function_id_width):
    """A TLP of a read request that has its tag."""
    return data.StructLayout({
        "function_id": function_id_width,
        "port":        1,
        "address":     64,
        "octets":      range(READ_MAX + 1),
        "length_dw":   11,
        "first_be":    4,
        "last_be":     4,
        "attributes":  attributes(),
        "tag":         range(tags),
        "slot":        range(tags),
        "index":       INDEX_WIDTH,
        "last":        1,
        "position":    range(READ_MAX),
    })


class Issue(wiring.Component):
    """Send TLPs of functions that are alive and bus master; refuse all others.

    The verdict is that of the cycle before the TLP is handed over, however long it waited for
    credits. What is refused needs no credit.

    Timing
    ------
    Latency 3 cycles; one TLP per cycle.

    Parameters
    ----------
    tags : int
        Number of tags.
    function_id_width, data_width : int
        As of the DMA ports.

    Members
    -------
    tlps : ``In(stream.Signature(read_tlp(...)))``
        What shall be read.
    reads : ``Out(stream.Signature(tlp_beat(...)))``
        MRd TLPs.
    launches : ``Out(stream.Signature(launch(...), always_ready=True))``
        The record of each TLP, sent or refused.
    refusals : ``Out(stream.Signature(range(tags)))``
        Tags that are refused; the launch comes in the cycle of the transfer.
    epoch : ``In(EPOCH_WIDTH)``
        Coarse time.
    rows : ``In(stream.Signature(function_row(...), always_ready=True))``
        News of the function table.
    settings : ``In(settings(...))``
        The bus number, for requester ids.
    headers : ``In(credit(width=8))``
        CREDIT_LIMIT of non-posted headers.
    link_up : ``In(1)``
        Low refuses everything.
    passing : ``Out(1)``
        A TLP that rows of earlier cycles let through has not left yet.
    """

    def __init__(self, *, tags, function_id_width, data_width):
        self.tags = tags
        self.ids = {"function_id_width": function_id_width}
        self.data_width = data_width
        super().__init__({
            "tlps":     In(stream.Signature(read_tlp(tags=tags, **self.ids))),
            "reads":    Out(stream.Signature(tlp_beat(data_width=data_width))),
            "launches": Out(stream.Signature(launch(tags=tags, **self.ids), always_ready=True)),
            "refusals": Out(stream.Signature(range(tags))),
            "epoch":    In(EPOCH_WIDTH),
            "rows":     In(stream.Signature(function_row(**self.ids), always_ready=True)),
            "settings": In(settings(**self.ids)),
            "headers":  In(credit(width=8)),
            "link_up":  In(1),
            "passing":  Out(1),
        })

    obeys_gate = True  # a mutant does not
    waits_for_leavers = True  # nor does another

    def elaborate(self, platform):
        m = Module()

        m.submodules.gate    = gate    = Gate(**self.ids)
        m.submodules.credits = credits = CreditGate(data_max=0)
        m.submodules.out     = out     = Buffer(tlp_beat(data_width=self.data_width))
        wiring.connect(m, wiring.flipped(self.rows), gate.rows)
        wiring.connect(m, out.o, wiring.flipped(self.reads))
        m.d.comb += [
            credits.headers.eq(self.headers),
            credits.payload.infinite.eq(1),
            credits.reset.eq(~self.link_up),
        ]

        # Whether a tag is out is the difference of two bits; this is the issuing side's.
        m.submodules.toggles = toggles = memory.Memory(shape=1, depth=self.tags, init=[])
        toggle_w = toggles.write_port()
        toggle_r = toggles.read_port(transparent_for=(toggle_w,))

        full, tlp = Signal(), Signal.like(self.tlps.payload)
        coming = Signal.like(self.tlps.payload)  # what stands here in the next cycle
        fresh  = Signal()                        # the memories speak of the present TLP
        moves  = Signal()
        m.d.comb += [
            self.tlps.ready.eq(~full | moves),
            coming.eq(Mux(self.tlps.ready, self.tlps.payload, tlp)),
            gate.function_id.eq(coming.function_id),
            toggle_r.addr.eq(coming.tag),
        ]
        m.d.sync += tlp.eq(coming)
        with m.If(self.tlps.ready):
            m.d.sync += full.eq(self.tlps.valid)
        m.d.comb += fresh.eq(full)

        may = Signal()
        m.d.comb += may.eq(gate.open & self.link_up)
        if not self.obeys_gate:
            m.d.comb += may.eq(1)
        # Refused is refused, and sent is sent: an offer is never taken back.
        refused = Signal()
        m.d.comb += [
            self.refusals.valid.eq(fresh & (refused | ~may)),
            self.refusals.payload.eq(tlp.tag),
            out.i.valid.eq(fresh & ~refused & may & credits.enough),
            credits.taken.eq(out.i.valid & out.i.ready),
            moves.eq((out.i.valid & out.i.ready)
                     | (self.refusals.valid & self.refusals.ready)),
        ]
        m.d.sync += refused.eq(self.refusals.valid & ~self.refusals.ready)

        # What stands in `out` when news come was let through by older ones.
        leaving = Signal(range(3))
        m.d.comb += self.passing.eq((leaving != 0) if self.waits_for_leavers else 0)
        with m.If(self.rows.valid):
            m.d.sync += leaving.eq(2)
        with m.Elif(~out.o.valid):
            m.d.sync += leaving.eq(0)
        with m.Elif(out.o.ready & (leaving != 0)):
            m.d.sync += leaving.eq(leaving - 1)

        requester_id = routing_id(m, self.settings, tlp.function_id)
        record = self.launches.p.record
        m.d.comb += [
            self.launches.valid.eq(moves),
            self.launches.p.tag.eq(tlp.tag),
            record.requester_id.eq(requester_id),
            record.function_id.eq(tlp.function_id),
            record.port.eq(tlp.port),
            record.slot.eq(tlp.slot),
            record.index.eq(tlp.index),
            record.last.eq(tlp.last),
            record.position.eq(tlp.position),
            record.octets.eq(tlp.octets),
            record.lower.eq(tlp.address[:7]),
            record.epoch.eq(self.epoch),
            record.toggle.eq(~toggle_r.data),
            toggle_w.addr.eq(tlp.tag),
            toggle_w.data.eq(~toggle_r.data),
            toggle_w.en.eq(moves),
            out.i.p.header.eq(memory_request(
                m, write=False, address=tlp.address, length_dw=tlp.length_dw,
                first_be=tlp.first_be, last_be=tlp.last_be, tag=tlp.tag,
                requester_id=requester_id, attributes=tlp.attributes)),
            out.i.p.first.eq(1),
            out.i.p.last.eq(1),
        ]

        return m
