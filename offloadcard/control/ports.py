"""What the card's processor stands on: the management port, two packet streams, and time.

The same code runs in simulation, where an environment gives these, and would run on silicon. It
never starts tasks or takes locks of a framework: one coroutine per activity awaits these methods.
"""

from abc import ABC, abstractmethod

__all__ = ["ManagementError", "CardPort", "Mutex"]


class ManagementError(Exception):
    """No register answered at the address, or it refused the access."""

    def __init__(self, address, write):
        super().__init__(f"{'write to' if write else 'read of'} management address "
                         f"{address:#07x} was answered with an error")
        self.address = address


class CardPort(ABC):
    """The card, seen by its processor. Accesses of several coroutines may overlap: the port
    serialises single accesses, :class:`Mutex` whole sequences."""

    @abstractmethod
    async def read(self, address):
        """64 bits at ``address``; :class:`ManagementError` on an error."""

    @abstractmethod
    async def write(self, address, data):
        """Write 64 bits; :class:`ManagementError` on an error."""

    async def burst(self, accesses):
        """Carry out up to 31 accesses of one house in order: ``(address, data)`` writes,
        ``(address, None)`` reads; what was read, as a list. A port that can does so without
        waiting for each answer; then accesses behind a refused one may have been carried out."""
        values = []
        for address, data in accesses:
            if data is None:
                values.append(await self.read(address))
            else:
                await self.write(address, data)
        return values

    @abstractmethod
    async def receive(self, timeout_ns=None):
        """Octets of the next packet of ``exceptions``, or ``None`` after ``timeout_ns``."""

    @abstractmethod
    async def inject(self, octets):
        """Hand one packet to ``inject``; done when the card has taken it."""

    @abstractmethod
    def now_ns(self):
        """Time on the card's clock."""

    @abstractmethod
    async def sleep(self, ns):
        """Wait."""


class Mutex:
    """One coroutine at a time, whatever schedules them: a waiter looks again every 100 ns."""

    def __init__(self, port):
        self._port = port
        self._held = False

    async def __aenter__(self):
        while self._held:
            await self._port.sleep(100)
        self._held = True

    async def __aexit__(self, *_):
        self._held = False
