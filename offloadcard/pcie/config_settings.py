"""What the two physical functions' registers say to the card as a whole."""

# Ref: pcie-5.0, 7.5.3.4 (Device Control); sriov-1.1, 3.3 (SR-IOV Extended Capability)

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .config_map import ConfigMap, Slot
from .config_pf import PfRegisters
from .functions import settings

__all__ = ["ConfigSettings", "error_rules"]


def error_rules():
    """What a physical function's registers say of errors, its virtual functions' too.

    ``command`` and ``device`` are the low bits of Command and Device Control.
    """
    # Ref: sriov-1.1, 4.2.1 (a VF has none of these registers; those of its PF apply)
    return data.StructLayout({"mask": 32, "severity": 32, "correctable_mask": 32,
                              "command": 9, "device": 4})


class ConfigSettings(wiring.Component):
    """Hold the registers of both physical functions, and show all as ``settings``.

    Timing
    ------
    As :class:`offloadcard.pcie.config_pf.PfRegisters`, and a cycle more: what is asked, written and
    reset rests in registers.

    Parameters
    ----------
    config : CardConfig
        The card.

    Members
    -------
    register, mask, data
        As of ``PfRegisters``.
    write, reset : ``In(2)``
        By physical function.
    cold : ``In(1)``
        The link went down: nothing is kept.
    family : ``In(1)``, value : ``Out(32)``
        What the DW shows in that physical function.
    bus, bus_write : ``In(8)``, ``In(1)``
        A bus number to be captured.
    walking : ``In(2)``
        As of :class:`offloadcard.pcie.config_space.ConfigSpace`.
    told, told_memory, told_device, told_device_2 : ``In(2)``, ``In(1)``, ``In(32)``, ``In(32)``
        The row of a physical function: memory space is open; Device Control and Device Control 2.
    told_rules : ``In(error_rules())``
        Of the same row.
    rules : ``Out(data.ArrayLayout(error_rules(), 2))``
        By family: they hold for the physical function and for its virtual ones.
    vfs_ended : ``Out(2)``
        VF Enable went to zero by a write in the cycle before.
    settings : ``Out(settings(...))``
        For all.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "register": In(7), "mask": In(32), "data": In(32), "write": In(2), "reset": In(2),
            "cold": In(1), "family": In(1), "value": Out(32), "bus": In(8), "bus_write": In(1),
            "walking": In(2), "told": In(2), "told_memory": In(1), "told_device": In(32),
            "told_device_2": In(32), "vfs_ended": Out(2),
            "told_rules": In(error_rules()), "rules": Out(data.ArrayLayout(error_rules(), 2)),
            "settings": Out(settings(function_id_width=config.function_id_width)),
        })

    def elaborate(self, platform):
        m = Module()

        config = self.config
        row = data.StructLayout({"memory": 1, "max_read": 3, "max_payload": 3, "extended_tag": 1,
                                 "timeout_disable": 1})
        pfs, rows = [], []
        fresh = ConfigMap(config).reset
        register, mask, write_data, write = Signal(7), Signal(32), Signal(32), Signal(2)
        reset = Signal(2)
        m.d.sync += [register.eq(self.register), mask.eq(self.mask), write_data.eq(self.data),
                     write.eq(self.write), reset.eq(self.reset)]
        for number, (vfs, first) in enumerate(((config.virtio_net_vfs, config.first_net_vf),
                                               (config.nvme_vfs, config.first_nvme_vf))):
            pf = PfRegisters(total_vfs=vfs, first_vf_offset=first - number, has_ari=number == 0,
                             function_id_width=config.function_id_width)
            m.submodules[f"pf{number}"] = pf
            pfs.append(pf)
            own = Signal(row, name=f"own{number}", init={"max_read": 2})
            rows.append(own)
            rules = Signal(error_rules(), name=f"rules{number}", init={
                name: fresh[number][Slot[name.upper()]] & (1 << error_rules()[name].width) - 1
                for name in error_rules().members})
            m.d.comb += self.rules[number].eq(rules)
            shared = self.settings.pf[number]
            m.d.comb += [
                pf.register.eq(register), pf.mask.eq(mask), pf.data.eq(write_data),
                pf.write.eq(write[number]), pf.reset.eq(reset[number]),
                pf.cold.eq(self.cold), pf.ari.eq(self.settings.ari),
                self.vfs_ended[number].eq(pf.vfs_ended),
                *(shared[name].eq(getattr(pf, name))
                  for name in ("bar0", "bar2", "vf_enable", "num_vfs", "vf_bar0", "vf_bar2")),
                *(shared[name].eq(own[name])
                  for name in ("memory", "max_read", "extended_tag", "timeout_disable")),
                shared.vf_memory.eq(pf.vf_memory & ~self.walking[number]),
                self.settings.aperture[number].eq(pf.aperture),
            ]
            with m.If(self.told[number]):
                m.d.sync += [
                    rules.eq(self.told_rules),
                    own.memory.eq(self.told_memory),
                    own.max_payload.eq(self.told_device[5:8]),
                    own.extended_tag.eq(self.told_device[8]),
                    own.max_read.eq(self.told_device[12:15]),
                    own.timeout_disable.eq(self.told_device_2[4]),
                ]

        bus = Signal(8)
        with m.If(self.bus_write):
            m.d.sync += bus.eq(self.bus)
        with m.If(self.cold):
            m.d.sync += bus.eq(0)
        m.d.comb += [
            self.value.eq(Mux(self.family, pfs[1].value, pfs[0].value)),
            self.settings.bus.eq(bus),
            self.settings.ari.eq(pfs[0].ari_hierarchy),
            pfs[0].vfs_locked.eq(pfs[1].vf_enable),
            # [pcie-5.0: 7.5.3.4] in an ARI device function 0 decides for all.
            self.settings.max_payload.eq(rows[0].max_payload),
        ]

        return m
