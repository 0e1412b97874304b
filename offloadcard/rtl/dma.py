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


class _Mux(wiring.Component):
    """What the two kinds share: what goes out is merged, what comes back is sorted by tag.

    Parameters
    ----------
    port : type
        The signature of a client's port and, with a wider tag, of the shared one.
    out, back : str
        Names of the port's streams towards the endpoint and from it.
    layout : callable
        Gives the layout of ``out`` for the port's widths.
    """

    def __init__(self, port, out, back, layout, *, count, tag_width, function_id_width, data_width):
        self.count     = count
        self.out       = out
        self.back      = back
        self.widths    = {"tag_width": tag_width, "function_id_width": function_id_width,
                          "data_width": data_width}
        self.tag_width = tag_width + ceil_log2(count)
        self._merge    = Merge(layout(**self.widths), count=count)
        super().__init__({
            "clients": In(port(**self.widths)).array(count),
            "port":    Out(port(**{**self.widths, "tag_width": self.tag_width})),
        })

    def elaborate(self, platform):
        m = Module()

        tag_width = self.widths["tag_width"]
        m.submodules.merge = merge = self._merge
        out, back = (getattr(self.port, name) for name in (self.out, self.back))
        for number, (client, merged) in enumerate(zip(self.clients, merge.i)):
            sent, got = (getattr(client, name) for name in (self.out, self.back))
            m.d.comb += [
                merged.payload.eq(sent.payload),
                merged.valid.eq(sent.valid),
                sent.ready.eq(merged.ready),
                *_copy(got.p, back.p, tag=back.p.tag[:tag_width]),
                got.valid.eq(back.valid & (back.p.tag[tag_width:] == number)),
            ]
        m.d.comb += [
            *_copy(out.p, merge.o.p, tag=Cat(merge.o.p.tag, merge.index)),
            out.valid.eq(merge.o.valid),
            merge.o.ready.eq(out.ready),
        ]

        return m


class DmaReadMux(_Mux):
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

    def __init__(self, **parameters):
        super().__init__(DmaReadPort, "requests", "beats", dma_read_request, **parameters)


class DmaWriteMux(_Mux):
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

    def __init__(self, **parameters):
        super().__init__(DmaWritePort, "beats", "answers", dma_write_beat, **parameters)
