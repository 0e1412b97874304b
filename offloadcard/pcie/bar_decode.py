"""Addresses to functions: whose BAR a memory request falls into."""

# Ref: pcie-5.0, 7.5.1.2.1 (Base Address Registers); sriov-1.1, 3.3.14 (VF BARs)

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .functions import settings
from .transactions import access, received

__all__ = ["BarDecode", "TO_NET", "TO_NVME", "TO_MSIX", "TO_NONE"]

TO_NET, TO_NVME, TO_MSIX, TO_NONE = range(4)


class BarDecode(wiring.Component):
    """Find function and place of each memory request.

    A BAR of virtual functions is one array, so the function's number is a difference and a shift;
    nothing is compared per function. Behind the 64 KiB of registers in a larger aperture nothing
    is: reads give zero, writes are lost.

    Timing
    ------
    Latency 3 cycles; one request per cycle, never stalled.

    Parameters
    ----------
    config : CardConfig
        The card.

    Members
    -------
    i : ``In(stream.Signature(received(), always_ready=True))``
        Requests.
    settings : ``In(settings(...))``
        BARs and enables.
    o : ``Out(stream.Signature(received(), always_ready=True))``
        The same requests.
    access : ``Out(access(...))``
        What the request is in its function's terms.
    to : ``Out(2)``
        ``TO_NET``, ``TO_NVME``, ``TO_MSIX``, or ``TO_NONE`` if no enabled BAR has the address.
    """

    LATENCY = 3
    _BOUNDED = True  # a proof's mutant forgets NumVFs

    def __init__(self, config):
        self.config = config
        ids = {"function_id_width": config.function_id_width}
        self.ids = ids
        super().__init__({
            "i":        In(stream.Signature(received(), always_ready=True)),
            "settings": In(settings(**ids)),
            "o":        Out(stream.Signature(received(), always_ready=True)),
            "access":   Out(access(**ids)),
            "to":       Out(2),
        })

    def elaborate(self, platform):
        m = Module()

        config = self.config
        width  = config.function_id_width
        one, two = Signal(received()), Signal(received())
        one_valid, two_valid = Signal(), Signal()
        m.d.sync += [
            one.eq(self.i.payload), one_valid.eq(self.i.valid),
            two.eq(one), two_valid.eq(one_valid),
            self.o.payload.eq(two), self.o.valid.eq(two_valid),
        ]

        hits = []
        for family, first in enumerate((config.first_net_vf, config.first_nvme_vf)):
            pf       = self.settings.pf[family]
            aperture = self.settings.aperture[family]
            for bar, virtual_bar, to in ((pf.bar0, pf.vf_bar0, (TO_NET, TO_NVME)[family]),
                                         (pf.bar2, pf.vf_bar2, TO_MSIX)):
                # The physical function.
                enabled = Signal(name=f"pf{family}_enabled")
                hit     = Signal(name=f"pf{family}_hit")
                same    = Signal(name=f"pf{family}_same")
                m.d.sync += [
                    same.eq(self.i.p.address[16:] == bar), enabled.eq(pf.memory),
                    hit.eq(same & enabled),
                ]
                hits.append((hit, Const(family, width), to, Const(0, 1)))

                # Its virtual ones: their number is (address - base) / aperture.
                distance = Signal(48, name=f"vf{family}_distance")
                allowed  = Signal(name=f"vf{family}_allowed")
                number   = Signal(width, name=f"vf{family}_number")
                function = Signal(width, name=f"vf{family}_function")
                near     = Signal(name=f"vf{family}_near")
                hole_now = Signal(name=f"vf{family}_hole_now")
                hole     = Signal(name=f"vf{family}_hole")
                vf_hit   = Signal(name=f"vf{family}_hit")
                m.d.sync += [
                    distance.eq(self.i.p.address[16:] - virtual_bar),
                    allowed.eq(pf.vf_memory),
                ]
                with m.Switch(aperture):
                    for log in range(4):
                        with m.Case(log):
                            m.d.comb += [
                                number.eq(distance[2 * log:2 * log + width]),
                                near.eq(distance[2 * log + width:] == 0),
                                hole_now.eq(distance[:2 * log].any() if log else 0),
                            ]
                m.d.sync += [
                    function.eq(number + first),
                    vf_hit.eq(allowed & near & ((number < pf.num_vfs) | (not self._BOUNDED))),
                    hole.eq(hole_now),
                ]
                hits.append((vf_hit, function, to, hole))

        out  = self.access
        hole = Signal()
        to   = Signal(2, init=TO_NONE)
        owner = Signal(width)
        m.d.comb += to.eq(TO_NONE)
        for hit, function, place, in_hole in hits:
            with m.If(hit):
                m.d.comb += [to.eq(place), owner.eq(function), hole.eq(in_hole)]
        m.d.sync += [
            self.to.eq(to),
            out.transaction.eq(two.transaction),
            out.function_id.eq(owner),
            out.offset.eq(Cat(Const(0, 3), two.address[3:16])),
            out.byte_enable.eq(Mux(hole, 0, two.byte_enable)),
            out.data.eq(two.data),
            out.upper.eq(two.address[2]),
            out.length_dw.eq(two.length_dw),
            out.byte_count.eq(two.byte_count),
            out.lower_address.eq(two.lower_address),
            out.abort.eq(two.long),
        ]

        return m
