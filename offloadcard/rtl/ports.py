"""The eight interfaces of the house, as layouts and signatures.

Decision 0001 (``docs/decisions/0001-boundaries.md``) gives the rules that go with each; here are
the shapes only. A payload is always made by a function of this file, never of loose signals.
"""

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = [
    "READ_MAX", "WRITE_MAX", "attributes", "packet_meta", "packet_beat", "PacketStream",
    "dma_read_request", "dma_read_beat", "DmaReadPort", "promptness", "dma_write_beat",
    "dma_write_answer", "DmaWritePort", "mmio_request", "mmio_reply", "MmioPort",
    "interrupt_request", "interrupt_answer", "InterruptPort", "lifecycle_stop",
    "lifecycle_drained", "LifecyclePort", "MANAGEMENT_BURST", "management_request",
    "management_reply", "ManagementPort", "DramPort",
    "PORT_GUEST", "PORT_WIRE", "PORT_CONTROL",
]

READ_MAX  = 512   # octets of one DMA read request
WRITE_MAX = 10_240  # octets of one DMA write request: the longest frame, its header, and some

# Values of `packet_meta.port`: where a packet entered.
PORT_GUEST, PORT_WIRE, PORT_CONTROL = 0, 1, 2


def _check_data_width(data_width):
    if data_width not in (64, 128, 256, 512):
        raise ValueError(f"`data_width` must be 64, 128, 256 or 512, not {data_width!r}")


# --- packet -------------------------------------------------------------------------------------

def packet_meta(*, function_id_width):
    """What travels beside a packet, constant from first to last.

    ``function_id`` is the owner: the sender's on the way out of a guest, the receiver's on the way
    to one. ``length`` is the frame's octets without FCS. ``csum_*``, ``gso_*``, ``hash`` and
    ``mark`` are reserved for offloads and are zero for now.
    """
    return data.StructLayout({
        "function_id":  function_id_width,
        "length":       14,
        "queue":        6,
        "port":         2,
        "csum_status":  2,
        "csum_start":   14,
        "csum_offset":  14,
        "gso_type":     3,
        "gso_size":     14,
        "hash":         32,
        "mark":         32,
    })


def packet_beat(*, data_width, function_id_width):
    """One beat of a packet. Octets are packed from lane 0; all beats but the last are full.

    ``error`` counts with ``last`` only: the consumer discards the packet whole.
    """
    _check_data_width(data_width)
    return data.StructLayout({
        "data":  data.ArrayLayout(8, data_width // 8),
        "meta":  packet_meta(function_id_width=function_id_width),
        "first": 1,
        "last":  1,
        "error": 1,
    })


def PacketStream(*, data_width, function_id_width):
    """Signature of a packet stream, seen by its producer."""
    return stream.Signature(packet_beat(data_width=data_width,
                                        function_id_width=function_id_width))


# --- DMA ----------------------------------------------------------------------------------------

def attributes():
    """Attribute bits of a DMA request: zero for now, carried from the first day."""
    return data.StructLayout({"ro": 1, "ns": 1, "ido": 1, "at": 2, "pasid_valid": 1})


def dma_read_request(*, function_id_width, tag_width, data_width):
    """Fetch ``length`` (1 … ``READ_MAX``) octets from ``address``, any alignment.

    ``lane`` is the octet lane in which the first octet shall arrive (0 for most).
    """
    return data.StructLayout({
        "function_id": function_id_width,
        "address":     64,
        "length":      range(READ_MAX + 1),
        "lane":        range(data_width // 8),
        "tag":         tag_width,
        "attributes":  attributes(),
    })


def dma_read_beat(*, function_id_width, tag_width, data_width):
    """One beat of an answer. ``strobe`` says which lanes hold octets of the request.

    ``error`` counts with ``last`` only; an answer with an error may be one beat with no lane set.
    """
    _check_data_width(data_width)
    return data.StructLayout({
        "data":        data.ArrayLayout(8, data_width // 8),
        "strobe":      data_width // 8,
        "function_id": function_id_width,
        "tag":         tag_width,
        "first":       1,
        "last":        1,
        "error":       1,
    })


class DmaReadPort(wiring.Signature):
    """Requests out, answers in; seen by the client. Answers are never stalled."""

    def __init__(self, *, function_id_width, tag_width, data_width):
        widths = {"function_id_width": function_id_width, "tag_width": tag_width,
                  "data_width": data_width}
        super().__init__({
            "requests": Out(stream.Signature(dma_read_request(**widths))),
            "beats":    In(stream.Signature(dma_read_beat(**widths), always_ready=True)),
        })


def promptness(*, function_id_width):
    """News of a function's DMA reads: one was answered in time, or is ``late``. A hint: news may be
    missing, but of a read that stays late there is always more."""
    return data.StructLayout({"valid": 1, "late": 1, "function_id": function_id_width})


def dma_write_beat(*, function_id_width, tag_width, data_width):
    """One beat of a write of ``length`` (1 … ``WRITE_MAX``) octets to ``address``, any alignment.

    All but ``data``, ``first`` and ``last`` is constant from first to last; octets are packed from
    lane 0.
    """
    _check_data_width(data_width)
    return data.StructLayout({
        "data":        data.ArrayLayout(8, data_width // 8),
        "function_id": function_id_width,
        "address":     64,
        "length":      range(WRITE_MAX + 1),
        "tag":         tag_width,
        "attributes":  attributes(),
        "first":       1,
        "last":        1,
    })


def dma_write_answer(*, function_id_width, tag_width):
    """Accepted in posted order, or (``error``) refused whole: not one octet was written."""
    return data.StructLayout({"function_id": function_id_width, "tag": tag_width, "error": 1})


class DmaWritePort(wiring.Signature):
    """Beats out, one answer a write in the order of the writes; seen by the client."""

    def __init__(self, *, function_id_width, tag_width, data_width):
        super().__init__({
            "beats":   Out(stream.Signature(dma_write_beat(
                function_id_width=function_id_width, tag_width=tag_width,
                data_width=data_width))),
            "answers": In(stream.Signature(dma_write_answer(
                function_id_width=function_id_width, tag_width=tag_width), always_ready=True)),
        })


# --- MMIO ---------------------------------------------------------------------------------------

def mmio_request(*, function_id_width):
    """A guest's access to its own device: BAR 0, ``offset`` a multiple of 8, lanes by enable."""
    return data.StructLayout({
        "function_id": function_id_width,
        "offset":      16,
        "write":       1,
        "byte_enable": 8,
        "data":        64,
    })


def mmio_reply():
    """Answer of a read: 8 octets at the request's ``offset``, or ``error`` (Completer Abort)."""
    return data.StructLayout({"data": 64, "error": 1})


class MmioPort(wiring.Signature):
    """Requests out (never back-pressured), replies in; seen by the endpoint.

    At most one read is outstanding; its reply comes within 64 cycles.
    """

    def __init__(self, *, function_id_width):
        super().__init__({
            "requests": Out(stream.Signature(mmio_request(function_id_width=function_id_width),
                                             always_ready=True)),
            "replies":  In(stream.Signature(mmio_reply(), always_ready=True)),
        })


# --- interrupt ----------------------------------------------------------------------------------

def interrupt_request(*, function_id_width):
    """Raise MSI-X ``vector`` of the function; a vector over its table is swallowed."""
    return data.StructLayout({"function_id": function_id_width, "vector": 11})


def interrupt_answer(*, function_id_width):
    """The interrupt was accepted: it lies in the function's posted order, or is pending."""
    return data.StructLayout({"function_id": function_id_width})


class InterruptPort(wiring.Signature):
    """Requests out, answers in, in order; seen by the device."""

    def __init__(self, *, function_id_width):
        super().__init__({
            "requests": Out(stream.Signature(interrupt_request(
                function_id_width=function_id_width))),
            "answers":  In(stream.Signature(interrupt_answer(
                function_id_width=function_id_width), always_ready=True)),
        })


# --- lifecycle ----------------------------------------------------------------------------------

def lifecycle_stop(*, function_id_width):
    """Stop the function: issue nothing more, drain or discard, clear its rows, then answer."""
    return data.StructLayout({"function_id": function_id_width})


def lifecycle_drained(*, function_id_width):
    """Nothing of the function is in flight any more and its rows are as after power-up."""
    return data.StructLayout({"function_id": function_id_width})


class LifecyclePort(wiring.Signature):
    """Stops out (never back-pressured, at most one open per function), drained in; seen by the
    endpoint. Any number of functions may be stopping at once."""

    def __init__(self, *, function_id_width):
        super().__init__({
            "stops":   Out(stream.Signature(lifecycle_stop(
                function_id_width=function_id_width), always_ready=True)),
            "drained": In(stream.Signature(lifecycle_drained(
                function_id_width=function_id_width))),
        })


# --- management ---------------------------------------------------------------------------------

MANAGEMENT_BURST = 32  # requests of the card's processor that may be outstanding, to one house


def management_request():
    """Access of the card's own processor: ``address`` in octets, a multiple of 8."""
    return data.StructLayout({"address": 20, "write": 1, "data": 64})


def management_reply():
    """Answer of a read or a write; ``error`` where no register answers."""
    return data.StructLayout({"data": 64, "error": 1})


class ManagementPort(wiring.Signature):
    """Requests out, replies in, in order; seen by the processor.

    Up to ``MANAGEMENT_BURST`` writes of one house may follow each other before the first is
    answered, one a cycle, and a last read; else one request is outstanding. A reply comes within
    64 cycles.
    """

    def __init__(self):
        super().__init__({
            "requests": Out(stream.Signature(management_request(), always_ready=True)),
            "replies":  In(stream.Signature(management_reply(), always_ready=True)),
        })


# --- DRAM ---------------------------------------------------------------------------------------

class DramPort(wiring.Signature):
    """The card's own memory; seen by the client.

    The shapes are those of DMA, ``function_id`` riding along for the ledger. Unlike DMA, the
    answers of reads wait for ``ready``. A read sees every write that was answered before it.
    """

    def __init__(self, *, function_id_width, tag_width, data_width):
        widths = {"function_id_width": function_id_width, "tag_width": tag_width}
        super().__init__({
            "reads":   Out(stream.Signature(dma_read_request(data_width=data_width, **widths))),
            "beats":   In(stream.Signature(dma_read_beat(data_width=data_width, **widths))),
            "writes":  Out(stream.Signature(dma_write_beat(data_width=data_width, **widths))),
            "answers": In(stream.Signature(dma_write_answer(**widths), always_ready=True)),
        })
