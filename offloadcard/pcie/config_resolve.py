"""Which function a configuration request is for, and what kind of function an id is."""

# Ref: sriov-1.1, 2.1.2 (VF Discovery); pcie-5.0, 7.3.1 (Device Number), 6.13 (ARI)

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .functions import settings

__all__ = ["kind_of", "Resolver"]


def kind_of(m, config, function_id):
    """Kind of ``function_id`` (``spec_config.PF_NET`` …), as a new signal of ``m``.

    Bit 1 says virtual, bit 0 NVMe.
    """
    kind = Signal(2)
    m.d.comb += kind.eq(Cat(
        Mux(function_id < 2, function_id[0], function_id >= config.first_nvme_vf),
        function_id >= 2))
    return kind


class Resolver(wiring.Component):
    """Find the function that a configuration request names, if software can see it.

    Timing
    ------
    Combinational.

    Parameters
    ----------
    config : CardConfig
        The card.

    Members
    -------
    bdf : ``In(16)``
        Destination.
    type1 : ``In(1)``
        A Type 1 request: for a bus beyond the captured one.
    settings : ``In(settings(...))``
        Bus number, ARI, enabled virtual functions.
    function_id : ``Out(function_id_width)``
        The function; some id if there is none.
    exists : ``Out(1)``
        There is one.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "bdf": In(16), "type1": In(1),
            "settings": In(settings(function_id_width=config.function_id_width)),
            "function_id": Out(config.function_id_width), "exists": Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        config = self.config
        # Type 0 is for the bus on which we stand, whatever number it is about to get.
        distance = Signal(16)
        number   = Signal(16)
        shifted  = Signal()  # virtual functions stand on the next bus
        m.d.comb += [
            distance.eq(Mux(self.type1, self.bdf - Cat(Const(0, 8), self.settings.bus),
                            self.bdf[:8])),
            shifted.eq(~self.settings.ari & self.type1),
            number.eq(distance - Cat(Const(0, 8), shifted)),
            self.function_id.eq(number),
        ]
        is_pf   = Signal()
        is_vf   = Signal()
        right   = Signal()
        nvme    = Signal()
        m.d.comb += [
            is_pf.eq(~self.type1 & (self.bdf[:8] < 2)),
            right.eq(Mux(self.type1, distance[8:].any() & ~distance[15], self.settings.ari)),
            nvme.eq(number >= config.first_nvme_vf),
        ]
        for family, first in enumerate((config.first_net_vf, config.first_nvme_vf)):
            pf = self.settings.pf[family]
            with m.If(nvme == family):
                m.d.comb += is_vf.eq(right & pf.vf_enable & (number >= first)
                                     & (number < first + pf.num_vfs))
        m.d.comb += self.exists.eq(is_pf | is_vf)

        return m
