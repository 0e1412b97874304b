"""The guest is hostile: the standard's answer to it, silence to its neighbour."""

import pytest

from offloadcard.config import TINY
from offloadcard.rtl.octets import pack
from offloadcard.virtio_net_emul import spec
from offloadcard.virtio_net_emul.device import Device
from tests.virtio_net_emul.host import PLAIN, Host, Queue, frame_of

NEXT, WRITE, INDIRECT = (spec.VIRTQ_DESC_F_NEXT, spec.VIRTQ_DESC_F_WRITE,
                         spec.VIRTQ_DESC_F_INDIRECT)


def loop(queue):
    """A chain that bites its own tail."""
    queue.describe(0, 0x800, 20, NEXT, 1)
    queue.describe(1, 0x800, 0, NEXT, 0)
    queue.offer(0)


def long_chain(queue):
    """One descriptor more than the queue has."""
    for id_ in range(8):
        queue.describe(id_, 0x800, 10, NEXT, (id_ + 1) % 8)
    queue.offer(0)


def far_index(queue):
    """More entries than the ring holds."""
    queue.next = 9


def far_id(queue):
    """A ring entry that names no descriptor."""
    queue.offer(8)


def far_next(queue):
    """A descriptor whose next is none."""
    queue.describe(0, 0x800, 20, NEXT, 0x4000)
    queue.offer(0)


def writable(queue):
    """A device-writable descriptor on a transmit queue."""
    queue.describe(0, 0x800, 100, WRITE)
    queue.offer(0)


def indirect(queue):
    """An indirect table that was not negotiated."""
    queue.describe(0, 0x800, 96, INDIRECT)
    queue.offer(0)


def refer(queue, octets, *entries, flags=INDIRECT, next_=0):
    """One descriptor that refers to a table of ``entries``: (address, length, flags, next)."""
    table = queue.host.allocate(16 * 16, 16)
    for number, entry in enumerate(entries):
        at = table + 16 * number
        queue.host.memory[at:at + 16] = pack(
            spec.VirtqDesc, dict(zip(("addr", "len", "flags", "next"), entry)))
    queue.describe(0, table, octets, flags, next_)
    queue.offer(0)


def nested(queue):
    """A table in a table."""
    refer(queue, 32, (0x800, 50, NEXT, 1), (0x800, 32, INDIRECT, 0))


def odd_table(queue):
    """A table of a descriptor and a half."""
    refer(queue, 24, (0x800, 100, 0, 0))


def no_table(queue):
    """A table of no descriptor."""
    refer(queue, 0, (0x800, 100, 0, 0))


def big_table(queue):
    """A table of more descriptors than the queue has."""
    refer(queue, 16 * 9, (0x800, 100, 0, 0))


def table_loop(queue):
    """A table that bites its own tail."""
    refer(queue, 32, (0x800, 20, NEXT, 1), (0x800, 0, NEXT, 0))


def table_far(queue):
    """A table whose next is none of its entries, though the ring has it."""
    refer(queue, 32, (0x800, 20, NEXT, 2), (0x800, 80, 0, 0))


def table_writable(queue):
    """A device-writable entry in a table of a transmit queue."""
    refer(queue, 16, (0x800, 100, WRITE, 0))


def table_and_next(queue):
    """A reference to a table that has a successor as well."""
    queue.describe(1, 0x800, 80)
    refer(queue, 16, (0x800, 100, 0, 0), flags=INDIRECT | NEXT, next_=1)


def table_nowhere(queue):
    """A table outside memory."""
    queue.describe(0, 1 << 60, 32, INDIRECT)
    queue.offer(0)


def too_short(queue):
    """No frame at all behind the header."""
    queue.describe(0, 0x800, 12)
    queue.offer(0)


def too_long(queue):
    """More octets than any frame has."""
    queue.describe(0, 0x800, 0xFFFF_FFFF)
    queue.offer(0)


def nowhere(queue):
    """An address outside memory."""
    queue.describe(0, 1 << 60, 100)
    queue.offer(0)


ATTACKS = (loop, long_chain, far_index, far_id, far_next, writable, too_short, too_long, nowhere)
TABLES  = (nested, odd_table, no_table, big_table, table_loop, table_far, table_writable,
           table_and_next, table_nowhere)
WITHOUT = PLAIN & ~(1 << spec.VIRTIO_F_INDIRECT_DESC)


@pytest.mark.parametrize(("attacks", "features"), (
    (ATTACKS, PLAIN), (TABLES, PLAIN | 1 << spec.VIRTIO_F_INDIRECT_DESC),
    ((indirect,), WITHOUT)), ids=("rings", "tables", "not-negotiated"))
def test_each_attack_needs_a_reset_and_harms_nobody(attacks, features):
    """[virtio-1.2: 2.1.2] DEVICE_NEEDS_RESET, its interrupt; a reset heals two; a third goes on."""
    host = Host(Device(TINY), shuffle=True)
    victim = Queue(host, 3, 1, size=8)
    attacks_done = []
    state = {"over": 0, "sent": 0}

    def attacker(function_id, attacks):
        async def run(ctx):
            await assault(ctx, function_id, attacks)
        return run

    async def assault(ctx, own, attacks):
        for attack in attacks:
            queue = Queue(host, own, 1, size=8)
            await host.start(ctx, own, [queue], features=features)
            before = len([irq for irq in host.irqs if irq[1:] == (own, 0)])
            good = frame_of(64, 7)
            attack(queue)
            queue.publish()
            await queue.notify(ctx)
            status = 0
            for _ in range(400):
                status = await host.get_register(ctx, own, "device_status")
                if status & spec.VIRTIO_CONFIG_S_NEEDS_RESET:
                    break
            assert status == 0xF | spec.VIRTIO_CONFIG_S_NEEDS_RESET, attack.__doc__
            await host.until(
                ctx, lambda b=before: len([i for i in host.irqs if i[1:] == (own, 0)]) == b + 1)
            assert queue.used_idx() == 0, attack.__doc__
            assert not [meta for _, meta, _ in host.sent if meta.function_id == own]

            await host.set_register(ctx, own, "device_status", 0)
            while await host.get_register(ctx, own, "device_status"):
                pass
            queue = Queue(host, own, 1, size=8)
            await host.start(ctx, own, [queue])
            queue.send(good)
            queue.publish()
            await queue.notify(ctx)
            await host.until(ctx, lambda q=queue: q.used_idx() == 1)
            assert host.sent.pop(next(n for n, item in enumerate(host.sent)
                                      if item[1].function_id == own))[2] == good
            await host.set_register(ctx, own, "device_status", 0)
            while await host.get_register(ctx, own, "device_status"):
                pass
            attacks_done.append(attack.__name__)
        state["over"] += 1

    async def neighbour(ctx):
        await host.start(ctx, 3, [victim])
        while state["over"] < 2:
            victim.send(frame_of(64, state["sent"]))
            victim.publish()
            await victim.notify(ctx)
            await host.until(ctx, lambda: victim.used_idx() == victim.next)
            victim.take()
            state["sent"] += 1
            host._free = max(host._free, 0x1000)

    host.simulate(attacker(2, attacks[::2]), attacker(0, attacks[1::2]), neighbour)
    assert len(attacks_done) == len(attacks)
    frames = [octets for _, meta, octets in host.sent if meta.function_id == 3]
    assert frames == [frame_of(64, n) for n in range(state["sent"])]
    assert not [irq for irq in host.irqs if irq[1:] == (3, 0)]
