"""A card without a will: it sends the TLPs that the host writes into it, and loops the rest.

For the tests of the compiled world. A memory write carries a TLP header (16 octets) and its
payload, which leaves as it is; a memory read returns what the last read completion began with; the
configuration space is one double word of memory each, and the last one written is the number of
cycles that it is busy; frames and packets turn round.
"""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from offloadcard.pcie.spec import credits, tlp_beat
from offloadcard.rtl.buffer import Queue
from offloadcard.rtl.ports import DramPort, ManagementPort, PacketStream
from offloadcard.rtl.spec_card import mac_beat

__all__ = ["Puppet"]


class Puppet(wiring.Component):
    """The border of the card around next to nothing; see the module."""

    def __init__(self, *, data_width=512, function_id_width=3):
        beat = tlp_beat(data_width=data_width)
        frame = mac_beat(data_width=data_width)
        packets = PacketStream(data_width=data_width, function_id_width=function_id_width)
        super().__init__({
            "rx_requests":    In(stream.Signature(beat, always_ready=True)),
            "rx_completions": In(stream.Signature(beat, always_ready=True)),
            "tx_reads":       Out(stream.Signature(beat)),
            "tx_writes":      Out(stream.Signature(beat)),
            "tx_completions": Out(stream.Signature(beat)),
            "tx_credit_limit":     In(credits()),
            "rx_credit_allocated": Out(credits()),
            "wire_rx":    In(stream.Signature(frame, always_ready=True)),
            "wire_tx":    Out(stream.Signature(frame)),
            "exceptions": Out(packets),
            "inject":     In(packets),
            "management": In(ManagementPort()),
            "dram":       Out(DramPort(function_id_width=function_id_width, tag_width=12,
                                       data_width=data_width)),
            "link_up":    In(1),
            "busy":       Out(1),
            "level":      Out(8),  # not of the card: cocotb sees it
        })

    def elaborate(self, platform):
        m = Module()
        width = len(self.rx_requests.p.data.as_value())

        # --- requests: posted ones at once, others one by one ---
        m.submodules.ordered = ordered = Queue(self.tx_writes.p.shape(), depth=64)
        m.submodules.asked = asked = Queue(self.rx_requests.p.shape(), depth=32)
        m.submodules.answers = answers = Queue(self.tx_completions.p.shape(), depth=32)
        rx = self.rx_requests
        header = rx.p.header
        posted = Signal()
        m.d.comb += [
            posted.eq((header[0][24:29] == 0) & header[0][30]),
            asked.i.payload.eq(rx.payload), asked.i.valid.eq(rx.valid & ~posted),
            ordered.i.valid.eq(rx.valid & posted),
            Cat(ordered.i.p.header.as_value(), ordered.i.p.data.as_value()).eq(
                rx.p.data.as_value()),
            ordered.i.p.first.eq(1), ordered.i.p.last.eq(1),
        ]
        is_write = ordered.o.p.header[0][30]
        for out, mine in ((self.tx_reads, ~is_write), (self.tx_writes, is_write)):
            m.d.comb += [out.payload.eq(ordered.o.payload), out.valid.eq(ordered.o.valid & mine)]
        m.d.comb += ordered.o.ready.eq(Mux(is_write, self.tx_writes.ready, self.tx_reads.ready))

        m.submodules.space = space = Memory(shape=32, depth=1024, init=[])
        read, write = space.read_port(domain="comb"), space.write_port(granularity=8)
        question = asked.o.p
        config = question.header[0][26]
        is_read = ~question.header[0][30]
        seen = Signal(64)
        byte_count, completer, lower = Signal(12), Signal(16), Signal(7)
        m.d.comb += [
            read.addr.eq(question.header[2][2:12]), write.addr.eq(read.addr),
            write.data.eq(question.data.as_value()[:32]),
            write.en.eq(Mux(asked.o.valid & answers.i.ready & config & ~is_read,
                            question.header[1][:4], 0)),
            asked.o.ready.eq(answers.i.ready), answers.i.valid.eq(asked.o.valid),
            answers.i.p.first.eq(1), answers.i.p.last.eq(1),
            answers.i.p.header[0].eq(Mux(is_read, 0x4A << 24 | 0, 0x0A << 24)
                                     | Mux(is_read, question.header[0][:2], 0)),
            byte_count.eq(Mux(config, 4, question.header[0][:2] << 2)),
            completer.eq(Mux(config, question.header[2][16:], 0x0100)),
            answers.i.p.header[1].eq(Cat(byte_count, C(0, 4), completer)),
            lower.eq(Mux(config, 0, Mux(question.header[0][29], question.header[3],
                                        question.header[2]))),
            answers.i.p.header[2].eq(Cat(lower, C(0, 1), question.header[1][8:32])),
            answers.i.p.data.as_value().eq(Mux(config, read.data, seen)),
        ]
        busy = Signal(32)
        m.d.comb += self.busy.eq(busy != 0)
        with m.If(self.busy):
            m.d.sync += busy.eq(busy - 1)
        with m.If(write.en.any()):
            m.d.sync += busy.eq(write.data)
        wiring.connect(m, answers.o, wiring.flipped(self.tx_completions))
        with m.If(self.rx_completions.valid & self.rx_completions.p.first):
            m.d.sync += seen.eq(self.rx_completions.p.data.as_value()[:64])

        # --- credits: two cycles after the request ---
        limits = self.rx_credit_allocated
        counts = {name: Signal(shape, init=init) for name, shape, init in (
            ("ph", 8, 16), ("pd", 12, 64), ("nph", 8, 8), ("npd", 12, 8))}
        for name, count in counts.items():
            m.d.comb += limits[name].count.eq(count)
        m.d.comb += [limits.cplh.infinite.eq(1), limits.cpld.infinite.eq(1)]
        units = (header[0][:10] + 3) >> 2
        with m.If(rx.valid & rx.p.last & posted):
            m.d.sync += [counts["ph"].eq(counts["ph"] + 1), counts["pd"].eq(counts["pd"] + units)]
        with m.If(asked.o.valid & asked.o.ready):
            m.d.sync += counts["nph"].eq(counts["nph"] + 1)
            with m.If(~is_read):
                m.d.sync += counts["npd"].eq(counts["npd"] + 1)

        # --- frames and packets turn round ---
        m.submodules.frames = frames = Queue(self.wire_tx.p.shape(), depth=64)
        m.submodules.packets = packets = Queue(self.exceptions.p.shape(), depth=16)
        m.d.comb += [frames.i.payload.eq(self.wire_rx.payload),
                     frames.i.valid.eq(self.wire_rx.valid)]
        wiring.connect(m, frames.o, wiring.flipped(self.wire_tx))
        wiring.connect(m, wiring.flipped(self.inject), packets.i)
        wiring.connect(m, packets.o, wiring.flipped(self.exceptions))
        m.d.comb += self.level.eq(self.link_up)

        # --- management: 0x00 address, 0x08 8 octets of DRAM there, others error ---
        address = Signal(64)
        requests, replies, dram = self.management.requests, self.management.replies, self.dram
        lane = Signal(3, init=5)  # answers arrive in lane 5
        with m.FSM():
            with m.State("IDLE"):
                with m.If(requests.valid):
                    with m.If(requests.p.address == 0):
                        with m.If(requests.p.write):
                            m.d.sync += address.eq(requests.p.data)
                        m.d.comb += [replies.valid.eq(1), replies.p.data.eq(address)]
                    with m.Elif(requests.p.address != 8):
                        m.d.comb += [replies.valid.eq(1), replies.p.error.eq(1)]
                    with m.Elif(requests.p.write):
                        m.d.sync += seen.eq(requests.p.data)
                        m.next = "WRITE"
                    with m.Else():
                        m.next = "READ"
            with m.State("WRITE"):
                m.d.comb += [
                    dram.writes.valid.eq(1), dram.writes.p.address.eq(address),
                    dram.writes.p.length.eq(8), dram.writes.p.first.eq(1),
                    dram.writes.p.last.eq(1), dram.writes.p.tag.eq(3),
                    dram.writes.p.data.as_value().eq(seen)]
                with m.If(dram.writes.ready):
                    m.next = "WRITTEN"
            with m.State("WRITTEN"):
                with m.If(dram.answers.valid):
                    m.d.comb += [replies.valid.eq(1), replies.p.error.eq(dram.answers.p.error)]
                    m.next = "IDLE"
            with m.State("READ"):
                m.d.comb += [dram.reads.valid.eq(1), dram.reads.p.address.eq(address),
                             dram.reads.p.length.eq(8), dram.reads.p.lane.eq(lane)]
                with m.If(dram.reads.ready):
                    m.next = "FETCH"
            with m.State("FETCH"):
                got = Signal(64)
                beats = dram.beats
                m.d.comb += beats.ready.eq(1)
                part = Signal(128)
                m.d.comb += part.eq(beats.p.data.as_value()[:128] if width >= 128
                                    else beats.p.data.as_value())
                with m.If(beats.valid):
                    m.d.sync += got.eq(part >> 40)
                    with m.If(~beats.p.first):
                        m.d.sync += got.eq(got | part << 24)
                    with m.If(beats.p.last):
                        m.next = "FETCHED"
            with m.State("FETCHED"):
                m.d.comb += [replies.valid.eq(1), replies.p.data.eq(got)]
                m.next = "IDLE"
        return m
