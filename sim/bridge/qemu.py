"""QEMU as a machine: each of its guest's functions is a vfio-user socket of its own.

QEMU emulates BARs, the MSI-X table and the bus; what it passes on is the rest of configuration
space, the registers, the guest's memory as open files, and an eventfd for each vector. QEMU's own
copy of the MSI-X table never reaches us, so the card's is programmed here: with messages of the
root port's, and again after every reset, of which QEMU tells nobody.
"""

# Ref: pcie-5.0, 6.6.2 (Function Level Reset), 7.7.2 (MSI-X Capability and Table Structure)

import errno
import os
import struct

from ..host.pci import walk_capabilities
from ..host.pci_regs import *
from .attachment import Attachment
from .overlay import Overlay
from .vfio_user import CONFIG_REGION, Refused, Server

__all__ = ["QemuFunction"]

_RESET_NS = 2_000


class QemuFunction(Attachment):
    """A virtual function in a guest of QEMU, with an address space of its own as behind an IOMMU.

    Parameters
    ----------
    root : sim.bridge.root_port.RootPort
    number : int
        Of the address space, from 1; no other function's.
    name : str
        ``netN`` or ``nvmeN``.
    path : Path
        Of the socket.

    Attributes
    ----------
    server : sim.bridge.vfio_user.Server
    vectors : int
        MSI-X vectors of the card's function.
    signalled : int
        Interrupts that were handed to QEMU.
    """

    def __init__(self, root, number, name, path):
        if not name.startswith(("net", "nvme")):
            raise ValueError(f"`name` must be a virtual function's, not {name!r}")
        self.root, self.number, self.name = root, number, name
        self.path, self.server, self.vectors, self.signalled = path, None, 0, 0
        self._memory, self._files, self._messages = {}, {}, {}

    async def attach(self):
        """Take the function; after the root port has started with it enabled."""
        self.port = port = self.root.lend(self.name, self)
        overlay = Overlay(port, 0, ids=await self.root.vf_ids(port.physical.name))
        self.ports = [overlay]
        capabilities = dict(await walk_capabilities(port.config_read))
        self._msix, self._express = (capabilities[kind]
                                     for kind in (PCI_CAP_ID_MSIX, PCI_CAP_ID_EXP))
        flags = await port.config_read(self._msix + PCI_MSIX_FLAGS, 2)
        self.vectors = (flags & PCI_MSIX_FLAGS_QSIZE) + 1
        table = await port.config_read(self._msix + PCI_MSIX_TABLE, 4)
        self._table = table & PCI_MSIX_TABLE_BIR, table & PCI_MSIX_TABLE_OFFSET
        for vector in range(self.vectors):
            self._messages[self.root.env.new_message()] = vector
        self.server = Server(self.path, self)

    # --- for the server ---

    def size_of(self, region):
        """Octets of a region: BARs 0 to 5, configuration space."""
        if region == CONFIG_REGION:
            return PCI_CFG_SPACE_EXP_SIZE
        return self.port.bars.get(region, (0, 0))[1]

    async def read(self, region, offset, size):
        if region != CONFIG_REGION:
            return await self.ports[0].bar_read(region, offset, size)
        return (await self.ports[0].config_read(offset, size)).to_bytes(size, "little")

    async def write(self, region, offset, octets):
        overlay = self.ports[0]
        if region == CONFIG_REGION:
            control = self._msix + PCI_MSIX_FLAGS
            if offset < control + 2 and control < offset + len(octets):
                return  # QEMU's: our Enable follows the files that it gives us
            await overlay.config_write(offset, len(octets), int.from_bytes(octets, "little"))
            high = self._express + PCI_EXP_DEVCTL + 1
            if offset <= high < offset + len(octets) and octets[high - offset] & 0x80:
                await self._after_reset()
        elif region != self._table[0]:
            await overlay.bar_write(region, offset, octets)

    def map(self, address, size, file, offset):
        """Memory of the guest; QEMU maps no octet twice."""
        try:
            self._memory[address] = (size, os.dup(file), offset)
            self.root.map_memory(self, address, size, file, offset).release()
        except (MemoryError, OverflowError, ValueError) as error:
            os.close(self._memory.pop(address)[1])
            raise Refused(errno.EINVAL, str(error)) from None

    def unmap(self, address, size=None):
        """The region that begins there, or all; what remains is mapped anew, at the same time."""
        if size is None:
            going = list(self._memory)
        elif self._memory.get(address, (None,))[0] == size:
            going = [address]
        else:
            going = []  # it had no file
        for place in going:
            os.close(self._memory.pop(place)[1])
        if going:
            self.root.env.world.unmap(self.number)
            for place, (length, file, offset) in self._memory.items():
                self.root.map_memory(self, place, length, file, offset).release()

    async def set_vectors(self, first, files):
        for vector, file in enumerate(files, first):
            old = self._files.pop(vector, None)
            if old is not None:
                os.close(old)
            if file is not None:
                self._files[vector] = os.dup(file)
        await self._program(range(first, first + len(files)))

    async def disable_vectors(self):
        self._close_files()
        await self._program(())

    async def reset(self):
        await self.port.config_write(self._express + PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_BCR_FLR)
        self.ports[0].memory_enable = 0
        await self._after_reset()

    # --- MSI-X ---

    async def _after_reset(self):
        """The function has forgotten its table; it answers as soon as it has drained."""
        await self.root.env.bus.sleep(_RESET_NS)
        await self.port.config_read(PCI_COMMAND, 2)
        await self._program(range(self.vectors))

    async def _program(self, vectors):
        """Entries of the card's table, and its Enable."""
        bar, base = self._table
        messages = list(self._messages)
        for vector in vectors:
            message = messages[vector]
            entry = struct.pack("<QII", message.address, message.data,
                                vector not in self._files)
            await self.port.bar_write(bar, base + PCI_MSIX_ENTRY_SIZE * vector, entry)
        enable = PCI_MSIX_FLAGS_ENABLE if self._files else 0
        await self.port.config_write(self._msix + PCI_MSIX_FLAGS, 2, enable)

    def message(self, port, address, data):
        vector = next((vector for message, vector in self._messages.items()
                       if (message.address, message.data) == (address, data)), None)
        file = self._files.get(vector)
        if file is None:
            self.root.counts["stray"] += 1
        else:
            os.write(file, (1).to_bytes(8, "little"))
            self.signalled += 1

    # --- the end ---

    def _close_files(self):
        for file in self._files.values():
            os.close(file)
        self._files.clear()

    async def gone(self):
        """The client is gone: the function is reset before its memory is taken away."""
        self._close_files()
        await self.reset()
        self.unmap(None)
        self.server.disconnect()

    def close(self):
        """No more clients."""
        self.server.close()
        self._close_files()
        self.unmap(None)
