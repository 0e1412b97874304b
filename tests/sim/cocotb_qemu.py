"""cocotb: functions of the card as QEMU's sockets have them; see test_qemu_function.py.

We are QEMU here, and the guest's driver in a few accesses: memory is a file that we hold, and
interrupts are eventfds that we read.
"""

# Ref: nvme-base-1.4c, 3.1 (Register Definition), 5.15 (Identify command)

import os
import socket
import struct
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import cocotb

from offloadcard.config import TINY
from sim.bridge.qemu import QemuFunction
from sim.bridge.root_port import RootPort
from sim.bridge.vfio_user import CONFIG_REGION, Refused
from sim.env import Env

MEMORY, QUEUES, OCTETS = 0x10_0000, 0x4000, 1 << 16
MSIX_BAR = 2


class Qemu:
    """One function, its guest's memory and a vector's eventfd."""

    def __init__(self, root, number, name, folder):
        self.function = QemuFunction(root, number, name, folder / name)
        self.env, self.event = root.env, os.eventfd(0, os.EFD_NONBLOCK)
        self.memory = os.memfd_create("memory")
        os.ftruncate(self.memory, 2 * OCTETS)

    async def attach(self):
        await self.function.attach()
        # In two pieces, as below and above a PC's hole.
        self.function.map(0, MEMORY // 2, self.memory, 0)
        self.function.map(MEMORY, OCTETS, self.memory, OCTETS)
        await self.configure(0x04, 2, 0x406)
        self.capabilities, at = {}, await self.config(0x34, 1)
        while at:
            self.capabilities[await self.config(at, 1)] = at
            at = await self.config(at + 1, 1)

    async def config(self, offset, size):
        return int.from_bytes(await self.function.read(CONFIG_REGION, offset, size), "little")

    async def configure(self, offset, size, value):
        await self.function.write(CONFIG_REGION, offset, value.to_bytes(size, "little"))

    async def read(self, offset, size=4):
        return int.from_bytes(await self.function.read(0, offset, size), "little")

    async def write(self, offset, size, value):
        await self.function.write(0, offset, value.to_bytes(size, "little"))

    def interrupts(self):
        """How many since the last look."""
        try:
            return int.from_bytes(os.read(self.event, 8), "little")
        except BlockingIOError:
            return 0

    async def disable(self):
        """CC.EN off, until the controller says so."""
        await self.write(0x14, 4, 0)
        while await self.read(0x1C) & 1:
            await self.env.bus.sleep(1_000)

    async def identify(self):
        """Bring the controller up and identify it; its serial number."""
        queues = MEMORY + QUEUES
        await self.write(0x24, 4, 7 << 16 | 7)
        await self.write(0x28, 8, queues)
        await self.write(0x30, 8, queues + 0x1000)
        await self.write(0x14, 4, 6 << 16 | 4 << 20 | 1)
        while not await self.read(0x1C) & 1:
            await self.env.bus.sleep(1_000)
        command = bytearray(64)
        command[0], command[2], command[40] = 6, 9, 1
        command[24:32] = (queues + 0x2000).to_bytes(8, "little")
        os.pwrite(self.memory, bytes(0x1000), OCTETS + QUEUES + 0x1000)
        os.pwrite(self.memory, command, OCTETS + QUEUES)
        await self.write(0x1000, 4, 1)
        await self.env.bus.sleep(50_000)
        entry = os.pread(self.memory, 16, OCTETS + QUEUES + 0x1000)
        assert entry[12:16] == (9 | 1 << 16).to_bytes(4, "little"), entry.hex()
        return os.pread(self.memory, 20, OCTETS + QUEUES + 0x2000 + 4).decode().strip()


@asynccontextmanager
async def world(dut, *names):
    """The started root port and a :class:`Qemu` for each function."""
    async with Env(dut, TINY, quiet_clocks=TINY.quiet_clocks) as env:
        root = RootPort(env)
        await root.start(net_vfs=1, nvme_vfs=2)
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            made = [Qemu(root, number, name, Path(folder))
                    for number, name in enumerate(names, 1)]
            for qemu in made:
                await qemu.attach()
            yield root, made
            for qemu in made:
                await qemu.function.gone()
                qemu.function.close()


@cocotb.test()
async def interrupts_outlive_a_reset(dut):
    """Nobody gives the vectors again after an FLR: the bridge puts the card's table back."""
    async with world(dut, "nvme0") as (root, (qemu,)):
        await qemu.function.set_vectors(0, [qemu.event])
        serial = await qemu.identify()
        assert serial and qemu.interrupts() == 1
        await qemu.configure(qemu.capabilities[0x10] + 8, 2, 0x8000)
        assert await qemu.read(0x14) == 0, "CC must have been reset"
        await qemu.configure(0x04, 2, 0x406)
        assert await qemu.identify() == serial and qemu.interrupts() == 1
        await qemu.function.reset()
        await qemu.configure(0x04, 2, 0x406)
        assert await qemu.identify() == serial and qemu.interrupts() == 1
        assert root.counts["stray"] == 0


@cocotb.test()
async def a_vector_without_a_file_is_silent(dut):
    async with world(dut, "nvme0") as (root, (qemu,)):
        await qemu.identify()
        await qemu.function.set_vectors(0, [qemu.event, qemu.event])
        await qemu.function.set_vectors(0, [None])
        await qemu.disable()
        await qemu.identify()
        assert qemu.interrupts() == 0
        await qemu.disable()
        await qemu.function.disable_vectors()
        await qemu.identify()
        assert qemu.interrupts() == 0 and root.counts["stray"] == 0


@cocotb.test()
async def the_table_is_not_the_guests(dut):
    """What passes QEMU by mistake changes neither the card's table nor its Enable."""
    async with world(dut, "nvme0") as (_, (qemu,)):
        await qemu.function.set_vectors(0, [qemu.event])
        before = await qemu.function.read(MSIX_BAR, 0, 16)
        assert any(before)
        await qemu.function.write(MSIX_BAR, 0, b"\xff" * 16)
        await qemu.configure(qemu.capabilities[0x11] + 2, 2, 0)
        assert await qemu.function.read(MSIX_BAR, 0, 16) == before
        await qemu.identify()
        assert qemu.interrupts() == 1


@cocotb.test()
async def memory_goes_piece_by_piece(dut):
    """One region goes, the other stays; each function has its own; nothing is mapped twice."""
    async with world(dut, "nvme0", "nvme1") as (_, (one, other)):
        one.function.unmap(0, MEMORY // 2)
        one.function.unmap(0x77_0000, 0x1000)  # it had no file
        assert await one.identify() != await other.identify()
        for place in (MEMORY, MEMORY + 0x1000):
            try:
                one.function.map(place, 0x1000, one.memory, 0)
            except Refused:
                continue
            raise AssertionError("memory must not be mapped twice")
        await one.disable()
        await one.identify()


@cocotb.test()
async def a_client_comes_again(dut):
    """A client dies with its controller running; the next finds a function that was reset."""
    async with world(dut, "nvme0", "net0") as (_, (qemu, _)):
        await qemu.function.set_vectors(0, [qemu.event])
        serial = await qemu.identify()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(qemu.function.path))
            qemu.function.server.accept()
        await qemu.function.gone()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(qemu.function.path))
            qemu.function.server.accept()
            client.sendall(struct.pack("<HHIIIQII", 1, 9, 32, 0, 0, 0x14, 0, 4))
            await qemu.function.server.handle(qemu.function.server.take())
            # Memory Space Enable of the new guest is off.
            assert client.recv(64)[32:] == b"\xff" * 4
            await qemu.configure(0x04, 2, 0x406)
            assert await qemu.read(0x14) == 0
            qemu.function.map(MEMORY, OCTETS, qemu.memory, OCTETS)
            assert await qemu.identify() == serial and qemu.interrupts() == 1
