"""Commands of many packets under way at once: nothing is lost, and nobody hears of it too early."""

from scapy.all import TCP

from offloadcard.gft import spec
from offloadcard.rtl.octets import pack
from tests.control.test_slowpath import frame, story
from tests.support.model_card import RING, descriptor_of

ENGINE_NS = 2_000


def flows_of(card, count, *, first=1):
    """As many first packets, of one function."""
    frames = [frame(2, 3, TCP(sport=first + n, dport=80)) for n in range(count)]
    for octets in frames:
        card.switch.from_guest(2, octets)
    return frames


def test_commands_are_under_way_together():
    """Forty inserts at the engine's pace, its ring full; each packet finds its flow, in order."""
    async def told(card, controller):
        path = controller.slowpath
        card.engine_ns = ENGINE_NS
        frames, began = flows_of(card, 40), card.now_ns()
        await card.settle(path)
        assert card.most == RING, "the engine was left without work"
        assert card.injected[-1][0] - began < 1.2 * 40 * ENGINE_NS
        assert path.counters.served == 40, "a packet went back before its flow was there"
        assert [octets for _, octets in card.switch.to_guests] == frames
        assert not path.waiting and not len(controller.table.ring)
    story(told, quota=48, service_ns=0, known_ns=0, cores=1)


def test_an_awaited_command_keeps_its_order():
    """What is awaited takes its turn behind what was posted; a refusal is told to who asked."""
    async def told(card, controller):
        table, entry = controller.table, {"destination": spec.DestinationKind.WIRE}
        card.engine_ns = ENGINE_NS
        keys = [pack(spec.Key, {"source_port": n, "protocol": 17}) for n in range(3)]
        first = table.post_insert(keys[0], entry, handle=5)
        busy = table.post_insert(keys[1], entry, handle=5)
        gone = table.post_delete(handle=5)
        assert await table.insert(keys[2], entry, handle=5) == (spec.Status.OK, 5)
        assert first.result() == (spec.Status.OK, 5) and gone.result()[0] == spec.Status.OK
        assert busy.result()[0] == spec.Status.BUSY_ROW
        assert card.switch.by_key == {keys[2]: 5}
        assert await table.update(entry, handle=6) == spec.Status.NOT_FOUND
    story(told)


def refuse(card, *wanted):
    """Let INSERT of flows with these source ports fail, so many times each."""
    insert, left = card.switch.insert, dict(wanted)

    def refused(handle, key, entry):
        port = int.from_bytes(key[32:34], "little")
        if left.get(port):
            left[port] -= 1
            return spec.Status.FULL, 0
        return insert(handle, key, entry)
    card.switch.insert = refused


def rows_agree(path, card):
    """Book and card know the same rows, and no row is lost."""
    book = path.book
    assert {record.key: handle for handle, record in book.by_handle.items()} == card.switch.by_key
    free = sorted(book._free)
    assert free == [n for n, row in enumerate(card.switch.rows) if row is None]


def test_a_full_table_loses_nothing():
    """No place for a hash: the payer's eldest flow goes, and it is tried again; if that does not
    help, the packet is dropped and goes back. Others under way are not touched."""
    async def told(card, controller):
        path = controller.slowpath
        card.engine_ns = ENGINE_NS
        flows_of(card, 4)
        await card.settle(path)
        refuse(card, (70, 1), (71, 2))
        for sport in (60, 70, 61, 71, 62):
            card.switch.from_guest(2, frame(2, 3, TCP(sport=sport, dport=80)))
        await card.settle(path)
        assert path.counters.dropped == {"NO_ROW": 1} and path.counters.evicted == 2
        ports = sorted(record.flow.source_port for record in path.book.by_handle.values())
        assert ports == [3, 4, 60, 61, 62, 70]
        assert len(card.switch.to_guests) == 4 + 4
        verdicts = [descriptor_of(octets)[0].verdict for _, octets in card.injected[4:]]
        assert verdicts.count(spec.Verdict.DROP) == 1 and verdicts[3] == spec.Verdict.DROP
        rows_agree(path, card)
    story(told, service_ns=0, known_ns=0)


def test_a_pair_without_its_first_flow_goes():
    """The replies' row is given back if the flow that opened gets none; without theirs it stays."""
    async def told(card, controller):
        path = controller.slowpath
        card.engine_ns = ENGINE_NS
        refuse(card, (4000, 1))
        card.switch.from_guest(2, frame(2, 3))
        await card.settle(path)
        assert path.counters.dropped == {"NO_ROW": 1} and not path.book.by_handle
        rows_agree(path, card)
        refuse(card, (80, 2))
        card.switch.from_guest(2, frame(2, 3))
        await card.settle(path)
        record, = path.book.by_handle.values()
        assert record.flow.destination_port == 80 and record.pair is None
        rows_agree(path, card)
    story(told, service_ns=0, known_ns=0, pairs=True)


def test_a_flow_stays_until_its_packet_has_gone_back():
    """One row for a function: each first packet finds its flow before the next one takes the row;
    what was decided before a hard change bears the generation before it."""
    async def told(card, controller):
        path = controller.slowpath
        card.engine_ns = ENGINE_NS
        await path.set_quota(2, 1)
        frames = flows_of(card, 6)
        await card.settle(path)
        assert path.counters.served == 6 and len(path.book) == 1
        assert [octets for _, octets in card.switch.to_guests] == frames
        rows_agree(path, card)
        drain, bumps = path.rows._drain, []

        async def change():
            await drain()
            if not bumps:
                bumps.append(await path.bump(2, hard=True))
        path.rows._drain = change
        flows_of(card, 2, first=100)
        await card.settle(path)
        assert len(bumps) == 1
        assert path.counters.updated, "a decision of the old policy must be denied, not fresh"
    story(told, service_ns=0, known_ns=0)


def test_what_expires_is_not_what_came_after_it():
    """A row that was given to another flow while EXPIRE was under way stays that flow's."""
    async def told(card, controller):
        path, table = controller.slowpath, controller.table
        flows_of(card, 1)
        await card.settle(path)
        old, = path.book.by_handle.values()
        card.engine_ns = ENGINE_NS
        expiring = path.rows.expire(0, epoch=1)
        look, told = table.ring.step, []

        async def meanwhile():
            table.ring.step = look
            path.rows.drop(old)
            flows_of(card, 1, first=50)
            told.append(card.switch.exceptions[-1])
            path._admit(card.switch.exceptions.pop(), card.now_ns())
            while (served := path.scheduler.take(card.now_ns())) is not None:
                await path._serve(*served)
            await look()
        table.ring.step = meanwhile
        assert await expiring == old.handle
        await card.settle(path)
        new, = path.book.by_handle.values()
        assert new.handle == old.handle and new.flow.source_port == 50
        rows_agree(path, card)
    story(told, service_ns=0, known_ns=0)


def test_events_are_taken_beside_commands():
    """Flows end while others come: events go by the same bursts, as many as there are."""
    async def told(card, controller):
        path = controller.slowpath
        for sport in range(1, 21):
            card.switch.from_guest(2, frame(2, 3, TCP(sport=sport, dport=80)))
        await card.settle(path)
        card.engine_ns = ENGINE_NS
        card.switch.events += [{"kind": spec.EventKind.TCP_FLAGS, "handle": handle,
                                "tcp_flags": spec.TcpFlag.RST} for handle in path.book.by_handle]
        flows_of(card, 20, first=100)
        await card.settle(path)
        await path.aging.step(card.now_ns())
        await card.settle(path)
        assert path.aging.closed == 20 and len(path.book) == 20
        rows_agree(path, card)
    story(told, rows=64, quota=48, service_ns=0, known_ns=0)
