"""What the card itself says to a guest: neighbours, leases, and that a packet's time was over."""

from ..gft import spec
from . import dhcp, icmp_error, neighbour

__all__ = ["Answers"]


class Answers:
    """Answers exceptions that are no flow; ``send(descriptor, frame)`` sends to whom one came from.

    ``path`` has the ``network`` that is asked and the ``counters``.
    """

    def __init__(self, path, send):
        self._path = path
        self._send = send

    async def time_exceeded(self, descriptor, frame):
        """Tell the guest that its packet ended at its network's router."""
        told = icmp_error.sender_of(frame)
        if descriptor.direction != spec.Direction.GUEST or told is None:
            return
        router = self._path.network.router_of(descriptor.function_id, told)
        if router is None:
            return
        address, mac = router
        self._path.counters.told += 1
        await self._send(descriptor, icmp_error.time_exceeded(frame, router=address,
                                                              router_mac=mac))

    async def talk(self, descriptor, frame):
        """What is no flow: the card answers questions for addresses; of the rest why not."""
        asked = neighbour.question(frame)
        if asked is None or descriptor.direction != spec.Direction.GUEST:
            self._path.counters.drop("NOT_A_FLOW")
            return
        mac = self._path.network.mac_of(descriptor.function_id, *asked)
        if mac is None:
            self._path.counters.drop("UNKNOWN_NEIGHBOUR")
            return
        self._path.counters.answered += 1
        await self._send(descriptor, neighbour.answer(frame, mac))

    async def lease(self, descriptor, frame):
        """Was it DHCP of a port that has a lease? Then it is answered, and no flow."""
        asked = dhcp.question(frame)
        if asked is None or descriptor.direction != spec.Direction.GUEST:
            return False
        found = self._path.network.lease_of(descriptor.function_id, asked.mac)
        if found is None:
            return False
        address, lease, mac = found
        told = dhcp.answer(frame, address, lease, mac=mac)
        if told is not None:
            self._path.counters.leased += 1
            await self._send(descriptor, told)
        return True
