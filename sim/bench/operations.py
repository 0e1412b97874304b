"""The flow table's engine by itself: commands through the card's ring, one kind after the other.

The commands' words are queued at the management port, which takes one access at a time: so a rate
here is that of the whole road, with the cycles of an access beside it.
"""

from offloadcard.gft import spec
from offloadcard.gft.spec import MANAGEMENT
from offloadcard.rtl.octets import pack
from offloadcard.rtl.spec_card import HOUSE_GFT, house_address

from ..link.world import Event
from .net import start_flows
from .slope import percentiles

__all__ = ["flow_operations"]

LAG = 4          # commands under way when a completion is taken
PATIENCE_NS = 10_000_000


class _Road:
    """Accesses queued one behind the other, answers taken in the end."""

    def __init__(self, env):
        self.env, self.tickets = env, []

    def _queue(self, name, write, value=0):
        address = house_address(HOUSE_GFT, MANAGEMENT[name].offset & ~7)
        self.tickets.append(self.env.world.management(address, write, value))
        return self.tickets[-1]

    def write(self, name, value):
        self._queue(name, True, value)

    def read(self, name):
        return self._queue(name, False)

    def completion(self):
        """Reads the head of the ring and takes it; the ticket of the read."""
        ticket = self.read("COMPLETION")
        self.write("COMPLETION_POP", 1)
        return ticket

    async def end(self):
        """``{ticket: value}`` when all have been answered, and how long that took, in ns."""
        env, began = self.env, self.env.now_ns
        await env.wait_count(Event.MANAGEMENT, env.world.count(Event.MANAGEMENT)
                             + len(self.tickets), PATIENCE_NS)
        answers = {ticket: env.world.management_reply(ticket) for ticket in self.tickets}
        if any(error for _, error in answers.values()):
            raise ValueError("every management access must be answered without error")
        span, count = env.now_ns - began, len(self.tickets)
        self.tickets = []
        return {ticket: value for ticket, (value, _) in answers.items()}, span, count


async def flow_operations(env, scenario, packets, seed):
    """INSERT of so many flows, UPDATE and DELETE; INSERT again and EXPIRE; M operations/s each."""
    table = await start_flows(env, seed)
    count = min(packets, env.config.gft_flows // 2)
    key = {"source_address": 0x0A00_0002, "destination_address": 0x0A00_0003,
           "protocol": spec.PROTOCOL_UDP, "l3_type": spec.L3Type.IPV4}
    entry = {"destination": spec.DestinationKind.WIRE}
    status, _ = await table.insert(pack(spec.Key, key), entry, handle=env.config.gft_flows - 1)
    if status != spec.Status.OK:
        raise ValueError(f"a first flow must be inserted, not {status.name}")
    words = [pack(spec.Key, {**key, "source_port": n + 1, "destination_port": 4000})
             for n in range(count)]
    changing = [n for n in range(6) if len({word[8 * n:8 * n + 8] for word in words}) > 1]
    for n in range(6):
        await table.house.write(f"KEY{n}", int.from_bytes(words[0][8 * n:8 * n + 8], "little"))
    await table.house.write("COMPLETION_POP", 1)  # the driver would do so with its next command
    env.begin()
    road, found = _Road(env), {}

    async def measure(name, opcode):
        reads = []
        for n in range(count + LAG):
            if n < count:
                if opcode == spec.Opcode.INSERT:
                    for k in changing:
                        road.write(f"KEY{k}", int.from_bytes(words[n][8 * k:8 * k + 8], "little"))
                if opcode == spec.Opcode.EXPIRE:
                    road.read("STATUS")  # the engine needs longer than its three accesses
                road.write("COMMAND", MANAGEMENT["COMMAND"].shape.const(
                    {"opcode": opcode, "tag": n, "handle": n, "epoch": 1}).as_bits())
            if n >= LAG:
                reads.append(road.completion())
        answers, span, accesses = await road.end()
        for n, ticket in enumerate(reads):
            done = spec.Completion.from_bits(answers[ticket])
            if not done.valid or done.tag != n or done.status != spec.Status.OK:
                raise ValueError(f"{name} {n} must end well and in order, not as {done.tag} with "
                                 f"status {done.status}" if done.valid else
                                 f"{name} {n} must have ended")
        found[name] = {"mops": 1000 * count / span, "accesses": accesses / count,
                       "cycles": span / count / env.config.ns_per_cycle,
                       "access_cycles": span / accesses / env.config.ns_per_cycle}
    for name, opcode in (("insert", spec.Opcode.INSERT), ("update", spec.Opcode.UPDATE),
                         ("delete", spec.Opcode.DELETE), ("insert again", spec.Opcode.INSERT)):
        await measure(name, opcode)
    await table.set_epoch(2)
    await measure("expire", spec.Opcode.EXPIRE)
    first = found["insert"]
    return {"operations": count, "slope_ns": 1000 / first["mops"], "latency_ns": percentiles([]),
            "extra": {"operations_by_kind": found}}
