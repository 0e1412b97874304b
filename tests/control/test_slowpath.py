"""The slow path over a card without time: stories of packets, first and later ones."""

import asyncio
from ipaddress import IPv4Address as A4

import pytest
from scapy.all import ARP, IP, TCP, UDP, Ether, ICMPv6ND_NA, ICMPv6ND_NS, IPv6, Raw
from scapy.layers.inet6 import ICMPv6NDOptDstLLAddr

from offloadcard.control.controller import NetworkFunction
from offloadcard.control.flow_book import FlowBook
from offloadcard.control.network import AclRule, Nat
from offloadcard.control.policy import Match
from offloadcard.control.ports import ManagementError
from offloadcard.control.scheduler import Scheduler
from offloadcard.gft import spec
from sim.models.flow import Outer, Rewrite, transpose
from sim.models.packet import Ipv4, dissect
from tests.control.support import FABRIC, GATEWAY_MAC, attach, mac, network, port
from tests.support.model_card import ModelCard, descriptor_of, pack_exception


def frame(source, destination, payload=None, *, dst=None, ttl=64):
    """A frame of member ``source`` of the network to ``destination`` (a number, or an address)."""
    address = destination if isinstance(destination, str) else f"10.1.0.{destination}"
    to = dst or (mac(destination) if isinstance(destination, int) else GATEWAY_MAC)
    return bytes(Ether(src=mac(source).hex(":"), dst=to.hex(":"))
                 / IP(src=f"10.1.0.{source}", dst=address, ttl=ttl)
                 / (payload or TCP(sport=4000, dport=80, flags="S")))


def story(told, *, rows=64, ports=(2, 3), options=None, **slowpath):
    """Run ``told(card, controller)`` with members ``ports`` on the card."""
    async def run():
        card = ModelCard(rows=rows)
        controller = await attach(card, **slowpath)
        net = network()
        await controller.provision(
            *(NetworkFunction(port(number, net, **(options or {}).get(number, {})))
              for number in ports), networks=[net])
        await told(card, controller)
    asyncio.run(run())


def test_first_packet_then_the_table():
    """The first packet is decided once; the flow's later packets never leave the table."""
    async def told(card, controller):
        sent = frame(2, 3)
        card.switch.from_guest(2, sent)
        assert card.switch.to_guests == []
        await card.settle(controller.slowpath)
        # Same prefix: the frame arrives as it was, MACs included.
        assert card.switch.to_guests == [(3, sent)]
        card.switch.from_guest(2, sent)
        assert card.switch.to_guests == [(3, sent)] * 2
        counters = controller.slowpath.counters
        assert (counters.served, counters.inserted, counters.dropped) == (1, 1, {})
        record, = controller.slowpath.book.by_handle.values()
        assert record.decision.owners == (2, 3)
    story(told)


def test_only_what_differs_is_written():
    """Another port of the same pair costs a word of the key, the command and its completion; the
    card holds the whole key and entry all the same, also after a write that failed."""
    async def told(card, controller):
        def sent(sport):
            return frame(2, 3, UDP(sport=sport, dport=9))

        async def writes_of(sport):
            before = len(card.writes)
            card.switch.from_guest(2, sent(sport))
            await card.settle(controller.slowpath)
            return [name for name, _ in card.writes[before:]]

        assert len(await writes_of(1)) > 10
        assert await writes_of(2) == ["KEY4", "COMMAND", "COMPLETION_POP"]
        keys = list(card.switch.by_key)
        assert len(keys) == 2 and keys[0][:32] == keys[1][:32]
        table, entry = controller.table, {"destination": spec.DestinationKind.WIRE}
        card.broken.add("KEY4")
        with pytest.raises(ManagementError):
            await table.insert(bytes(32) + b"\1" * 16, entry, handle=40)
        card.broken.clear()
        status, _ = await table.insert(bytes(32) + b"\1" * 16, entry, handle=40)
        assert status == spec.Status.OK and bytes(32) + b"\1" * 16 in card.switch.by_key
    story(told)


def test_replies_pass_and_strangers_do_not():
    """The server may answer; it may not open a connection to a port that the client keeps shut."""
    async def told(card, controller):
        card.switch.from_guest(2, frame(2, 3))
        card.switch.from_guest(3, frame(3, 2, TCP(sport=80, dport=4000, flags="SA")))
        card.switch.from_guest(3, frame(3, 2, TCP(sport=80, dport=4001, flags="S")))
        await card.settle(controller.slowpath)
        assert [function for function, _ in card.switch.to_guests] == [3, 2]
        assert card.switch.reasons["FLOW_DROP"] == 1, "what is denied is denied by the table"
    story(told)


def test_out_by_a_tunnel_and_in_again():
    async def told(card, controller):
        sent = frame(2, 9)
        card.switch.from_guest(2, sent)
        await card.settle(controller.slowpath)
        outer = Outer(vni=100, source_mac=FABRIC.mac, destination_mac=FABRIC.next_hop_mac,
                      source=FABRIC.address.packed, destination=A4("192.0.2.2").packed)
        assert card.switch.to_wire == [transpose(sent, Rewrite(push=outer))]
        # The reply comes in a tunnel of the peer's.
        reply = frame(9, 2, TCP(sport=80, dport=4000, flags="SA"))
        back = Outer(vni=100, source_mac=FABRIC.next_hop_mac, destination_mac=FABRIC.mac,
                     source=A4("192.0.2.2").packed, destination=FABRIC.address.packed)
        card.switch.from_wire(transpose(reply, Rewrite(push=back)))
        await card.settle(controller.slowpath)
        assert card.switch.to_guests == [(2, reply)]
    story(told)


def test_another_vni_and_no_tunnel_reach_nobody():
    async def told(card, controller):
        inner = frame(9, 2, TCP(sport=1, dport=80))
        back = Outer(vni=101, source_mac=bytes(6), destination_mac=FABRIC.mac,
                     source=A4("192.0.2.2").packed, destination=FABRIC.address.packed)
        card.switch.from_wire(transpose(inner, Rewrite(push=back)))
        card.switch.from_wire(inner)
        await card.settle(controller.slowpath)
        assert card.switch.to_guests == [] and len(controller.slowpath.book) == 0
        assert controller.slowpath.counters.dropped == {"NO_RECEIVER": 2}
    story(told)


def test_a_spoofed_source_is_dropped():
    async def told(card, controller):
        card.switch.from_guest(2, frame(7, 3))
        await card.settle(controller.slowpath)
        assert card.switch.to_guests == [] and card.switch.reasons["FLOW_DROP"] == 1
    story(told)


def test_public_address_both_ways():
    """Out with the public address and a hop less; the reply finds its way home."""
    async def told(card, controller):
        sent = frame(2, "203.0.113.5", UDP(sport=1234, dport=53) / Raw(b"question"))
        card.switch.from_guest(2, sent)
        await card.settle(controller.slowpath)
        out = Ether(card.switch.to_wire[0])
        assert (out[IP].src, out[IP].ttl, out[UDP].sport) == ("198.51.100.7", 63, 1234)
        assert out.src == FABRIC.mac.hex(":") and out.dst == FABRIC.next_hop_mac.hex(":")
        reply = bytes(Ether(src=out.dst, dst=out.src) / IP(src="203.0.113.5", dst="198.51.100.7")
                      / UDP(sport=53, dport=1234) / Raw(b"answer"))
        card.switch.from_wire(reply)
        await card.settle(controller.slowpath)
        (function, home), = card.switch.to_guests
        assert function == 2 and Ether(home)[IP].dst == "10.1.0.2"
        assert Ether(home).dst == mac(2).hex(":")
        assert dissect(home).find(Ipv4).ttl == 63
        # Inside the network the private address stays.
        card.switch.from_guest(2, frame(2, 3))
        await card.settle(controller.slowpath)
        assert Ether(card.switch.to_guests[-1][1])[IP].src == "10.1.0.2"
    story(told, options={2: {"nats": (Nat(A4("198.51.100.7"), A4("10.1.0.2")),)}})


def test_a_published_port():
    nat = Nat(A4("198.51.100.7"), A4("10.1.0.2"), 6, 443, 80)

    async def told(card, controller):
        request = bytes(Ether(src=FABRIC.next_hop_mac.hex(":"), dst=FABRIC.mac.hex(":"))
                        / IP(src="203.0.113.5", dst="198.51.100.7") / TCP(sport=5, dport=443))
        other = bytes(Ether() / IP(src="203.0.113.5", dst="198.51.100.7") / TCP(dport=22))
        card.switch.from_wire(request)
        card.switch.from_wire(other)
        await card.settle(controller.slowpath)
        (function, home), = card.switch.to_guests
        assert (Ether(home)[IP].dst, Ether(home)[TCP].dport) == ("10.1.0.2", 80)
        card.switch.from_guest(2, frame(2, "203.0.113.5", TCP(sport=80, dport=5, flags="SA")))
        await card.settle(controller.slowpath)
        out = Ether(card.switch.to_wire[0])
        assert (out[IP].src, out[TCP].sport) == ("198.51.100.7", 443)
    story(told, options={2: {"nats": (nat,)}})


def test_neighbours_are_answered_by_the_card():
    """ARP and neighbour discovery, for members here and elsewhere; scapy reads the answers."""
    async def told(card, controller):
        def ask(target, source="10.1.0.2"):
            card.switch.from_guest(2, bytes(Ether(src=mac(2).hex(":"), dst="ff:ff:ff:ff:ff:ff")
                                            / ARP(hwsrc=mac(2).hex(":"), psrc=source,
                                                  pdst=target)))
        for target in ("10.1.0.3", "10.1.0.9", "10.1.0.1", "10.1.0.77", "10.1.0.2"):
            ask(target)
        ask("10.1.0.3", source="10.1.0.4")
        solicitation = bytes(
            Ether(src=mac(2).hex(":"), dst="33:33:ff:00:00:03")
            / IPv6(src="fd00:1::2", dst="ff02::1:ff00:3", hlim=255)
            / ICMPv6ND_NS(tgt="fd00:1::3"))
        card.switch.from_guest(2, solicitation)
        await card.settle(controller.slowpath)
        replies = [Ether(octets) for function, octets in card.switch.to_guests if function == 2]
        arp = {r[ARP].psrc: r[ARP].hwsrc for r in replies if r.haslayer(ARP)}
        assert arp == {"10.1.0.3": mac(3).hex(":"), "10.1.0.9": mac(9).hex(":"),
                       "10.1.0.1": GATEWAY_MAC.hex(":")}
        assert all(r[ARP].op == 2 and r[ARP].pdst == "10.1.0.2" and r.dst == mac(2).hex(":")
                   for r in replies if r.haslayer(ARP))
        advertisement = next(r for r in replies if r.haslayer(ICMPv6ND_NA))
        assert advertisement[ICMPv6ND_NA].tgt == "fd00:1::3" and advertisement[IPv6].hlim == 255
        assert advertisement[ICMPv6NDOptDstLLAddr].lladdr == mac(3).hex(":")
        sent = advertisement[ICMPv6ND_NA].cksum
        del advertisement[ICMPv6ND_NA].cksum
        assert Ether(bytes(advertisement))[ICMPv6ND_NA].cksum == sent
        assert controller.slowpath.counters.answered == 4
    story(told)


def test_every_counted_exception_comes_back_once_and_in_order():
    """Whatever the reason, one injection for each, with its slot; none for what was not counted."""
    async def told(card, controller):
        for reason in spec.Reason:
            for counted in (0, 1):
                card.switch.exceptions.append(pack_exception(
                    frame=bytes(60), reason=reason, counted=counted, order_slot=int(reason),
                    function_id=2, key={"source": 2}))
        await card.settle(controller.slowpath)
        back = [descriptor_of(octets)[0] for _, octets in card.injected]
        assert [head.order_slot for head in back] == [int(reason) for reason in spec.Reason]
        assert all(head.counted and head.verdict == spec.Verdict.DROP for head in back)
    story(told, cores=1)


def test_cores_and_service_time():
    """Ten packets of ten slots on two cores: five services one after the other."""
    async def told(card, controller):
        start = card.now_ns()
        for slot in range(10):
            card.switch.exceptions.append(pack_exception(
                frame=bytes(60), reason=spec.Reason.FRAGMENT, counted=1, order_slot=slot))
        await card.settle(controller.slowpath)
        times = [(time - start) // 1000 for time, _ in card.injected]
        assert [time // 20 for time in times] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    story(told, cores=2, service_ns=20_000)


def test_a_slot_is_served_one_by_one():
    """Five packets of one slot take five services, however many cores there are."""
    async def told(card, controller):
        start = card.now_ns()
        for number in range(5):
            card.switch.exceptions.append(pack_exception(
                frame=bytes([number]) * 60, reason=spec.Reason.FRAGMENT, counted=1, order_slot=3,
                function_id=2 + number % 2))
        await card.settle(controller.slowpath)
        assert [descriptor_of(o)[1][0] for _, o in card.injected] == [0, 1, 2, 3, 4]
        times = [(time - start) // 20_000 for time, _ in card.injected]
        assert times == [1, 2, 3, 4, 5]
    story(told, cores=4, service_ns=20_000)


def test_a_packet_behind_its_own_flow_is_only_looked_up():
    """The first of a flow takes a service, those that waited behind it a look-up each."""
    scheduler = Scheduler(cores=1, service_ns=20_000, known_ns=1_000)
    for number, flow in enumerate(("a", "a", "a", "b")):
        scheduler.admit(number, slot=3, function=2, now=0, flow=flow)
    done = []
    while (now := scheduler.next_done()) is not None:
        done.append((scheduler.take(now), now))
    assert done == [(0, 20_000), (1, 21_000), (2, 22_000), (3, 42_000)]


def test_a_packet_of_a_known_flow_is_only_looked_up():
    """It shares an order slot with a flow that is not known; what is known is asked when a core
    begins with it."""
    known = set()
    scheduler = Scheduler(cores=1, service_ns=20_000, known_ns=1_000,
                          is_known=known.__contains__)
    for number, flow in enumerate(("new", "old", "other", "old")):
        scheduler.admit(number, slot=3, function=2, now=0, flow=flow)
    known.add("old")
    done = []
    while (now := scheduler.next_done()) is not None:
        done.append((scheduler.take(now), now))
    assert done == [(0, 20_000), (1, 21_000), (2, 41_000), (3, 42_000)]


def test_who_floods_the_slow_path_waits_behind_himself():
    """Two hundred exceptions of one function wait; another's only one is served next."""
    async def told(card, controller):
        for slot in range(200):
            card.switch.exceptions.append(pack_exception(
                frame=bytes(60), reason=spec.Reason.FRAGMENT, counted=1, order_slot=slot,
                function_id=5))
        card.switch.exceptions.append(pack_exception(
            frame=bytes(60), reason=spec.Reason.FRAGMENT, counted=1, order_slot=999,
            function_id=2))
        await card.settle(controller.slowpath)
        served = [descriptor_of(octets)[0].function_id for _, octets in card.injected]
        assert len(served) == 201 and served.index(2) <= 5
    story(told, cores=4, service_ns=1_000_000)


def test_a_full_table_has_a_row_for_everybody():
    """One function has filled every row; another's first flow takes the richest one's eldest."""
    async def told(card, controller):
        for sport in range(1, 41):
            card.switch.from_guest(2, frame(2, 3, UDP(sport=sport, dport=9)))
        await card.settle(controller.slowpath)
        assert len(controller.slowpath.book.of_owner(2)) == 32
        card.switch.from_guest(3, frame(3, 2))
        await card.settle(controller.slowpath)
        book = controller.slowpath.book
        assert len(book.of_owner(3)) == 1 and len(book.of_owner(2)) == 31
        assert controller.slowpath.counters.dropped == {}
    story(told, rows=32, quota=32)


def test_a_storm_of_flows_costs_its_own_sender_only():
    """Over its quota a function gives up its own eldest flow; the other's flow stays."""
    async def told(card, controller):
        card.switch.from_guest(3, frame(3, 2))
        for sport in range(1, 31):
            card.switch.from_guest(2, frame(2, 3, UDP(sport=sport, dport=9)))
        await card.settle(controller.slowpath)
        book = controller.slowpath.book
        assert len(book.of_owner(2)) == 8 and len(book.of_owner(3)) == 1
        assert controller.slowpath.counters.evicted == 22
        assert sum(row is not None for row in card.switch.rows) == 9
    story(told, rows=32, quota=8)


def test_a_soft_change_reconciles_without_a_lost_packet():
    """Flows go on by the old action until they are decided again, then by the new one."""
    async def told(card, controller):
        for _ in range(2):
            card.switch.from_guest(2, frame(2, 3))
            await card.settle(controller.slowpath)
        assert len(card.switch.to_guests) == 2
        shut = (AclRule("nothing", 100, Match(protocol=6), False),)
        controller.slowpath.connections.forget(3)
        await controller.set_acl(3, shut)
        card.switch.from_guest(2, frame(2, 3))
        assert len(card.switch.to_guests) == 3, "soft: the old action still forwards"
        await controller.slowpath.serve_events()
        card.switch.from_guest(2, frame(2, 3))
        assert len(card.switch.to_guests) == 3, "decided again: denied now"
        assert controller.slowpath.counters.updated == 1
        assert not card.switch.events, "one decision makes the flow fresh"
    story(told)


def test_a_hard_change_denies_at_once():
    async def told(card, controller):
        card.switch.from_guest(2, frame(2, 3))
        await card.settle(controller.slowpath)
        await controller.set_acl(3, (AclRule("nothing", 1, Match(), False),), hard=True)
        card.switch.from_guest(2, frame(2, 3))
        assert len(card.switch.to_guests) == 1, "not one packet more"
        await card.settle(controller.slowpath)
        assert len(card.switch.to_guests) == 1
        # And allowed again, the same flow goes on.
        await controller.set_acl(3, (AclRule("all", 1, Match(), True),), hard=True)
        card.switch.from_guest(2, frame(2, 3))
        await card.settle(controller.slowpath)
        assert len(card.switch.to_guests) == 2
    story(told)


def test_generations_never_look_fresh_again_by_wrapping():
    async def told(card, controller):
        card.switch.from_guest(2, frame(2, 3))
        await card.settle(controller.slowpath)
        current = 0xFFF0
        controller.slowpath.generations[2] = (current, current)
        record, = controller.slowpath.book.by_handle.values()
        record.generation = current
        for _ in range(0x4000):
            await controller.slowpath.bump(2, hard=False)
        assert len(controller.slowpath.book) == 0, "the flow was taken out, not left to come true"
        new, hard = card.switch.generations[2, 0]
        assert (new - hard) & 0xFFFF == 0x3FFF
    story(told)


def test_bad_parameters():
    with pytest.raises(ValueError, match="`cores` must be at least 1, not 0"):
        Scheduler(cores=0, service_ns=1)
    with pytest.raises(ValueError, match="`idle_epochs` must be at least 1, not 0"):
        story(None, idle_epochs=0)
    with pytest.raises(ValueError, match="`quota` must be 1 to 8, not 9"):
        FlowBook(rows=8, quota=9)
