"""Several DMA clients of one house share its port."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .arbiter import Merge
from .ports import DmaReadPort, DmaWritePort, dma_read_request, dma_write_beat

__all__ = ["DmaReadMux", "DmaWriteMux"]


def _copy(target, source, **changed):
    """Assign all fields of ``source`` to ``target`` but those given."""
    return [target[name].eq(changed.get(name, source[name])) for name in source.shape().members]


class DmaReadMux(wiring.Component):
    """Share one read port among ``count`` clients; the client's number rides above its tag.

    Timing
    ------
    Latency 0 cycles; one request and one beat per cycle.

    Parameters
    ----------
    count : int
        Number of clients, at least 2.
    tag_width : int
        Width of a client's tag; the shared port's is ``ceil_log2(count)`` wider.
    function_id_width, data_width : int
        As of the port.

    Members
    -------
    clients : ``In(DmaReadPort(...)).array(count)``
        The clients.
    port : ``Out(DmaReadPort(...))``
        The shared port.
    """

    def __init__(self, *, count, tag_width, function_id_width, data_width):
        self.count     = count
        self.widths    = {"tag_width": tag_width, "function_id_width": function_id_width,
                          "data_width": data_width}
        self.tag_width = tag_width + ceil_log2(count)
        super().__init__({
            "clients": In(DmaReadPort(**self.widths)).array(count),
            "port":    Out(DmaReadPort(**{**self.widths, "tag_width": self.tag_width})),
        })

    def elaborate(self, platform):
        m = Module()

        tag_width = self.widths["tag_width"]
        m.submodules.merge = merge = Merge(dma_read_request(**self.widths), count=self.count)
        for client, merged in zip(self.clients, merge.i):
            m.d.comb += [
                merged.payload.eq(client.requests.payload),
                merged.valid.eq(client.requests.valid),
                client.requests.ready.eq(merged.ready),
            ]
        m.d.comb += [
            *_copy(self.port.requests.p, merge.o.p, tag=Cat(merge.o.p.tag, merge.index)),
            self.port.requests.valid.eq(merge.o.valid),
            merge.o.ready.eq(self.port.requests.ready),
        ]
        beat = self.port.beats
        for number, client in enumerate(self.clients):
            m.d.comb += [
                *_copy(client.beats.p, beat.p, tag=beat.p.tag[:tag_width]),
                client.beats.valid.eq(beat.valid & (beat.p.tag[tag_width:] == number)),
            ]

        return m


class DmaWriteMux(wiring.Component):
    """Share one write port among ``count`` clients, write by write.

    Timing
    ------
    Latency 0 cycles; one beat per cycle.

    Parameters
    ----------
    count : int
        Number of clients, at least 2.
    tag_width : int
        Width of a client's tag; the shared port's is ``ceil_log2(count)`` wider.
    function_id_width, data_width : int
        As of the port.

    Members
    -------
    clients : ``In(DmaWritePort(...)).array(count)``
        The clients.
    port : ``Out(DmaWritePort(...))``
        The shared port.
    """

    def __init__(self, *, count, tag_width, function_id_width, data_width):
        self.count     = count
        self.widths    = {"tag_width": tag_width, "function_id_width": function_id_width,
                          "data_width": data_width}
        self.tag_width = tag_width + ceil_log2(count)
        super().__init__({
            "clients": In(DmaWritePort(**self.widths)).array(count),
            "port":    Out(DmaWritePort(**{**self.widths, "tag_width": self.tag_width})),
        })

    def elaborate(self, platform):
        m = Module()

        tag_width = self.widths["tag_width"]
        m.submodules.merge = merge = Merge(dma_write_beat(**self.widths), count=self.count)
        for client, merged in zip(self.clients, merge.i):
            m.d.comb += [
                merged.payload.eq(client.beats.payload),
                merged.valid.eq(client.beats.valid),
                client.beats.ready.eq(merged.ready),
            ]
        m.d.comb += [
            *_copy(self.port.beats.p, merge.o.p, tag=Cat(merge.o.p.tag, merge.index)),
            self.port.beats.valid.eq(merge.o.valid),
            merge.o.ready.eq(self.port.beats.ready),
        ]
        answer = self.port.answers
        for number, client in enumerate(self.clients):
            m.d.comb += [
                *_copy(client.answers.p, answer.p, tag=answer.p.tag[:tag_width]),
                client.answers.valid.eq(answer.valid & (answer.p.tag[tag_width:] == number)),
            ]

        return m
