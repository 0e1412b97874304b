"""A guest made of paper: speaks to the bridge as User-Mode Linux's kernel does, and writes down.

Started as a program, in the kernel's place and with its arguments; ``story=NAME`` says what it
does. Its own declarations of both protocols are typed from Linux's headers, not from the bridge.
"""

import array
import json
import mmap
import os
import select
import socket
import struct
import sys

TT = struct.Struct("<IIQ")
ACK, START, REQUEST, WAIT, GET, UPDATE, RUN, FREE_UNTIL = range(8)
PHYSICAL, SIZE = 0x10_0000, 0x10_0000


def exactly(connection, count):
    octets = b""
    while len(octets) < count:
        octets += connection.recv(count - len(octets))
    return octets


class Slot:
    """The driver's end of one vhost-user socket: two rings of 64."""

    ENTRIES = 64

    def __init__(self, guest, path, at):
        self.guest, self.at, self.sent, self.seen = guest, at, 0, [0, 0]
        self.main = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.main.connect(path)
        self.calls, theirs = socket.socketpair()
        self.ask(2, struct.pack("<Q", 1 << 32))
        self.ask(5, struct.pack("<IIQQQQ", 1, 0, PHYSICAL, SIZE, PHYSICAL, 0), [guest.file])
        self.ask(21, b"", [theirs.fileno()])
        for ring in (0, 1):
            base = self.ring(ring)
            self.ask(8, struct.pack("<II", ring, self.ENTRIES))
            self.ask(10, struct.pack("<II", ring, 0))
            self.ask(9, struct.pack("<IIQQQQ", ring, 0, base, base + 0x800, base + 0x400, 0))
        for n in range(8):  # buffers for interrupts
            self.offer(1, [(self.at + 0x3000 + 64 * n, 64, True)])
        self.kick(1)

    def ring(self, number):
        return self.at + 0x1000 * number

    def ask(self, request, payload=b"", files=()):
        message = struct.pack("<III", request, 1 | 8, len(payload)) + payload
        self.main.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                                       array.array("i", files))] if files else [])
        while True:
            ready, _, _ = select.select([self.guest.clock, self.main], [], [])
            if self.guest.clock not in ready:
                break
            op, sequence, time = TT.unpack(exactly(self.guest.clock, TT.size))
            assert op == FREE_UNTIL
            self.guest.free = time
            self.guest.clock.sendall(TT.pack(ACK, sequence, 0))
        _, flags, size = struct.unpack("<III", exactly(self.main, 12))
        assert flags == 5
        return exactly(self.main, size)

    def kick(self, ring):
        guest = self.guest
        if guest.told != guest.time:
            guest.told = guest.time
            guest.tick(UPDATE, guest.time)
        self.ask(35, struct.pack("<II", ring, 0))

    def offer(self, ring, pieces):
        """Put a chain into the available ring."""
        base, index = self.ring(ring), 4 * (self.sent % 8) if ring == 0 else self.sent
        for n, (address, length, writes) in enumerate(pieces):
            more = n + 1 < len(pieces)
            self.guest.put(base + 16 * (index + n), struct.pack(
                "<QIHH", address, length, more | writes << 1, index + n + 1))
        count = self.guest.u16(base + 0x402)
        self.guest.put(base + 0x404 + 2 * (count % self.ENTRIES), struct.pack("<H", index))
        self.guest.put(base + 0x402, struct.pack("<H", count + 1 & 0xFFFF))
        self.sent += 1

    def command(self, op, address, size, octets=b"", bar=0):
        """One access; the octets read."""
        out = struct.pack("<BBHIQ", op, bar, 0, size, address) + octets
        place = self.at + 0x2000 + 128 * (self.sent % 8)
        self.guest.put(place, out)
        read = op in (1, 3)
        pieces = [(place, len(out), False)] + ([(place + 64, size, True)] if read else [])
        before = self.guest.u16(self.ring(0) + 0x802)
        self.offer(0, pieces)
        self.kick(0)
        # The answer to a read is there, and nothing stands before it; writes may wait.
        assert self.guest.u16(self.ring(0) + 0x802) == before + read & 0xFFFF
        return self.guest.get(place + 64, size) if read else b""

    def config(self, offset, size=4):
        return int.from_bytes(self.command(1, offset, size), "little")

    def configure(self, offset, size, value):
        self.command(2, offset, size, value.to_bytes(size, "little"))

    def read(self, bar, offset, size=4):
        return int.from_bytes(self.command(3, offset, size, bar=bar), "little")

    def write(self, bar, offset, size, value):
        self.command(4, offset, size, value.to_bytes(size, "little"), bar=bar)

    def interrupts(self):
        """The messages that came: (address, data)."""
        base, found = self.ring(1), []
        while self.seen[1] != self.guest.u16(base + 0x802):
            entry = base + 0x804 + 8 * (self.seen[1] % self.ENTRIES)
            index, length = struct.unpack("<II", self.guest.get(entry, 8))
            buffer = struct.unpack("<Q", self.guest.get(base + 16 * index, 8))[0]
            op, _, _, _, address = struct.unpack("<BBHIQ", self.guest.get(buffer, 16))
            assert (op, length) == (7, 20)
            found.append((address, int.from_bytes(self.guest.get(buffer + 16, 4), "little")))
            self.seen[1] = self.seen[1] + 1 & 0xFFFF
        return found


class Guest:
    """One process: a clock, a memory, slots."""

    def __init__(self, arguments):
        self.file = os.memfd_create("memory")
        os.ftruncate(self.file, SIZE)
        self.memory = mmap.mmap(self.file, SIZE)
        self.time, self.sequence, self.free, self.told = 0, 0, 0, 0
        self.clock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.clock.connect(next(a for a in arguments if a.startswith("time-travel=ext:"))[16:])
        self.tick(START, 2**64 - 1)
        paths = [a.split("=", 1)[1].rsplit(":", 1)[0] for a in arguments
                 if a.startswith("virtio_uml.device=")]
        self.slots = [Slot(self, path, PHYSICAL + 0x4000 * n) for n, path in enumerate(paths)]
        self.log = {}

    def put(self, address, octets):
        self.memory[address - PHYSICAL:address - PHYSICAL + len(octets)] = octets

    def get(self, address, length):
        return self.memory[address - PHYSICAL:address - PHYSICAL + length]

    def u16(self, address):
        return int.from_bytes(self.get(address, 2), "little")

    def tick(self, op, time):
        self.sequence += 1
        self.clock.sendall(TT.pack(op, self.sequence, time))
        kind, sequence, answer = TT.unpack(exactly(self.clock, TT.size))
        assert (kind, sequence) == (ACK, self.sequence)
        return answer

    def sleep(self, ns):
        """Until then, or until an interrupt: whether it was one."""
        if self.time + ns < self.free:
            self.time += ns
            return False
        interrupted, self.free = False, 0
        self.tick(REQUEST, self.time + ns)
        self.tick(WAIT, 2**64 - 1)
        while True:
            ready, _, _ = select.select([self.clock, *(s.calls for s in self.slots)], [], [], 60)
            assert ready, "nobody says anything"
            if self.clock in ready:
                op, sequence, time = TT.unpack(exactly(self.clock, TT.size))
                self.clock.sendall(TT.pack(ACK, sequence, 0))
                if op == FREE_UNTIL:
                    self.free = time
                    continue
                assert op == RUN and time >= self.time
                self.time = time
                return interrupted
            for slot in self.slots:
                if slot.calls in ready:
                    request, flags, size = struct.unpack("<III", exactly(slot.calls, 12))
                    assert (request, flags) == (4, 9)
                    exactly(slot.calls, size)
                    now = self.tick(GET, 2**64 - 1)
                    assert now >= self.time
                    self.time, interrupted = now, True
                    self.tick(REQUEST, now)
                    slot.calls.sendall(struct.pack("<IIIQ", 4, 5, 8, 0))


def main():
    """Play the story that is asked for; what was seen goes to standard output."""
    from tests.sim import paper_stories
    arguments = sys.argv[1:]
    guest = Guest(arguments)
    story = next(a for a in arguments if a.startswith("story=")).removeprefix("story=")
    getattr(paper_stories, story)(guest)
    print(json.dumps(guest.log), flush=True)


if __name__ == "__main__":
    main()
