"""Flows that end: idle, closed, over their function's quota."""

from ipaddress import IPv4Address as A4

from scapy.all import TCP, UDP

from offloadcard.gft import spec
from offloadcard.rtl.octets import unpack
from sim.models.flow import Outer, Rewrite, transpose
from tests.control.support import FABRIC
from tests.control.test_slowpath import frame, story
from tests.support.model_card import pack_exception


def test_idle_flows_are_expired():
    """A flow that rests for two epochs goes, one that is met stays, and so it is told apart."""
    async def told(card, controller):
        path = controller.slowpath
        for sport in (1, 2, 3):
            card.switch.from_guest(2, frame(2, 3, UDP(sport=sport, dport=9)))
        await card.settle(path)
        assert len(path.book) == 3
        for _ in range(4):
            await card.sleep(100_000)
            await path.aging.step(card.now_ns())
            card.switch.from_guest(2, frame(2, 3, UDP(sport=2, dport=9)))
        record, = path.book.by_handle.values()
        assert record.flow.source_port == 2 and path.aging.expired == 2
        assert len(card.switch.by_key) == 1
        # Rows are given again, and the flow that went comes back by the slow path.
        card.switch.from_guest(2, frame(2, 3, UDP(sport=1, dport=9)))
        await card.settle(path)
        assert len(path.book) == 2 and path.book.count(2) == 2
        assert await path.aging.sweep(epoch=path.aging.epoch + 1) == 2 and not path.book
    story(told, epoch_ns=100_000)


def test_ended_connections_go():
    """RST at once, FIN after a while; a row that was given to another flow meanwhile stays."""
    async def told(card, controller):
        path = controller.slowpath

        async def tell(flags):
            record, = path.book.by_handle.values()
            for _ in range(2):  # told twice, closed once
                card.switch.events.append({"kind": spec.EventKind.TCP_FLAGS,
                                           "handle": record.handle, "tcp_flags": flags})
            await path.serve_events()
            await path.aging.step(card.now_ns())
            return record

        for flags in (spec.TcpFlag.RST, spec.TcpFlag.FIN):
            card.switch.from_guest(2, frame(2, 3))
            await card.settle(path)
            await tell(flags)
            assert len(path.book) == (0 if flags == spec.TcpFlag.RST else 1)
        old, = path.book.by_handle.values()
        await path.rows.remove(old)
        card.switch.from_guest(2, frame(2, 3, TCP(sport=4001, dport=80)))
        await card.settle(path)
        new, = path.book.by_handle.values()
        assert new.handle == old.handle
        await card.sleep(2_000_000)
        await path.aging.step(card.now_ns())
        assert len(path.book) == 1 and path.aging.closed == 1
        await tell(spec.TcpFlag.FIN)
        await card.sleep(2_000_000)
        await path.aging.step(card.now_ns())
        assert not path.book and path.aging.closed == 2
    story(told)


def test_a_flow_stays_while_its_packets_wait():
    """The last segment waits at the slow path behind others of its slot, longer than ended flows
    linger: it finds its flow, which goes after it."""
    async def told(card, controller):
        path = controller.slowpath
        card.switch.from_guest(2, frame(2, 3))
        await card.settle(path)
        record, = path.book.by_handle.values()
        path.aging.close(record, spec.TcpFlag.FIN)
        card.switch.exceptions.append(pack_exception(
            frame=frame(2, 3), reason=spec.Reason.ORDER, counted=1, order_slot=1, function_id=2,
            key=unpack(spec.Key, record.key)))
        path._admit(card.switch.exceptions.pop(), card.now_ns())
        await card.sleep(150_000)
        await path.aging.step(card.now_ns())
        assert len(path.book) == 1 and path.aging.closed == 0
        await card.settle(path)
        assert path.counters.decided == 1, "its last packet was decided anew"
        await card.sleep(300_000)
        await path.aging.step(card.now_ns())
        assert not path.book and path.aging.closed == 1
    story(told, linger_ns=100_000)


def test_flows_of_a_function_are_limited():
    """Over its own quota a function gives up its eldest flow, which is counted; a smaller quota
    takes its eldest at once."""
    async def told(card, controller):
        path = controller.slowpath
        await path.set_quota(2, 4)
        for sport in range(6):
            card.switch.from_guest(2, frame(2, 3, UDP(sport=sport, dport=9)))
            await card.settle(path)
        assert path.book.count(2) == 4 and path.book.exceeded == {2: 2}
        assert (await controller.allowances(2))["conntrack_allowance_exceeded"] == 2
        await path.set_quota(2, 1)
        record, = path.book.by_handle.values()
        assert record.flow.source_port == 5
        assert (await controller.allowances(2))["conntrack_allowance_available"] == 0
        await path.set_quota(2, 0)
        assert (await controller.allowances(2))["conntrack_allowance_available"] == 15
    story(told)


def test_both_directions_come_and_go_together():
    """A connection comes to the slow path once, and is paid for by who opened it; RST ends both."""
    async def told(card, controller):
        path = controller.slowpath
        card.switch.from_guest(2, frame(2, 3))
        await card.settle(path)
        reply = frame(3, 2, TCP(sport=80, dport=4000, flags="SA"))
        card.switch.from_guest(3, reply)
        assert [function for function, _ in card.switch.to_guests] == [3, 2]
        assert path.counters.served == 1 and path.counters.inserted == 2
        assert path.book.count(2) == 2 and path.book.count(3) == 0
        # Out by a tunnel: what comes back in one is known, too.
        card.switch.from_guest(2, frame(2, 9))
        await card.settle(path)
        back = Outer(vni=100, source_mac=FABRIC.next_hop_mac, destination_mac=FABRIC.mac,
                     source=A4("192.0.2.2").packed, destination=FABRIC.address.packed)
        answer = frame(9, 2, TCP(sport=80, dport=4000, flags="SA"))
        card.switch.from_wire(transpose(answer, Rewrite(push=back)))
        assert card.switch.to_guests[-1] == (2, answer) and path.counters.served == 2
        # A policy that moves reaches both by their own generations.
        await path.bump(3, hard=True)
        card.switch.from_guest(3, reply)
        await card.settle(path)
        assert path.counters.served == 3
        record = next(r for r in path.book.by_handle.values() if r.flow.function_id == 3)
        card.switch.events.append({"kind": spec.EventKind.TCP_FLAGS, "handle": record.handle,
                                   "tcp_flags": spec.TcpFlag.RST})
        await path.serve_events()
        await path.aging.step(card.now_ns())
        assert path.aging.closed == 2 and path.book.count(2) == 2
        # What is denied has no other direction, and who floods pays for both.
        await path.set_quota(2, 3)
        for sport in range(5):
            card.switch.from_guest(2, frame(2, 3, TCP(sport=sport, dport=80)))
            card.switch.from_guest(2, frame(2, 3, UDP(sport=sport, dport=9)))
        await card.settle(path)
        assert path.book.count(2) == 3 and path.book.count(3) == 0
        # With one row only, it is the first packet's: it must not come back for ever.
        await path.set_quota(2, 1)
        card.switch.from_guest(2, frame(2, 3, TCP(sport=99, dport=80)))
        await card.settle(path)
        record, = path.book.by_handle.values()
        assert record.flow.source_port == 99
    story(told, pairs=True)
