"""What the card says to a command of the control queue."""

# Ref: virtio-1.2, 5.1.6.5 (Control Virtqueue)

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from . import spec_control as spec
from .profile import choices, mac_of, profile_row

__all__ = ["ControlCommand", "COMMAND_OCTETS"]

COMMAND_OCTETS = 8  # what is looked at of a command: class, command, 6 octets of what follows


class ControlCommand(wiring.Component):
    """Judge a command: ``VIRTIO_NET_OK`` or ``VIRTIO_NET_ERR``, and what it changes.

    What a guest hears is the provider's policy, so the filters of CTRL_RX, MAC_TABLE_SET and
    CTRL_VLAN, which the standard calls best effort, are taken when they are well formed and change
    nothing. A MAC address is the provider's: setting another is refused. A class or command that
    was not negotiated, or has octets missing or left over, is refused.

    Timing
    ------
    Latency 2 cycles.

    Parameters
    ----------
    geometry : Geometry
        Sizes.

    Members
    -------
    octets, length : ``In``
        The command's first octets, and how many there are, at most 2**17 - 1.
    chosen, profile, function_id : ``In``
        Of the function that asks.
    status : ``Out(8)``
        The answer.
    sets_pairs, pairs : ``Out``
        It is VQ_PAIRS_SET and good; so many.
    """

    def __init__(self, geometry):
        self.geometry = g = geometry
        super().__init__({
            "octets":      In(8 * COMMAND_OCTETS),
            "length":      In(17),
            "chosen":      In(choices),
            "profile":     In(profile_row),
            "function_id": In(g.id_width),
            "status":      Out(8, init=spec.VIRTIO_NET_ERR),
            "sets_pairs":  Out(1),
            "pairs":       Out(range(g.pairs + 1)),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        asked = data.StructLayout({"kind": 8, "command": 8, "argument": 48})
        now = Signal(asked)
        m.d.comb += now.eq(self.octets)
        word = Signal(16)
        m.d.comb += word.eq(now.argument)

        # First cycle: sizes and values; second: the verdict.
        one, two, six = (Signal(name=name) for name in ("one", "two", "six"))
        table, vlan, pairs, mine = (Signal(name=name) for name in (
            "table", "vlan", "pairs", "mine"))
        entries = Signal(20)
        m.d.comb += entries.eq((word << 2) + (word << 1))
        m.d.sync += [
            one.eq(self.length == 3), two.eq(self.length == 4), six.eq(self.length == 8),
            # [virtio-1.2: 5.1.6.5.2] two tables: a number of entries, then 6 octets for each.
            table.eq((now.argument[16:32] == 0) & (self.length >= entries + 10)),
            vlan.eq(word < 4096), pairs.eq((word != 0) & (word <= g.pairs)),
            mine.eq(now.argument == mac_of(self.profile, self.function_id)),
            self.pairs.eq(word),
        ]
        good, sets = Signal(), Signal()
        chosen = self.chosen
        with m.Switch(now.kind):
            with m.Case(spec.VIRTIO_NET_CTRL_RX):
                m.d.comb += good.eq(one & chosen.ctrl_rx & (
                    now.command <= spec.VIRTIO_NET_CTRL_RX_ALLMULTI))
            with m.Case(spec.VIRTIO_NET_CTRL_MAC):
                with m.If(now.command == spec.VIRTIO_NET_CTRL_MAC_TABLE_SET):
                    m.d.comb += good.eq(table & chosen.ctrl_rx)
                with m.If(now.command == spec.VIRTIO_NET_CTRL_MAC_ADDR_SET):
                    m.d.comb += good.eq(six & mine & chosen.ctrl_mac_addr)
            with m.Case(spec.VIRTIO_NET_CTRL_VLAN):
                m.d.comb += good.eq(two & vlan & chosen.ctrl_vlan
                                    & (now.command <= spec.VIRTIO_NET_CTRL_VLAN_DEL))
            with m.Case(spec.VIRTIO_NET_CTRL_MQ):
                m.d.comb += [
                    sets.eq(two & pairs & chosen.mq
                            & (now.command == spec.VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET)),
                    good.eq(sets)]
        m.d.sync += [
            self.status.eq(Mux(good, spec.VIRTIO_NET_OK, spec.VIRTIO_NET_ERR)),
            self.sets_pairs.eq(sets),
        ]
        return m
