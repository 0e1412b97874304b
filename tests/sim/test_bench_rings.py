"""The busy host's rings: orders, quotas, stalls; against the drivers' own memory."""

import numpy
import pytest
from scapy.all import IP, TCP, Ether

from offloadcard.nvme_emul import spec as nvme
from sim.bench import new_flows
from sim.bench.connections import SERVER, SERVER_MAC, segment
from sim.bench.rings import Drive, Ring
from sim.bench.slope import tail
from sim.host.memory import Memory
from sim.host.nvme_queue import CQE, SQE, QueuePair
from sim.host.virtqueue import USED_ELEM, Virtqueue


def _queue(size=8):
    queue = Virtqueue(Memory(bytearray(1 << 16), base=0x1000), size)
    for n in range(size):
        queue.add([(0x9000 + 64 * n, 64, True)], n)
    queue.avail_idx = 0
    return queue


def _use(queue, ring, heads):
    """As the card: elements, then the index."""
    for head in heads:
        index = queue.used.read_int(2, 2)
        queue.used.write(4 + 8 * (index % queue.size), USED_ELEM.pack(id=head, len=64))
        queue.used.write_int(2, 2, index + 1 & 0xFFFF)


def _offered(queue, first, count):
    return [queue.avail.read_int(4 + 2 * ((first + n) % queue.size), 2) for n in range(count)]


def test_lifo_gives_what_came_last_first():
    queue = _queue()
    ring = Ring(queue)
    assert ring.offer(5) == 5 and queue.avail.read_int(2, 2) == 5
    assert _offered(queue, 0, 5) == [0, 1, 2, 3, 4]
    _use(queue, ring, [0, 1, 2])
    assert ring.waiting == 3 and list(ring.take()) == [0, 1, 2]
    assert ring.offer() == 6
    assert _offered(queue, 5, 6)[:3] == [2, 1, 0]
    assert ring.taken == 3 and ring.offered == 11 and not ring.waiting


def test_shuffled_offers_each_free_buffer_once():
    queue = _queue()
    ring = Ring(queue, order="shuffled", seed=3)
    ring.offer()
    assert sorted(_offered(queue, 0, 8)) == list(range(8)) != _offered(queue, 0, 8)
    with pytest.raises(ValueError, match="`order`"):
        Ring(queue, order="sorted")


def test_a_buffer_that_is_used_twice_is_seen():
    queue = _queue()
    ring = Ring(queue)
    ring.offer(1)
    _use(queue, ring, [0, 0])
    with pytest.raises(ValueError, match="once"):
        ring.take()


def test_a_full_round_of_indices_wraps():
    queue = _queue()
    ring = Ring(queue)
    ring.avail_idx = ring.used_idx = 0xFFFE
    queue.used.write_int(2, 2, 0xFFFE)
    ring.offer(4)
    assert queue.avail.read_int(2, 2) == 2
    _use(queue, ring, [0, 1, 2, 3])
    assert len(ring.take()) == 4


class _Function:
    rid = 0x100


class _Device:
    function = _Function()

    def __init__(self):
        self.memory = Memory(bytearray(1 << 16), base=0)


def test_a_drive_submits_again_what_ended():
    pair = QueuePair(_Device(), 1, 8)
    drive = Drive(pair, 4, lambda cid: SQE.pack(cid=cid, opcode=int(nvme.Opcode.READ)))
    assert drive.offer() == 4 and drive.tail == 4 and not drive.waiting
    for slot, cid in enumerate([2, 0]):
        pair.cq.write(16 * slot, CQE.pack(cid=cid, phase=1))
    assert drive.waiting and list(drive.take()) == [2, 0]
    assert drive.offer() == 2 and drive.tail == 6
    assert SQE.unpack(pair.sq.read(64 * 4, 64))["cid"] == 2
    for slot in range(2, 8):
        pair.cq.write(16 * slot, CQE.pack(cid=slot % 4, phase=1))
    assert len(drive.take()) == 6 and (drive.head, drive.phase) == (0, 0)
    pair.cq.write(0, CQE.pack(cid=1, phase=0, status=5))
    with pytest.raises(ValueError, match="succeed"):
        drive.take()
    with pytest.raises(ValueError, match="`depth`"):
        Drive(pair, 8, None)


def test_tails_of_nothing_are_nothing():
    assert tail([]) == {"p50": None, "p99": None, "p999": None}
    assert tail(numpy.arange(1001.0))["p999"] == pytest.approx(999)


class _Token:
    """A buffer of a frame in the queue's memory."""

    def __init__(self, memory, address):
        self.memory, self.address = memory, address


def test_each_frame_opens_another_flow():
    """Ports follow each other, also where a descriptor comes again; scapy finds the sums right."""
    memory = Memory(bytearray(1 << 16), base=0x1000)
    queue, member = Virtqueue(memory, 4), new_flows.members_of(3)[2]
    for n in range(4):
        address = 0x9000 + 128 * n
        queue.add([(address, 72, False)], (12, _Token(memory, address)))
        queue.chains[n] = (1, _Token(memory, address))
    queue.avail_idx = 0
    frame = segment(member, (SERVER_MAC, SERVER), (0, 80), 2)
    ring = new_flows.FreshRing(queue, frame)
    ports = []
    for heads in ([0, 1, 2, 3], [2, 0]):
        assert ring.offer() == len(heads)
        for head in _offered(queue, len(ports), len(heads)):
            sent = Ether(memory.view[0x8000 + 128 * head + 12:][:len(frame)].tobytes())
            sums = sent[IP].chksum, sent[TCP].chksum
            del sent[IP].chksum, sent[TCP].chksum
            again = Ether(bytes(sent))
            assert (again[IP].chksum, again[TCP].chksum) == sums
            assert again[IP].src == str(member[1]) and again[TCP].flags == "S"
            ports.append(again[TCP].sport)
        _use(queue, ring, [2, 0])
        ring.take()
    assert ports == [1024, 1025, 1026, 1027, 1028, 1029]
