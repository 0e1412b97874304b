"""Headers of the TLPs that the card sends."""

# Ref: pcie-5.0, 2.2.4.1 (Address Based Routing Rules), 2.2.7 (Memory, I/O, and Configuration
# Request Rules), 2.2.8.3 (Error Signaling Messages)

from amaranth import *
from amaranth.lib import data

from .spec import Fmt, MemoryRequest, MemoryRequest3Dw, Message, Type

__all__ = ["memory_request", "message_request"]


def memory_request(m, *, write, address, length_dw, first_be, last_be, tag, requester_id,
                   attributes):
    """Header of MRd or MWr as four DWs, a new signal of ``m``; three DWs below 4 GiB."""
    header = Signal(data.ArrayLayout(32, 4))
    short  = Signal()
    long4, long3 = Signal(MemoryRequest), Signal(MemoryRequest3Dw)
    # [pcie-5.0: 2.2.4.1] Addresses below 4 GB must use the 32-bit format.
    m.d.comb += short.eq(address[32:] == 0)
    for shape, fmt in ((long4, Fmt.FOUR_DW_DATA if write else Fmt.FOUR_DW),
                       (long3, Fmt.THREE_DW_DATA if write else Fmt.THREE_DW)):
        m.d.comb += [
            shape.fmt.eq(fmt),
            shape["type"].eq(Type.MEMORY),
            shape["length"].eq(length_dw[:10]),  # 1,024 DWs encode as 0
            shape.at.eq(attributes.at),
            shape.attr.eq(Cat(attributes.ns, attributes.ro)),
            shape.attr_2.eq(attributes.ido),
            shape.first_be.eq(first_be),
            shape.last_be.eq(last_be),
            shape.tag.eq(tag),
            shape.requester_id.eq(requester_id),
            shape.address_low.eq(address[2:32]),
        ]
    m.d.comb += [
        long4.address_high.eq(address[32:]),
        header.as_value().eq(Mux(short, long3.as_value(), long4.as_value())),
    ]
    return header


def message_request(m, *, code, requester_id):
    """Header of a message to the root complex, without data, a new signal of ``m``."""
    header = Signal(Message)
    m.d.comb += [header.fmt.eq(Fmt.FOUR_DW), header["type"].eq(Type.MESSAGE),
                 header.code.eq(code), header.requester_id.eq(requester_id)]
    return header
