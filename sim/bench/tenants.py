"""Many tenants at once: every function identified and started at the same time."""

import cocotb

from offloadcard.control.volumes import Volume, VolumeTable
from offloadcard.gft import spec as gft

from ..card_port import SimulatedPort
from ..host.nvme_driver import NvmeDriver
from ..host.virtio_net_driver import VirtioNetDriver
from .net import flow_of, put_flow

__all__ = ["together", "Tenants", "BLOCK", "VOLUME_OCTETS"]

BLOCK = 512
VOLUME_OCTETS = 1 << 20
GUEST_OCTETS = 1 << 24


async def together(works, *, most=16):
    """Run coroutines at the same time, ``most`` at once; their results in order."""
    works, results = list(works), []
    for first in range(0, len(works), most):
        tasks = [cocotb.start_soon(work) for work in works[first:first + most]]
        results += [await task for task in tasks]
    return results


class Tenants:
    """The machine with ``net`` and ``nvme`` virtual functions, a guest each.

    Attributes
    ----------
    net, drives : list
        Drivers, started.
    flows : list of (out, into)
        Flows of each network tenant, in the table from ``first_row`` on.
    """

    def __init__(self, env, table, *, first_row=0):
        self.env, self.table, self.first_row = env, table, first_row
        self.net, self.drives, self.flows = [], [], []
        self.machine = None

    async def start(self, *, net=0, nvme=0, entries=256, frame_octets=60, receive=True,
                    depth=256, io_queues=1):
        """Enumerate, provision, start: all functions side by side."""
        env, config = self.env, self.env.config
        self.machine = machine = env.machine()
        await machine.start(net_vfs=net, nvme_vfs=nvme, identify=False)
        functions = [*(machine.net if net else ()), *(machine.nvme if nvme else ())]
        await together(function.identify() for function in functions)
        volumes = VolumeTable(SimulatedPort(env)) if nvme else None
        for n, function in enumerate(functions):
            guest = env.guest(1 + n, GUEST_OCTETS)  # above 4 GiB: headers of four double words
            guest.assign(function.rid)
            function.memory = guest.memory
        for n in range(nvme):
            await volumes.store(Volume(function_id=config.first_nvme_vf + n, nsid=1,
                                       blocks=VOLUME_OCTETS // BLOCK), n * VOLUME_OCTETS)
        await env.bus.sleep(1_000)
        await together(machine.give(function) for function in functions)
        self.net = [VirtioNetDriver(function, queue_size=entries, split="one",
                                    receive_buffers=entries if receive else 1,
                                    frame_octets=frame_octets) for function in functions[:net]]
        self.drives = [NvmeDriver(function, io_queues=io_queues, entries=depth)
                       for function in functions[net:]]
        await together(driver.start() for driver in (*self.net, *self.drives))
        for n in range(net if self.table is not None else 0):
            await self._flows(n)
        await env.bus.sleep(5_000)  # receive buffers are fetched ahead, or not

    async def _flows(self, n):
        """One flow each way between function ``n`` and the wire."""
        owner = self.env.config.first_net_vf + n
        out = flow_of(n, source=owner, direction=gft.Direction.GUEST)
        into = flow_of(512 + n, direction=gft.Direction.WIRE)
        row = self.first_row + 2 * n
        await put_flow(self.table, row, out, destination=gft.DestinationKind.WIRE, owner=owner)
        await put_flow(self.table, row + 1, into, destination=gft.DestinationKind.FUNCTION,
                       destination_function=owner, owner=owner)
        self.flows.append((out, into))
