"""The guest is hostile: the standard's answer to it, silence to its neighbour."""

from offloadcard.config import TINY
from offloadcard.virtio_net_emul import spec
from offloadcard.virtio_net_emul.device import Device
from tests.virtio_net_emul.host import Host, Queue, frame_of

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
    """An indirect table that was never offered."""
    queue.describe(0, 0x800, 100, INDIRECT)
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


ATTACKS = (loop, long_chain, far_index, far_id, far_next, writable, indirect, too_short,
           too_long, nowhere)


def test_each_attack_needs_a_reset_and_harms_nobody():
    """[virtio-1.2: 2.1.2] DEVICE_NEEDS_RESET and its interrupt; a reset heals; others go on."""
    host = Host(Device(TINY), shuffle=True)
    victim = Queue(host, 3, 1, size=8)
    attacks_done = []
    state = {"over": False, "sent": 0}

    async def attacker(ctx):
        for attack in ATTACKS:
            queue = Queue(host, 2, 1, size=8)
            await host.start(ctx, 2, [queue])
            before = len([irq for irq in host.irqs if irq[1:] == (2, 0)])
            good = frame_of(64, 7)
            attack(queue)
            queue.publish()
            await queue.notify(ctx)
            status = 0
            for _ in range(400):
                status = await host.get_register(ctx, 2, "device_status")
                if status & spec.VIRTIO_CONFIG_S_NEEDS_RESET:
                    break
            assert status == 0xF | spec.VIRTIO_CONFIG_S_NEEDS_RESET, attack.__doc__
            await host.until(
                ctx, lambda b=before: len([i for i in host.irqs if i[1:] == (2, 0)]) == b + 1)
            assert queue.used_idx() == 0, attack.__doc__
            assert not [meta for _, meta, _ in host.sent if meta.function_id == 2]

            await host.set_register(ctx, 2, "device_status", 0)
            while await host.get_register(ctx, 2, "device_status"):
                pass
            queue = Queue(host, 2, 1, size=8)
            await host.start(ctx, 2, [queue])
            queue.send(good)
            queue.publish()
            await queue.notify(ctx)
            await host.until(ctx, lambda q=queue: q.used_idx() == 1)
            assert host.sent.pop(next(n for n, item in enumerate(host.sent)
                                      if item[1].function_id == 2))[2] == good
            await host.set_register(ctx, 2, "device_status", 0)
            while await host.get_register(ctx, 2, "device_status"):
                pass
            attacks_done.append(attack.__name__)
        state["over"] = True

    async def neighbour(ctx):
        await host.start(ctx, 3, [victim])
        while not state["over"]:
            victim.send(frame_of(64, state["sent"]))
            victim.publish()
            await victim.notify(ctx)
            await host.until(ctx, lambda: victim.used_idx() == victim.next)
            victim.take()
            state["sent"] += 1
            host._free = max(host._free, 0x1000)

    host.simulate(attacker, neighbour)
    assert len(attacks_done) == len(ATTACKS)
    frames = [octets for _, meta, octets in host.sent if meta.function_id == 3]
    assert frames == [frame_of(64, n) for n in range(state["sent"])]
    assert not [irq for irq in host.irqs if irq[1:] == (3, 0)]
