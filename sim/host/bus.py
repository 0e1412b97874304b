"""What a driver sees of the world: config space, registers, memory, interrupts and time."""

from abc import ABC, abstractmethod
from typing import NamedTuple

__all__ = ["Bus", "Message", "Timeout", "poll"]


class Timeout(RuntimeError):
    """The device did not do in time what it must."""


class Message(NamedTuple):
    """A message-signalled interrupt: the card writes ``data`` (4 octets) to ``address``."""
    address: int
    data:    int


class Bus(ABC):
    """The host between a driver and a device; simulated link, model or another simulator.

    ``rid`` is a routing id (bus << 8 | device << 3 | function). A driver awaits these methods and
    nothing else, so it runs under any scheduler, and over every world around the card.

    Attributes
    ----------
    memory : sim.host.memory.Memory
        The guest's memory; a device reaches it by DMA.
    """

    memory = None

    @abstractmethod
    async def config_read(self, rid, offset, size):
        """A number of ``size`` octets; all ones where no function answers."""

    @abstractmethod
    async def config_write(self, rid, offset, size, value):
        """Write ``size`` octets of config space."""

    @abstractmethod
    async def memory_read(self, address, length):
        """Octets of a BAR; all ones where nobody answers."""

    @abstractmethod
    async def memory_write(self, address, octets):
        """A posted write to a BAR: returns when it is under way."""

    @abstractmethod
    def new_message(self):
        """A :class:`Message` that no other vector uses."""

    @abstractmethod
    def messages_seen(self, message):
        """How often ``message`` has arrived since it was made."""

    @abstractmethod
    async def wait_message(self, message, seen, timeout_ns):
        """Wait until ``message`` has arrived more than ``seen`` times; False when time is up."""

    @abstractmethod
    async def sleep(self, ns):
        """Let simulated time pass."""

    @abstractmethod
    def now_ns(self):
        """Simulated time."""

    # Registers of 1, 2, 4 and 8 octets, little-endian.

    async def read(self, address, size):
        """A register as a number."""
        return int.from_bytes(await self.memory_read(address, size), "little")

    async def write(self, address, size, value):
        """Write a register; posted."""
        await self.memory_write(address, value.to_bytes(size, "little"))


async def poll(bus, condition, what, *, timeout_ns, every_ns=1_000):
    """Await ``condition()`` until it is true; :class:`Timeout` names ``what``."""
    end = bus.now_ns() + timeout_ns
    while not await condition():
        if bus.now_ns() >= end:
            raise Timeout(f"{what} must be seen within {timeout_ns} ns")
        await bus.sleep(every_ns)
