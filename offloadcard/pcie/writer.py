"""DMA writes of both devices, and interrupts, in one posted order."""

# Ref: pcie-5.0, 2.2.7 (Memory, I/O, and Configuration Request Rules), 2.4.1 (Transaction Ordering
# Rules)

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.arbiter import Merge
from ..rtl.buffer import Buffer, Queue
from ..rtl.ports import WRITE_MAX, DmaWritePort, attributes, dma_write_beat
from .credits import CreditGate
from .functions import error_message, function_row, routing_id, settings
from .header import memory_request, message_request
from .order import COUNT_WIDTH, LinkGuard, Stragglers
from .requester_cut import Cutter
from .requester_gate import Gate
from .spec import MPS_OCTETS, credit, payload_credits, tlp_beat
from .writer_funnel import Funnel, funnel_tlp, posted_beat

__all__ = ["Writer"]

LINES    = 32  # of the data path that wait between the ports and their TLPs
MESSAGES = 8   # that wait for a place between them


class Writer(wiring.Component):
    """Accept or refuse writes whole, cut them, and send them in the order of acceptance.

    A write is accepted if its function is alive and bus master when its first beat arrives; from
    then on it will leave. Its answer comes with its last beat.

    Timing
    ------
    First beat in → first beat out 8 cycles. One beat per cycle; a write that begins off a DW takes
    one beat more only where its octets need it.

    Parameters
    ----------
    config : CardConfig
        The card.

    Members
    -------
    ports : ``In(DmaWritePort(...)).array(2)``
        The devices.
    interrupts : ``In(stream.Signature(dma_write_beat(...)))``
        MSI-X messages; they get no answer.
    messages : ``In(stream.Signature(error_message(...), always_ready=True))``
        For the root complex; they leave between writes, and up to 8 wait. More are lost.
    writes : ``Out(stream.Signature(tlp_beat(...)))``
        MWr and Msg TLPs.
    accepted, departed : ``Out(COUNT_WIDTH)``
        Writes accepted, and writes that have left, since power-up; modulo.
    begun, ended : ``Out(stream.Signature(function_id_width, always_ready=True))``
        The function of a write that is being accepted; of one that has left.
    refused : ``Out(1)``
        A write was refused, for one cycle.
    passing : ``Out(1)``
        An error message from before the last news has not left yet.
    interrupt_decided : ``Out(1)``
        A message was accepted or refused, and counted, in the cycle before.
    rows, settings : ``In``
        The function table, as of :class:`offloadcard.pcie.front.Front`.
    headers, payload : ``In(credit(...))``
        CREDIT_LIMIT of posted headers and data.
    link_up : ``In(1)``
        Low discards what is accepted.
    """

    def __init__(self, config):
        self.config = config
        self.ids    = {"function_id_width": config.function_id_width}
        self.widths = {**self.ids, "tag_width": config.dma_tag_width,
                       "data_width": config.data_width}
        event = stream.Signature(config.function_id_width, always_ready=True)
        super().__init__({
            "ports":      In(DmaWritePort(**self.widths)).array(2),
            "interrupts": In(stream.Signature(dma_write_beat(**self.widths))),
            "messages":   In(stream.Signature(error_message(**self.ids), always_ready=True)),
            "writes":     Out(stream.Signature(tlp_beat(data_width=config.data_width))),
            "accepted":   Out(COUNT_WIDTH),
            "departed":   Out(COUNT_WIDTH),
            "begun":      Out(event),
            "ended":      Out(event),
            "refused":    Out(1),
            "passing":    Out(1),
            "interrupt_decided": Out(1),
            "rows":       In(stream.Signature(function_row(**self.ids), always_ready=True)),
            "settings":   In(settings(**self.ids)),
            "headers":    In(credit(width=8)),
            "payload":    In(credit(width=12)),
            "link_up":    In(1),
        })

    obeys_gate = True  # a mutant does not

    def elaborate(self, platform):
        m = Module()

        config = self.config
        beat   = dma_write_beat(**self.widths)
        user   = data.StructLayout({"function_id": config.function_id_width,
                                    "attributes": attributes()})
        m.submodules.merge   = merge   = Merge(beat, count=3)
        m.submodules.gate    = gate    = Gate(**self.ids)
        m.submodules.cutter  = cutter  = Cutter(user, length_max=WRITE_MAX)
        m.submodules.lines   = lines   = Queue(config.data_width, depth=LINES)
        m.submodules.credits = credits = CreditGate(data_max=payload_credits(MPS_OCTETS[-1] // 4))
        m.submodules.funnel  = funnel  = Funnel(data_width=config.data_width,
                                                octets_max=MPS_OCTETS[-1], **self.ids)
        wiring.connect(m, wiring.flipped(self.rows), gate.rows)
        for number, source in enumerate([*(port.beats for port in self.ports), self.interrupts]):
            m.submodules[f"entry_{number}"] = entry = Buffer(beat)
            wiring.connect(m, wiring.flipped(source), entry.i)
            wiring.connect(m, entry.o, merge.i[number])

        # The first beat of a write decides on it.
        full, now, source = Signal(), Signal(beat), Signal(2)
        coming, moves     = Signal(config.function_id_width), Signal()
        verdict, held, ok = Signal(), Signal(), Signal()
        m.d.comb += [
            merge.o.ready.eq(~full | moves),
            coming.eq(Mux(merge.o.ready, merge.o.p.function_id, now.function_id)),
            gate.function_id.eq(coming),
            verdict.eq(gate.open & self.link_up),
            ok.eq(Mux(now.first, verdict, held)),
        ]
        if not self.obeys_gate:
            m.d.comb += verdict.eq(1)
        with m.If(merge.o.ready):
            m.d.sync += [full.eq(merge.o.valid), now.eq(merge.o.payload), source.eq(merge.index)]

        # What is accepted rests once, so that the verdict ends at a register.
        m.submodules.taken = taken = Buffer(beat)
        request, line = cutter.i.p, taken.o.p
        m.d.comb += [
            taken.i.payload.eq(now),
            taken.i.valid.eq(full & ok),
            cutter.i.valid.eq(taken.o.valid & line.first & lines.i.ready),
            request.address.eq(line.address),
            request.length.eq(line.length),
            request.limit.eq(self.settings.max_payload),
            request.user.function_id.eq(line.function_id),
            request.user.attributes.eq(line.attributes),
            lines.i.payload.eq(line.data.as_value()),
            lines.i.valid.eq(taken.o.valid & (cutter.i.ready | ~line.first)),
            taken.o.ready.eq(lines.i.ready & (cutter.i.ready | ~line.first)),
            # What is refused waits for the same room, so that no verdict goes back to the ports.
            moves.eq(full & taken.i.ready),
            self.begun.valid.eq(moves & ok & now.first),
            self.begun.payload.eq(now.function_id),
        ]
        m.d.sync += [self.refused.eq(moves & ~ok & now.last),
                     self.interrupt_decided.eq(moves & now.last & (source == 2))]
        with m.If(moves):
            m.d.sync += held.eq(ok)
            # Counted as it begins: a completion that follows must not pass its later pieces.
            with m.If(now.first & ok):
                m.d.sync += self.accepted.eq(self.accepted + 1)
        for number, port in enumerate(self.ports):
            m.d.sync += [
                port.answers.valid.eq(moves & now.last & (source == number)),
                port.answers.p.function_id.eq(now.function_id),
                port.answers.p.tag.eq(now.tag),
                port.answers.p.error.eq(~ok),
            ]

        # TLPs wait for credits, then for their octets.
        piece = cutter.o.p
        shape = funnel_tlp(octets_max=MPS_OCTETS[-1], **self.ids)
        m.submodules.ready = ready = Buffer(shape)
        enough = Signal()
        need   = Signal.like(credits.data)
        # A message takes its turn behind a whole write, decided a cycle before.
        m.submodules.messages = messages = Queue(self.messages.payload.shape(),
                                                       depth=MESSAGES)
        tells, inside = Signal(), Signal()
        told = Signal(data.ArrayLayout(32, 4))
        m.d.sync += told.as_value().eq(message_request(
            m, code=messages.o.p.code, requester_id=routing_id(
                m, self.settings, messages.o.p.function_id)).as_value())
        header = memory_request(
            m, write=True, address=piece.address, length_dw=piece.length_dw,
            first_be=piece.first_be, last_be=piece.last_be, tag=0, attributes=piece.user.attributes,
            requester_id=routing_id(m, self.settings, piece.user.function_id))
        with m.If(tells):
            m.d.sync += tells.eq(~messages.o.ready)
        with m.Elif(messages.o.valid):
            m.d.sync += tells.eq(~Mux(credits.taken, ~piece.last, inside))
        with m.If(credits.taken & ~tells):
            m.d.sync += inside.eq(~piece.last)
        m.d.comb += [
            messages.i.payload.eq(self.messages.payload),
            messages.i.valid.eq(self.messages.valid),
            messages.o.ready.eq(tells & ready.i.ready & enough),
            need.eq(Mux(tells, 0, (piece.length_dw + 3) >> 2)),
            credits.headers.eq(self.headers),
            credits.payload.eq(self.payload),
            credits.data.eq(need),
            credits.reset.eq(~self.link_up),
            enough.eq(credits.enough | ~self.link_up),
            ready.i.valid.eq((tells | cutter.o.valid) & enough),
            cutter.o.ready.eq(ready.i.ready & enough & ~tells),
            credits.taken.eq(ready.i.valid & ready.i.ready),
            ready.i.p.header.as_value().eq(Mux(tells, told.as_value(), header.as_value())),
            ready.i.p.function_id.eq(piece.user.function_id),
            ready.i.p.span.eq(Mux(tells, 0, piece.octets + piece.address[:2])),
            ready.i.p.begin.eq(Mux(tells, 0, piece.offset - piece.address[:2])),
            ready.i.p.final.eq(piece.last & ~tells),
            ready.i.p.message.eq(tells),
        ]
        wiring.connect(m, ready.o, funnel.tlps)
        wiring.connect(m, lines.o, funnel.lines)

        m.submodules.guard = guard = LinkGuard(posted_beat(data_width=config.data_width,
                                                           **self.ids))
        wiring.connect(m, funnel.o, guard.i)
        leaves = Signal()
        m.d.comb += [
            guard.last.eq(guard.i.p.tlp.last),
            guard.link_up.eq(self.link_up),
            self.writes.payload.eq(guard.o.p.tlp),
            self.writes.valid.eq(guard.o.valid),
            guard.o.ready.eq(self.writes.ready),
            leaves.eq(guard.i.valid & guard.i.ready & guard.i.p.tlp.last & guard.i.p.final),
            self.ended.valid.eq(leaves),
            self.ended.payload.eq(guard.i.p.function_id),
        ]
        with m.If(leaves):
            m.d.sync += self.departed.eq(self.departed + 1)
        m.submodules.stragglers = stragglers = Stragglers(most=MESSAGES + 7)
        m.d.comb += [
            stragglers.came.eq(messages.i.valid & messages.i.ready),
            stragglers.left.eq(guard.i.valid & guard.i.ready & guard.i.p.message),
            stragglers.news.eq(self.rows.valid),
            self.passing.eq(stragglers.passing),
        ]

        return m
