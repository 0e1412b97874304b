"""The control queue: commands taken, refused, and chains that are none."""

from offloadcard.config import TINY
from offloadcard.virtio_net_emul import spec
from offloadcard.virtio_net_emul import spec_control as ctrl
from offloadcard.virtio_net_emul.device import Device
from tests.virtio_net_emul.host import Host, Queue, frame_of

PAIRS = TINY.virtio_queue_pairs
NEXT, WRITE, INDIRECT = (spec.VIRTQ_DESC_F_NEXT, spec.VIRTQ_DESC_F_WRITE,
                         spec.VIRTQ_DESC_F_INDIRECT)
MAC = bytes([2, 0, 0, 0, 0, 3])  # what function 3 has without being given another

PAIRS_SET = bytes([ctrl.VIRTIO_NET_CTRL_MQ, ctrl.VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET])
TABLE_SET = bytes([ctrl.VIRTIO_NET_CTRL_MAC, ctrl.VIRTIO_NET_CTRL_MAC_TABLE_SET])
ADDR_SET  = bytes([ctrl.VIRTIO_NET_CTRL_MAC, ctrl.VIRTIO_NET_CTRL_MAC_ADDR_SET])


def macs(*addresses):
    """[virtio-1.2: 5.1.6.5.2] a table of addresses."""
    return len(addresses).to_bytes(4, "little") + b"".join(addresses)


GOOD = (
    b"\0\0\1", b"\0\1\0",                                 # promiscuous, all multicast
    TABLE_SET + macs() + macs(), TABLE_SET + macs(MAC) + macs(MAC, MAC, MAC),
    ADDR_SET + MAC,
    b"\2\0\1\0", b"\2\1\xFF\x0F",                         # VLAN 1 added, 4095 deleted
    PAIRS_SET + b"\2\0", PAIRS_SET + b"\1\0",
)
REFUSED = (
    b"\0\2\1", b"\0\5\1", b"\0\0", b"\0\0\1\1",           # CTRL_RX_EXTRA, too short, too long
    TABLE_SET + macs(), TABLE_SET + b"\xFF\xFF\xFF\xFF" + macs(),
    TABLE_SET + (100).to_bytes(4, "little") + macs(MAC), b"\1\2" + MAC,
    ADDR_SET + bytes([2, 0, 0, 0, 0, 4]), ADDR_SET + MAC[:5], ADDR_SET + MAC + b"\0",
    b"\2\0\0\x10", b"\2\2\1\0", b"\2\0\1",
    PAIRS_SET + b"\0\0", PAIRS_SET + (PAIRS + 1).to_bytes(2, "little"), PAIRS_SET + b"\0\x80",
    PAIRS_SET + b"\1", b"\4\1\1\0", b"\3\0", b"\5\0" + bytes(8), b"\xFF\xFF\xFF\xFF",
)


class Control(Queue):
    """A driver's control queue."""

    def __init__(self, host, function_id, *, number=2 * PAIRS, size=8):
        super().__init__(host, function_id, number, size=size)

    async def set_up(self, ctx):
        await super().set_up(ctx)
        await self.host.set_register(ctx, self.function_id, "queue_msix_vector",
                                     min(self.number, 2 * PAIRS))

    def put(self, octets, *, cuts=(2,), indirect=False):
        """A command in readable pieces cut at ``cuts``, and room for the ack behind them."""
        edges = [0, *(cut for cut in cuts if cut < len(octets)), len(octets)]
        pieces = []
        for low, high in zip(edges, edges[1:]):
            at = self.host.allocate(max(high - low, 1), 1)
            self.host.memory[at:at + high - low] = octets[low:high]
            pieces.append((at, high - low, 0))
        self.ack = self.host.allocate(1, 1)
        self.host.memory[self.ack] = 0xAA
        pieces.append((self.ack, 1, WRITE))
        if not indirect:
            return self.link(pieces)
        table = self.host.allocate(16 * len(pieces), 16)
        for number, (addr, length, flags) in enumerate(pieces):
            last = number == len(pieces) - 1
            keep, self.desc = self.desc, table
            self.describe(number, addr, length, flags | (0 if last else NEXT), number + 1)
            self.desc = keep
        return self.link([(table, 16 * len(pieces), INDIRECT)])

    def link(self, pieces):
        """Offer a chain of (address, length, flags)."""
        ids = [self.ids.pop() for _ in pieces]
        for number, (addr, length, flags) in enumerate(pieces):
            last = number == len(pieces) - 1
            self.describe(ids[number], addr, length, flags | (0 if last else NEXT),
                          0 if last else ids[number + 1])
        self.chains[ids[0]] = (ids, [])
        self.offer(ids[0])
        self.publish()
        return ids[0]

    async def command(self, ctx, octets, **how):
        """The ack of a command."""
        before = self.used_idx()
        head = self.put(octets, **how)
        await self.notify(ctx)
        await self.host.until(ctx, lambda: self.used_idx() != before)
        (element, length, _), = self.take()
        assert (element, length) == (head, 1)
        return self.host.memory[self.ack]


def without(*bits):
    return spec.FEATURES & ~sum(1 << bit for bit in bits)


def test_commands_are_taken_or_refused():
    """Three functions, the rings as each negotiated them, cut anywhere; half of all commands go
    to the plain ring, a quarter to each of the others."""
    host = Host(Device(TINY), shuffle=True)
    counts = {}
    rings = {3: 0, 2: 1 << spec.VIRTIO_F_INDIRECT_DESC,
             0: 1 << spec.VIRTIO_F_INDIRECT_DESC | 1 << spec.VIRTIO_F_EVENT_IDX}

    def story(function_id):
        async def run(ctx):
            queue = Control(host, function_id)
            await host.start(ctx, function_id, [queue], features=without(
                spec.VIRTIO_F_INDIRECT_DESC, spec.VIRTIO_F_EVENT_IDX) | rings[function_id])
            own = MAC[:5] + bytes([function_id])
            for number, octets in enumerate((*GOOD, *REFUSED)):
                if function_id != (3, 2, 3, 0)[number % 4]:
                    continue
                counts[function_id] = counts.get(function_id, 0) + 1
                octets = octets.replace(ADDR_SET + MAC, ADDR_SET + own)
                cuts = ((2,), (), (1, 2, 3), (2, 6, 9))[number // 4 % 4]
                ack = await queue.command(ctx, octets, cuts=cuts,
                                          indirect=bool(rings[function_id]) and number % 8 < 4)
                expected = number >= len(GOOD)
                if octets[:2] == ADDR_SET and len(octets) == 8:
                    expected = octets[2:] != own
                assert ack == expected, (function_id, octets.hex())
            for _ in range(60):
                await ctx.tick()
        return run

    host.simulate(*(story(function_id) for function_id in rings))
    # Without EVENT_IDX each is told of; with it, used_event stays 0 and the first only is.
    vectors = [irq[1:] for irq in host.irqs]
    assert sum(counts.values()) == len(GOOD) + len(REFUSED) and counts[0] >= 7 <= counts[2]
    assert [vectors.count((function_id, 2 * PAIRS)) for function_id in (3, 2, 0)] == [
        counts[3], counts[2], 1]
    assert len(vectors) == counts[3] + counts[2] + 1


def test_what_was_not_negotiated_is_refused():
    """Without MQ the control queue is number 2, and its commands are those that were chosen."""
    host = Host(Device(TINY))
    queue = Control(host, 3, number=2)
    chosen = without(spec.VIRTIO_NET_F_MQ, spec.VIRTIO_NET_F_CTRL_VLAN, spec.VIRTIO_NET_F_CTRL_RX,
                     spec.VIRTIO_NET_F_CTRL_MAC_ADDR)

    async def story(ctx):
        await host.start(ctx, 3, [queue], features=chosen)
        for octets in GOOD:
            assert await queue.command(ctx, octets) == ctrl.VIRTIO_NET_ERR, octets.hex()
        # There is no queue behind it, and none at all without CTRL_VQ.
        for number, size in ((2, 8), (3, 0), (2 * PAIRS, 0), (2 * PAIRS + 1, 0)):
            await host.set_register(ctx, 3, "queue_select", number)
            assert await host.get_register(ctx, 3, "queue_size") == size
        await host.start(ctx, 2, [], features=chosen & ~(1 << spec.VIRTIO_NET_F_CTRL_VQ))
        await host.set_register(ctx, 2, "queue_select", 2)
        assert await host.get_register(ctx, 2, "queue_size") == 0

    host.simulate(story)


def attacks(queue):
    """Chains that are none, by name."""
    host = queue.host
    room = host.allocate(64)
    loop = queue.ids[-1]
    return {
        "loop":          lambda: (queue.link([(room, 3, 0)]),
                                  queue.describe(loop, room, 3, NEXT, loop)),
        "next nowhere":  lambda: (queue.link([(room, 3, 0)]),
                                  queue.describe(loop, room, 3, NEXT, 8)),
        "id nowhere":    lambda: (queue.offer(8), queue.publish()),
        "id far":        lambda: (queue.offer(0xFFFF), queue.publish()),
        "index far":     lambda: (setattr(queue, "next", 9), queue.publish()),
        "no ack":        lambda: queue.link([(room, 3, 0)]),
        "ack of nought": lambda: queue.link([(room, 3, 0), (room, 0, WRITE)]),
        "no command":    lambda: queue.link([(room, 1, WRITE)]),
        "one octet":     lambda: queue.link([(room, 1, 0), (room, 1, WRITE)]),
        "read behind":   lambda: queue.link([(room, 2, 0), (room, 1, WRITE), (room, 1, 0)]),
        "nowhere":       lambda: queue.link([(1 << 40, 3, 0), (room, 1, WRITE)]),
        "ack nowhere":   lambda: queue.link([(room, 3, 0), ((1 << 64) - 1, 1, WRITE)]),
        "indirect odd":  lambda: queue.link([(room, 24, INDIRECT)]),
        "indirect none": lambda: queue.link([(room, 0, INDIRECT)]),
        "indirect next": lambda: queue.link([(room, 32, INDIRECT), (room, 1, WRITE)]),
        "nested":        lambda: (host.memory.__setitem__(slice(room, room + 16),
                                  room.to_bytes(8, "little") + b"\x10\0\0\0\4\0\0\0"),
                                  queue.link([(room, 16, INDIRECT)])),
    }


def test_each_attack_needs_a_reset_and_harms_nobody():
    """Two attackers' devices give up; a reset heals them; the neighbour's commands go on."""
    host = Host(Device(TINY), size=1 << 22)
    over, acks = [], []
    names = list(attacks(Control(host, 3)))

    def attacker(function_id, names):
        async def run(ctx):
            await assault(ctx, function_id, names)
        return run

    async def assault(ctx, function_id, names):
        for name in names:
            queue = Control(host, function_id)
            await host.start(ctx, function_id, [queue], features=spec.FEATURES)
            attacks(queue)[name]()
            await queue.notify(ctx)
            for _ in range(100):
                await ctx.tick().repeat(20)
                if await host.get_register(ctx, function_id, "device_status") & 0x40:
                    break
            else:
                raise AssertionError(f"{name} must need a reset")
            assert queue.used_idx() == 0, name
            await host.set_register(ctx, function_id, "device_status", 0)
            while await host.get_register(ctx, function_id, "device_status"):
                await ctx.tick().repeat(20)
        queue = Control(host, function_id)
        await host.start(ctx, function_id, [queue])
        assert await queue.command(ctx, b"\0\0\1") == ctrl.VIRTIO_NET_OK
        over.append(True)

    async def neighbour(ctx):
        queue = Control(host, 2)
        await host.start(ctx, 2, [queue])
        while len(over) < 2:
            acks.append(await queue.command(ctx, b"\0\1\1"))
            await ctx.tick().repeat(50)

    host.simulate(attacker(3, names[::2]), attacker(0, names[1::2]), neighbour)
    assert len(acks) > 5 and not any(acks)
    assert {irq[1] for irq in host.irqs if irq[2] == 0} == {0, 3}


def test_pairs_are_used_when_the_driver_said_so():
    """Flows stay on one queue each; with two pairs both are used, and a reset forgets it."""
    host = Host(Device(TINY), size=1 << 22)
    flows = [bytes(12) + b"\x08\x00\x45" + bytes(1) + (46).to_bytes(2, "big") + bytes(5)
             + b"\x11" + bytes(2) + bytes([10, 0, 0, 1, 10, 0, 0, 2])
             + (4000 + n).to_bytes(2, "big") + b"\0\x35" + frame_of(22, n) for n in range(8)]

    async def life(ctx, pairs):
        control = Control(host, 3)
        queues = [Queue(host, 3, 2 * n, size=8) for n in range(PAIRS)]
        for queue in queues:
            for _ in range(8):
                queue.post([1526])
            queue.publish()
        await host.start(ctx, 3, [*queues, control])
        if pairs:
            assert await control.command(ctx, PAIRS_SET + bytes([pairs, 0])) == 0
        for _ in range(2):
            for flow in flows[:4 if pairs != PAIRS else 8]:
                await host.receive(ctx, 3, flow, queue=1)
            count = (len(flows) if pairs == PAIRS else 4) * (_ + 1)
            await host.until(ctx, lambda n=count: sum(q.used_idx() for q in queues) == n)
            if pairs == PAIRS:
                break
        seen = [[octets[12:length] for _, length, octets in queue.take()] for queue in queues]
        await host.set_register(ctx, 3, "device_status", 0)
        while await host.get_register(ctx, 3, "device_status"):
            pass
        return seen

    async def story(ctx):
        first, other = await life(ctx, None)
        assert len(first) == 8 and not other
        first, other = await life(ctx, PAIRS)
        assert first and other and sorted(first + other) == sorted(flows)
        assert not set(first) & set(other)
        first, other = await life(ctx, None)
        assert len(first) == 8 and not other

    host.simulate(story)
