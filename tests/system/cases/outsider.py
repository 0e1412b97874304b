"""A stranger's root complex, cocotbext-pcie's, over the card's TLP border."""

import logging

import cocotb
from cocotbext.pcie.core import RootComplex
from cocotbext.pcie.core.caps.common import PciCapId
from cocotbext.pcie.core.port import SimPort
from cocotbext.pcie.core.tlp import CplStatus, Tlp, TlpType
from cocotbext.pcie.core.utils import PcieId

from offloadcard.config import PRESETS
from offloadcard.pcie import spec_config
from sim.env import Env, arguments

FLOW_CONTROL = [[64, 1024, 64, 64, 0, 0]] * 8
ANSWERED = {TlpType.CFG_READ_0, TlpType.CFG_READ_1, TlpType.CFG_WRITE_0, TlpType.CFG_WRITE_1,
            TlpType.MEM_READ, TlpType.MEM_READ_64}


class CardDevice:
    """What the root complex sees below its port: the card, TLP by TLP, octet by octet."""

    def __init__(self, env):
        self.env, self.carried = env, 0
        self.upstream_port = SimPort(fc_init=[list(row) for row in FLOW_CONTROL])
        self.upstream_port.max_link_speed, self.upstream_port.max_link_width = 3, 16
        self.upstream_port.parent = self
        self.upstream_port.rx_handler = self.downstream

    def connect(self, port):
        self.upstream_port.connect(port)

    async def downstream(self, tlp):
        cocotb.start_soon(self.carry(tlp))

    async def carry(self, tlp):
        """Give a request to the card; its completion goes back with the card's own header."""
        octets = bytes(tlp.pack())
        size = tlp.get_header_size()
        words = [int.from_bytes(octets[n:n + 4], "big") for n in range(0, size, 4)]
        answered = tlp.fmt_type in ANSWERED
        ticket = self.env.world.raw((words + [0])[:4], octets[size:], answered=answered)
        tlp.release_fc()
        if not answered:
            return
        header, status, data = await self.env.whole_answer(ticket)
        back = Tlp.unpack(b"".join(w.to_bytes(4, "big") for w in header[:3]))
        back.tag = tlp.tag  # the link's model gives requests tags of its own
        assert back.requester_id == tlp.requester_id
        if back.has_data():
            back.data = bytearray(data.ljust(4 * back.length, b"\0"))
        assert (status == 0) == (back.status == CplStatus.SC)
        self.carried += 1
        await self.upstream_port.send(back)


def quiet():
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("cocotb.pcie"):
            logging.getLogger(name).setLevel(logging.WARNING)


@cocotb.test()
async def enumerates_both_physical_functions(dut):
    config = PRESETS[arguments()["preset"]]
    async with Env(dut, config) as env:
        root, card = RootComplex(), CardDevice(env)
        root.make_port().connect(card)
        quiet()
        await root.enumerate()
        net  = root.find_device(PcieId(1, 0, 0))
        nvme = root.find_device(PcieId(1, 0, 1))
        assert (net.vendor_id, net.device_id) == (0x1AF4, 0x1041)
        assert (nvme.vendor_id, nvme.device_id) == (spec_config.VENDOR_OFFLOADCARD,
                                                    spec_config.DEVICE_NVME)
        for device in (net, nvme):
            assert device.bar_size[0] == device.bar_size[2] == 0x1_0000
            assert device.bar_addr[0] % 0x1_0000 == 0 and device.bar_addr[0]
            await device.enable_device()
            await device.set_master()
            # MSI-X: one vector, its table entry written through the window of BAR 2.
            offset = device.get_capability_offset(PciCapId.MSIX)
            assert await device.config_read_dword(offset + 4) & 7 == 2
            entry = device.bar_window[2]
            for n, word in enumerate((0xFEE0_0000, 0, 0x41, 0)):
                await entry.write_dword(4 * n, word)
            assert await entry.read_dword(8) == 0x41
            await device.config_write_word(offset + 2, 0x8000)
            assert await device.config_read_word(offset + 2) & 0x8000
        # A register read through the stranger's window: NVMe's version.
        assert await nvme.bar_window[0].read_dword(8) == 0x0001_0400

        # Virtual functions, which it does not know, answer requests by their routing id.
        sriov = await extended_capability(net, 0x10)
        await net.config_write_word(sriov + 0x10, 2)     # NumVFs
        await net.config_write_word(sriov + 0x08, 0x11)  # VF Enable, ARI Capable Hierarchy
        first = await net.config_read_word(sriov + 0x14)
        virtual = PcieId.from_int(0x100 + first)
        assert await root.config_read_dword(virtual, 0) == 0xFFFF_FFFF
        assert await root.config_read_dword(virtual, 8) == 0x0200_0001
        assert card.carried > 50


async def extended_capability(device, wanted):
    """Offset of an extended capability; the list begins at 0x100."""
    offset = 0x100
    while offset:
        head = await device.config_read_dword(offset)
        if head & 0xFFFF == wanted:
            return offset
        offset = head >> 20
    raise LookupError(f"the extended list must hold capability {wanted:#x}")
