"""MSI-X of the card: one bank per device, one way out."""

# Ref: pcie-5.0, 6.1.4 (MSI-X Interrupts)

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..rtl.arbiter import Merge
from ..rtl.buffer import Buffer
from ..rtl.ports import (
    InterruptPort,
    dma_write_beat,
    lifecycle_drained,
    lifecycle_stop,
    mmio_reply,
    mmio_request,
)
from . import spec_config as spec
from .config_resolve import kind_of
from .functions import function_row
from .msix_bank import MsixBank
from .order import Stragglers

__all__ = ["Msix"]


def _renamed(target, source, function_id):
    """Assign all fields of ``source`` to ``target``, but with that function's id."""
    return [target[name].eq(function_id if name == "function_id" else source[name])
            for name in source.shape().members]


class Msix(wiring.Component):
    """Two banks, chosen by the kind of the function; their messages merged.

    Timing
    ------
    As :class:`offloadcard.pcie.msix_bank.MsixBank`, an access and an interrupt a cycle more. An
    access to the bank of one device never waits for the other's, but for those that came before it.

    Parameters
    ----------
    config : CardConfig
        The card.

    Members
    -------
    net_interrupts, nvme_interrupts : ``In(InterruptPort(...))``
        From the devices.
    requests, replies
        The guests' accesses to BAR 2, in the shapes of MMIO.
    rows : ``In(stream.Signature(function_row(...), always_ready=True))``
        News of the function table.
    writes : ``Out(stream.Signature(dma_write_beat(...)))``
        Messages.
    stops : ``In(stream.Signature(lifecycle_stop(...), always_ready=True))``
        Functions that end.
    drained : ``Out(stream.Signature(lifecycle_drained(...)))``
        Their vectors are as after power-up, and no message of theirs waits.
    decided : ``In(1)``
        The oldest message outside has its place in the posted order, or was refused.
    passing : ``Out(1)``
        A message that rows of earlier cycles let through is not decided yet.
    """

    def __init__(self, config):
        self.config = config
        ids  = {"function_id_width": config.function_id_width}
        self.beat = beat = dma_write_beat(tag_width=config.dma_tag_width,
                                          data_width=config.data_width, **ids)
        super().__init__({
            "net_interrupts":  In(InterruptPort(**ids)),
            "nvme_interrupts": In(InterruptPort(**ids)),
            "requests":        In(stream.Signature(mmio_request(**ids))),
            "replies":         Out(stream.Signature(mmio_reply(), always_ready=True)),
            "rows":            In(stream.Signature(function_row(**ids), always_ready=True)),
            "writes":          Out(stream.Signature(beat)),
            "stops":           In(stream.Signature(lifecycle_stop(**ids), always_ready=True)),
            "drained":         Out(stream.Signature(lifecycle_drained(**ids))),
            "decided":         In(1),
            "passing":         Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        config = self.config
        m.submodules.merge = merge = Merge(self.beat, count=2)
        m.submodules.ends  = ends  = Merge(self.drained.payload.shape(), count=2)
        banks, entries = [], []
        for family, (name, vfs, first, vectors, port) in enumerate((
                ("net", config.virtio_net_vfs, config.first_net_vf,
                 spec.virtio_vectors(queue_pairs=config.virtio_queue_pairs),
                 self.net_interrupts),
                ("nvme", config.nvme_vfs, config.first_nvme_vf,
                 spec.nvme_vectors(io_queues=config.nvme_io_queues), self.nvme_interrupts))):
            bank = MsixBank(functions=vfs + 1, vectors=vectors,
                            function_id_width=ceil_log2(vfs + 1), tag_width=config.dma_tag_width,
                            data_width=config.data_width)
            m.submodules[name] = bank
            banks.append(bank)
            m.submodules[f"{name}_requests"] = entry = Buffer(mmio_request(
                function_id_width=ceil_log2(vfs + 1)))
            entries.append(entry)
            wiring.connect(m, entry.o, bank.requests)
            m.submodules[f"{name}_interrupts"] = called = Buffer(bank.interrupts.requests.p.shape())
            wiring.connect(m, called.o, bank.interrupts.requests)

            # A bank counts its own functions only, from the physical one on.
            def inwards(function_id, first=first):
                return Mux(function_id < 2, 0, function_id - (first - 1))

            def outwards(index, first=first, family=family):
                return Mux(index == 0, family, index + (first - 1))

            for ours, theirs in ((self.rows, bank.rows), (self.requests, entry.i),
                                 (self.stops, bank.stops), (port.requests, called.i)):
                mine = kind_of(m, config, ours.p.function_id)[0] == family
                m.d.comb += [
                    *_renamed(theirs.p, ours.p, inwards(ours.p.function_id)),
                    theirs.valid.eq(ours.valid & (mine if ours is not port.requests else 1)),
                ]
            m.d.comb += port.requests.ready.eq(called.i.ready)
            for theirs, ours in ((bank.writes, merge.i[family]), (bank.drained, ends.i[family]),
                                 (bank.interrupts.answers, port.answers)):
                m.d.comb += [*_renamed(ours.p, theirs.p, outwards(theirs.p.function_id)),
                             ours.valid.eq(theirs.valid)]
            m.d.comb += [bank.writes.ready.eq(merge.i[family].ready),
                         bank.drained.ready.eq(ends.i[family].ready)]
        wiring.connect(m, merge.o, wiring.flipped(self.writes))
        m.submodules.last_words = last_words = Buffer(self.drained.payload.shape())
        wiring.connect(m, ends.o, last_words.i)
        wiring.connect(m, last_words.o, wiring.flipped(self.drained))

        # News: messages before them leave the banks, then are decided outside.
        m.submodules.outside = outside = Stragglers(most=15)
        m.d.comb += [
            outside.came.eq(self.writes.valid & self.writes.ready),
            outside.left.eq(self.decided),
            outside.news.eq(banks[0].passing | banks[1].passing),
            self.passing.eq(outside.news | outside.passing),
        ]
        # One read is under way in the lane, so the answers never meet.
        net, nvme = banks
        family = kind_of(m, config, self.requests.p.function_id)[0]
        m.d.comb += [
            self.requests.ready.eq(Mux(family, entries[1].i.ready, entries[0].i.ready)),
            self.replies.valid.eq(net.replies.valid | nvme.replies.valid),
            self.replies.p.data.eq(Mux(net.replies.valid, net.replies.p.data,
                                       nvme.replies.p.data)),
        ]

        return m
