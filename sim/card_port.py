"""The card's own processor in simulation: management port and mailboxes, as the control code asks.

Software in zero time would flatter every connection rate: the service time is the control code's,
which sleeps on this port's clock.
"""

from offloadcard.control.ports import CardPort, ManagementError

__all__ = ["SimulatedPort"]


class SimulatedPort(CardPort):
    """A ``CardPort`` over an :class:`sim.env.Env`."""

    def __init__(self, env):
        self.env = env

    async def read(self, address):
        value, error = await self.env.management(address, False)
        if error:
            raise ManagementError(address, False)
        return value

    async def write(self, address, data):
        _, error = await self.env.management(address, True, data)
        if error:
            raise ManagementError(address, True)

    async def burst(self, accesses):
        answers = await self.env.management_burst(
            [(address, data is not None, data or 0) for address, data in accesses])
        for (address, data), (_, error) in zip(accesses, answers, strict=True):
            if error:
                raise ManagementError(address, data is not None)
        return [value for (_, data), (value, _) in zip(accesses, answers) if data is None]

    async def receive(self, timeout_ns=None):
        found = await self.env.wait_exception(1e15 if timeout_ns is None else timeout_ns)
        return None if found is None else found[1]

    async def inject(self, octets):
        self.env.inject(octets)

    def now_ns(self):
        return self.env.now_ns

    async def sleep(self, ns):
        await self.env.bus.sleep(ns)
