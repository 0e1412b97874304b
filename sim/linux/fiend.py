"""A hostile driver: a machine without a Linux that does to its functions what no driver would.

User-Mode Linux lets no program near a BAR, so this machine stands at the guests' own boundary
(:mod:`sim.bridge.attachment`) and is as bad as any kernel module could be: it starts its devices
with queues inside and outside of its memory, fills its rings with octets, rings doorbells, writes
any register with anything, and begins again. The provider's ``order attack`` wakes it.
"""

import os
import random

from offloadcard.nvme_emul.spec import doorbell_offset
from offloadcard.pcie.spec_config import (
    BAR_OCTETS,
    BAR_REGISTERS,
    COMMON_CFG,
    NOTIFY_CFG,
    NOTIFY_MULTIPLIER,
)
from sim.bridge.attachment import Attachment
from sim.host.pci_regs import PCI_COMMAND

__all__ = ["Fiend"]

_MEMORY = 1 << 20
_BASE = 0x10_0000
_ENABLED = 0x6              # PCI_COMMAND: Memory Space, Bus Master
_OUTSIDE = (0, 0xFEE0_0000, 1 << 36, (1 << 52) - 4096, (1 << 64) - 4096)
_STARTED = 0xF              # virtio: ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK
_CC_ENABLE = 0x0046_0001    # NVMe CC: IOCQES 4, IOSQES 6, EN
_STATUS, _SELECT, _SIZE, _ENABLE, _RINGS = 0x14, 0x16, 0x18, 0x1C, (0x20, 0x28, 0x30)
_CC, _AQA, _ASQ, _ACQ = 0x14, 0x24, 0x28, 0x30


class Fiend(Attachment):
    """The hostile machine.

    Parameters
    ----------
    root : sim.bridge.root_port.RootPort
    number : int
        Of the guest that it is.
    functions : list of str
    seed : int

    Attributes
    ----------
    deeds : int
        Accesses made.
    interrupts : int
        Messages that its functions sent it.
    """

    def __init__(self, root, number, functions, seed):
        self.root, self.number, self.random = root, number, random.Random(seed)
        self.ports = [root.lend(name, self) for name in functions]
        self.deeds = self.interrupts = 0
        file = os.memfd_create("fiend")
        os.ftruncate(file, _MEMORY)
        self.memory = root.map_memory(self, _BASE, _MEMORY, file)
        os.close(file)
        for port in self.ports:
            root.env.world.tolerate(port.rid, True)

    def message(self, port, address, data):
        self.interrupts += 1

    def _place(self):
        """An address: mostly its own memory, sometimes nobody's."""
        if self.random.random() < 0.7:
            return _BASE + self.random.randrange(0, _MEMORY, 4096)
        return self.random.choice(_OUTSIDE)

    def _spoil(self):
        """Octets into some page of its memory: descriptors, commands, indices."""
        at = self.random.randrange(0, _MEMORY, 4096)
        octets = bytearray(self.random.randbytes(512))
        for entry in range(0, 512, 16):  # some of them point somewhere
            if self.random.random() < 0.5:
                octets[entry:entry + 8] = self._place().to_bytes(8, "little")
        self.memory[at:at + 512] = octets

    async def _write(self, port, offset, size, value):
        self.deeds += 1
        await port.bar_write(BAR_REGISTERS, offset, (value % (1 << 8 * size)).to_bytes(size,
                                                                                        "little"))

    async def _start_net(self, port):
        base = COMMON_CFG[0]
        for status in (0, 1, 3, 0xB):
            await self._write(port, base + _STATUS, 1, status)
        for queue in range(2):
            await self._write(port, base + _SELECT, 2, queue)
            await self._write(port, base + _SIZE, 2, self.random.choice((8, 16, 64, 3, 0)))
            for ring in _RINGS:
                place = self._place()
                await self._write(port, base + ring, 4, place)
                await self._write(port, base + ring + 4, 4, place >> 32)
            await self._write(port, base + _ENABLE, 2, 1)
        await self._write(port, base + _STATUS, 1, _STARTED)

    async def _start_nvme(self, port):
        await self._write(port, _CC, 4, 0)
        await self._write(port, _AQA, 4, self.random.choice((0x0007_0007, 0x001F_001F, ~0)))
        for base in (_ASQ, _ACQ):
            place = self._place()
            await self._write(port, base, 4, place)
            await self._write(port, base + 4, 4, place >> 32)
        await self._write(port, _CC, 4, _CC_ENABLE)

    async def _deed(self, port):
        net = port.name.startswith("net")
        kind, value = self.random.random(), self.random.getrandbits(64)
        if kind < 0.03:
            await (self._start_net if net else self._start_nvme)(port)
        elif kind < 0.5:  # a doorbell, with any value
            number = self.random.randrange(6)
            offset = (NOTIFY_CFG[0] + NOTIFY_MULTIPLIER * number if net else
                      doorbell_offset(number // 2, completion=number % 2))
            await self._write(port, offset, 4, value % 10 if value & 1 << 40 else value)
        elif kind < 0.7:
            self._spoil()
        elif kind < 0.9:
            size = self.random.choice((1, 2, 4, 8))
            await self._write(port, self.random.randrange(0, BAR_OCTETS, size), size, value)
        else:
            self.deeds += 1
            await port.bar_read(BAR_REGISTERS, self.random.randrange(0, BAR_OCTETS, 8), 8)

    async def attack(self, deeds):
        """So many deeds, a microsecond apart on average; at last the devices are let be."""
        for port in self.ports:
            await port.config_write(PCI_COMMAND, 2, _ENABLED)
        for _ in range(deeds):
            await self._deed(self.random.choice(self.ports))
            await self.root.env.bus.sleep(self.random.randrange(2000))
        for port in self.ports:
            await self._write(port, _STATUS if port.name.startswith("net") else _CC, 1, 0)
