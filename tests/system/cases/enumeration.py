"""The card is found, its functions enabled and reset."""

import cocotb

from offloadcard.config import PRESETS
from offloadcard.pcie import spec_config
from sim.env import arguments
from sim.host import pci_regs as regs
from sim.host.pci_regs import *
from sim.rig import Rig


def config():
    return PRESETS[arguments()["preset"]]


async def _check_common(function):
    kinds = {kind for kind, _ in function.capabilities}
    assert {PCI_CAP_ID_PM, PCI_CAP_ID_MSIX, PCI_CAP_ID_EXP} <= kinds, function
    express = function.capability(PCI_CAP_ID_EXP)
    assert await function.read(express + PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_FLR
    assert not await function.read(PCI_STATUS, 2) & ~0xFFFF


@cocotb.test()
async def both_physical_functions(dut):
    async with Rig(dut, config()) as rig:
        await rig.start(net_vfs=0, nvme_vfs=0)
        net, nvme = rig.machine.net_pf, rig.machine.nvme_pf
        assert (net.vendor_id, net.device_id) == (0x1AF4, 0x1041)
        assert (nvme.vendor_id, nvme.device_id) == (spec_config.VENDOR_OFFLOADCARD,
                                                    spec_config.DEVICE_NVME)
        assert [f.rid & 0xFF for f in (net, nvme)] == [0, 1]
        for function in (net, nvme):
            await _check_common(function)
            assert sorted(function.bars) == [0, 2]
            extended = {kind for kind, _ in function.extended}
            assert {PCI_EXT_CAP_ID_ERR, PCI_EXT_CAP_ID_ACS, PCI_EXT_CAP_ID_ARI,
                    PCI_EXT_CAP_ID_SRIOV} <= extended
        # ARI Capable Hierarchy stays with the lowest PF.
        bits = [await f.read(f.extended_capability(PCI_EXT_CAP_ID_SRIOV) + PCI_SRIOV_CTRL, 2)
                & PCI_SRIOV_CTRL_ARI for f in (net, nvme)]
        assert bits == [PCI_SRIOV_CTRL_ARI, 0]
        # A function that is not there is unsupported.
        for absent in (2, 77, 0xFF):
            assert await rig.bus.config_read(0x100 | absent, 0, 4) == PCI_ERROR_RESPONSE
            assert rig.bus.last_status == 1


@cocotb.test()
async def virtual_functions(dut):
    card = config()
    async with Rig(dut, card) as rig:
        await rig.start(net_vfs=card.virtio_net_vfs, nvme_vfs=card.nvme_vfs,
                        identify=card.functions < 20)
        machine = rig.machine
        assert machine.net_sriov.total == card.virtio_net_vfs
        assert machine.nvme_sriov.total == card.nvme_vfs
        for n, vf in enumerate([*machine.net, *machine.nvme]):
            assert vf.rid == 0x100 | 2 + n
        for vf in (machine.net[0], machine.net[-1], machine.nvme[0], machine.nvme[-1]):
            await vf.identify()
            await _check_common(vf)
            assert await vf.read(PCI_VENDOR_ID, 4) == PCI_ERROR_RESPONSE
            assert rig.bus.last_status == 0
            assert not await vf.read(PCI_HEADER_TYPE, 1) & PCI_HEADER_TYPE_MFD
            await vf.update(PCI_COMMAND, 2, set=PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER)
            assert await vf.read(PCI_COMMAND, 2) & 7 == PCI_COMMAND_MASTER
            assert await vf.size_bars() == {}
        # Gone, and there again.
        await machine.net_sriov.disable()
        assert await rig.bus.config_read(0x102, 0, 4) == PCI_ERROR_RESPONSE
        assert rig.bus.last_status == 1
        await machine.net_sriov.enable(1)
        assert len(machine.net) == 1
        await _check_common(machine.net[0])


@cocotb.test()
async def without_ari(dut):
    card = config()
    async with Rig(dut, card, ari=False) as rig:
        await rig.start(net_vfs=1, nvme_vfs=1)
        assert rig.machine.net[0].rid == 0x202
        assert rig.machine.nvme[0].rid == 0x200 | card.first_nvme_vf
        for vf in (*rig.machine.net, *rig.machine.nvme):
            await _check_common(vf)


@cocotb.test()
async def function_level_reset(dut):
    async with Rig(dut, config()) as rig:
        await rig.start(net_vfs=2, nvme_vfs=1)
        one, other = rig.machine.net
        for vf in (one, other):
            await rig.give(vf)
            await vf.msix_enable(2)
        await one.flr()
        assert not await one.read(one.capability(PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS,
                                  2) & PCI_MSIX_FLAGS_ENABLE
        assert await other.read(other.capability(PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS,
                                2) & PCI_MSIX_FLAGS_ENABLE
        assert await other.read(PCI_COMMAND, 2) & PCI_COMMAND_MASTER
        # A PF ends its own VFs, nobody else's.
        await rig.machine.net_pf.flr()
        assert await rig.bus.config_read(one.rid, 0, 4) == PCI_ERROR_RESPONSE
        assert await rig.machine.nvme[0].read(PCI_STATUS, 2) != 0xFFFF
        bars = rig.machine.net_pf.bars
        await rig.machine.net_pf.restore()
        assert await rig.machine.net_pf.size_bars() == {n: s for n, (_, s) in bars.items()}


@cocotb.test()
async def msix_table(dut):
    async with Rig(dut, config()) as rig:
        await rig.start(net_vfs=1, nvme_vfs=1)
        for vf in (rig.machine.net[0], rig.machine.nvme[0]):
            await rig.give(vf)
            messages = await vf.msix_enable(2048)
            flags = await vf.read(vf.capability(PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS, 2)
            assert flags & regs.PCI_MSIX_FLAGS_ENABLE
            for vector, message in enumerate(messages):
                entry = await vf.msix_entry(vector)
                octets = b"".join([await vf.bus.memory_read(entry + n, 4)
                                   for n in range(0, 16, 4)])
                assert octets == (message.address.to_bytes(8, "little")
                                  + message.data.to_bytes(4, "little") + bytes(4))
            assert await vf.msix_pending() == 0
