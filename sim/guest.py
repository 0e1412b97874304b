"""A guest over the simulated link: its memory, its functions, and the bus that its drivers use."""

from cocotb.triggers import Timer

from .host.bus import Bus
from .host.memory import Memory

__all__ = ["Guest", "LinkBus", "GUEST_STRIDE"]

GUEST_STRIDE = 1 << 36  # each guest's memory begins at a multiple; the first below 4 GiB


class Guest:
    """A virtual machine, or a bare metal tenant: its memory and its functions.

    Attributes
    ----------
    number : int
    memory : sim.host.memory.Memory
        Allocator over the octets that the card sees at ``memory.base``.
    """

    def __init__(self, env, number, size):
        self.env, self.number = env, number
        # The first guest lies below 4 GiB, where headers have three double words.
        base = number * GUEST_STRIDE + 0x0100_0000
        self.memory = Memory(env.world.map(base, size, guest=number), base, self)

    def assign(self, *requesters):
        """These functions are this guest's from now on."""
        for requester in requesters:
            self.env.world.assign(requester, self.number)

    def allocated(self, address, size, owner, purpose):
        """The ledger and the monitor learn whose octets these are."""
        self.env.world.range(address, size, purpose, requester=owner)

    def freed(self, address, size):
        """From now on every access is a trespass."""
        self.env.world.range(address, size, "freed", poisoned=True)


class LinkBus(Bus):
    """The abstract bus of the drivers, over the simulated link, for one guest."""

    def __init__(self, env, guest):
        self.env, self.guest, self.memory = env, guest, guest.memory
        self.last_status = 0

    async def config_read(self, rid, offset, size):
        """All ones for UR; a CRS answer is tried again for 1 ms, then reads 0xFFFF0001."""
        for _ in range(1000):
            self.last_status, octets = await self.env.config_access(False, rid, offset, size)
            if self.last_status != 2:
                break
            await self.sleep(1_000)
        if self.last_status == 0:
            return int.from_bytes(octets[offset & 3:(offset & 3) + size], "little")
        if self.last_status == 2:
            return 0xFFFF_0001 & ((1 << 8 * size) - 1)
        return (1 << 8 * size) - 1

    async def config_write(self, rid, offset, size, value):
        """Waits for the completion; a CRS answer is tried again for 1 ms."""
        for _ in range(1000):
            self.last_status, _ = await self.env.config_access(True, rid, offset, size, value)
            if self.last_status != 2:
                return
            await self.sleep(1_000)

    async def memory_read(self, address, length):
        ticket = self.env.world.memory_read(address, length)
        self.last_status, octets = await self.env.answer(ticket)
        return octets if self.last_status == 0 else b"\xff" * length

    async def memory_write(self, address, octets):
        self.env.world.memory_write(address, octets)

    def new_message(self):
        return self.env.new_message()

    def messages_seen(self, message):
        return self.env.messages.get(message, 0)

    async def wait_message(self, message, seen, timeout_ns):
        return await self.env.wait_until(lambda: self.messages_seen(message) > seen, timeout_ns)

    async def sleep(self, ns):
        await Timer(max(1, round(ns)), "ns")

    def now_ns(self):
        return self.env.now_ns

    async def send_tlp(self, header, octets=b"", *, answered=True):
        """A TLP as it is; ``(status, octets)`` of its answer."""
        ticket = self.env.world.raw(header, octets, answered=answered)
        return await self.env.answer(ticket) if answered else None
