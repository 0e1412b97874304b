"""Requests as they come: TLP headers read, sorted, and what no endpoint serves put aside."""

# Ref: pcie-5.0, 2.2 (headers), 2.3.1 (Request Handling Rules), 2.7.2 (Error Forwarding)

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .functions import released
from .spec import (
    ConfigRequest,
    MemoryRequest,
    MemoryRequest3Dw,
    Message,
    MessageCode,
    Type,
    tlp_beat,
)
from .transactions import config_request, received

__all__ = ["Receiver"]


def _octets(first_be, last_be, length, m):
    """Byte count and offset of the first enabled octet [pcie-5.0: Table 2-39], as new signals."""
    leading  = Signal(2)
    trailing = Signal(2)
    last     = Signal(4)
    count    = Signal(12)
    one      = Signal()
    m.d.comb += [
        one.eq(length == 1),
        last.eq(Mux(one, first_be, last_be)),
        leading.eq(Mux(first_be[0], 0, Mux(first_be[1], 1, Mux(first_be[2], 2,
                                                               Mux(first_be[3], 3, 0))))),
        trailing.eq(Mux(last[3], 0, Mux(last[2], 1, Mux(last[1], 2, Mux(last[0], 3, 3))))),
        count.eq(Cat(Const(0, 2), length) - leading - trailing),
    ]
    return count, leading


class Receiver(wiring.Component):
    """Turn each TLP of the request stream into one request, or into a word to the counters.

    Timing
    ------
    2 cycles from the last beat; one TLP per cycle, never stalled.

    Parameters
    ----------
    data_width : int
        Width of the TLP stream in bits.

    Members
    -------
    i : ``In(stream.Signature(tlp_beat(...), always_ready=True))``
        Requests and messages.
    requests : ``Out(stream.Signature(received(), always_ready=True))``
        Memory requests, and non-posted ones to be refused.
    configs : ``Out(stream.Signature(config_request(), always_ready=True))``
        Configuration requests.
    released : ``Out(released())``
        Credits of what ends here; data credits of everything posted.
    malformed, ignored, unsupported : ``Out(1)``
        A TLP ended here: it is none, or a message without meaning for us, or one that we had to
        know.
    header : ``Out(data.ArrayLayout(32, 4))``
        Its header.
    """

    def __init__(self, *, data_width):
        self.data_width = data_width
        super().__init__({
            "i":           In(stream.Signature(tlp_beat(data_width=data_width),
                                               always_ready=True)),
            "requests":    Out(stream.Signature(received(), always_ready=True)),
            "configs":     Out(stream.Signature(config_request(), always_ready=True)),
            "released":    Out(released()),
            "malformed":   Out(1),
            "ignored":     Out(1),
            "unsupported": Out(1),
            "header":      Out(data.ArrayLayout(32, 4)),
        })

    def elaborate(self, platform):
        m = Module()

        # One word per TLP: the header and the first eight octets.
        valid  = Signal()
        header = Signal(MemoryRequest)
        octets = Signal(64)
        now    = Signal(64)
        kept   = Signal(64)
        m.d.comb += now.eq(self.i.p.data.as_value()[:64])
        with m.If(self.i.valid & self.i.p.first):
            m.d.sync += kept.eq(now)
        m.d.sync += [
            valid.eq(self.i.valid & self.i.p.last & ~self.i.p.error),
            header.as_value().eq(self.i.p.header.as_value()),
            octets.eq(Mux(self.i.p.first, now, kept)),
        ]

        # Sorted [pcie-5.0: 2.3.1].
        three = data.View(MemoryRequest3Dw, header.as_value())
        conf  = data.View(ConfigRequest, header.as_value())
        msg   = data.View(Message, header.as_value())
        length = Signal(11)
        has_data, four_dw, is_memory = Signal(), Signal(), Signal()
        is_config, is_message, is_refused, is_bad = Signal(), Signal(), Signal(), Signal()
        kind, single = header.type, Signal()
        m.d.comb += [
            length.eq(Mux(header.length == 0, 1024, header.length)),
            single.eq(header.length == 1),
            four_dw.eq(header.fmt[0]),
            has_data.eq(header.fmt[1]),
            is_memory.eq(kind == Type.MEMORY),
            is_config.eq(((kind == Type.CONFIG_0) | (kind == Type.CONFIG_1)) & ~is_bad),
            is_message.eq((kind[3:] == Type.MESSAGE >> 3) & ~is_bad),
        ]
        with m.Switch(kind):
            with m.Case(Type.MEMORY):
                m.d.comb += is_bad.eq(header.fmt[2])
            with m.Case(Type.MEMORY_READ_LOCKED):
                m.d.comb += [is_bad.eq(header.fmt[1:] != 0), is_refused.eq(~is_bad)]
            with m.Case(Type.CONFIG_0, Type.CONFIG_1):
                m.d.comb += is_bad.eq((header.fmt[2] != 0) | four_dw | ~single)
            with m.Case(Type.IO):
                m.d.comb += [is_bad.eq(header.fmt[2] | four_dw | ~single),
                             is_refused.eq(~is_bad)]
            with m.Case(Type.FETCH_ADD, Type.SWAP, Type.CAS):
                m.d.comb += [is_bad.eq(header.fmt[1:] != 1), is_refused.eq(~is_bad)]
            with m.Case("10---"):
                m.d.comb += is_bad.eq(header.fmt[2] | ~four_dw)
            with m.Default():
                m.d.comb += is_bad.eq(1)

        address = Signal(64)
        upper   = Signal()
        m.d.comb += [
            address.eq(Mux(four_dw, Cat(Const(0, 2), header.address_low, header.address_high),
                           Cat(Const(0, 2), three.address_low))),
            upper.eq(address[2]),
        ]
        count, leading = _octets(header.first_be, header.last_be, length, m)
        out = self.requests.p
        m.d.sync += [
            self.requests.valid.eq(valid & ((is_memory & ~is_bad) | is_refused)),
            out.transaction.requester_id.eq(header.requester_id),
            out.transaction.tag.eq(Cat(header.tag, header.tag_8, header.tag_9)),
            out.transaction.tc.eq(header.tc),
            out.transaction.attr.eq(Cat(header.attr, header.attr_2)),
            out.transaction.locked.eq(kind == Type.MEMORY_READ_LOCKED),
            # [pcie-5.0: 2.2.4.1] the card has no translation service to speak with.
            out.write.eq(is_memory & has_data),
            out.read.eq(is_memory & ~has_data & (header.at == 0)),
            out.refuse.eq(is_refused | (is_memory & ~has_data & (header.at != 0))),
            out.poisoned.eq(header.ep),
            out.address.eq(address),
            out.data.eq(Mux(upper, octets << 32, octets)),
            out.byte_enable.eq(Mux(upper, Cat(Const(0, 4), header.first_be),
                                   Cat(header.first_be, Mux(single, 0, header.last_be)))),
            out.length_dw.eq(length),
            # [pcie-5.0: 2.3.1.1] of memory reads; 4 and 0 of all others
            out.byte_count.eq(Mux(is_memory, count, 4)),
            out.lower_address.eq(Mux(is_memory, Cat(leading, address[2:7]), 0)),
            out.long.eq(~(single | ((header.length == 2) & ~upper))),
            out.header.as_value().eq(header.as_value()),
        ]
        config = self.configs.p
        m.d.sync += [
            self.configs.valid.eq(valid & is_config),
            config.transaction.eq(Cat(header.requester_id, header.tag, header.tag_8, header.tag_9,
                                      header.tc, header.attr, header.attr_2, Const(0, 1))),
            config.write.eq(has_data),
            config.type1.eq(kind[0]),
            config.poisoned.eq(header.ep),
            config.bdf.eq(conf.completer_id),
            config.register.eq(conf.register),
            config.byte_enable.eq(header.first_be),
            config.data.eq(octets),
        ]

        # What ends here gives its credits back at once; data are never kept.
        posted    = Signal()
        nonposted = Signal()
        ends      = Signal()
        known     = Signal()
        units     = Signal(9)
        m.d.comb += [
            units.eq(Mux(header.length == 0, 256, (header.length + 3) >> 2)),
            posted.eq((is_memory & has_data) | (kind[3:] == Type.MESSAGE >> 3)),
            nonposted.eq(~posted & (kind[3:] != 0b11)
                         & (kind[1:] != Type.COMPLETION >> 1) & ~header.fmt[2]),
            ends.eq(is_bad | is_message),
            known.eq(msg.code == MessageCode.VENDOR_TYPE_0),
        ]
        m.d.sync += [
            self.released.ph.eq(valid & ends & posted),
            self.released.pd.eq(Mux(valid & has_data & posted, units, 0)),
            self.released.nph.eq(valid & ends & nonposted),
            self.released.npd.eq(Mux(valid & has_data & nonposted, units, 0)),
            self.malformed.eq(valid & is_bad),
            self.unsupported.eq(valid & is_message & known),
            self.ignored.eq(valid & is_message & ~known),
            self.header.as_value().eq(header.as_value()),
        ]

        return m
