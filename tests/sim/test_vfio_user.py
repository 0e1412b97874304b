"""The vfio-user server against a client that misbehaves: an errno for it, nothing for others."""

import errno
import json
import os
import socket
import struct

import pytest

from sim.bridge.vfio_user import CONFIG_REGION, MOST_FILES, Command, Refused, Server

HEADER = struct.Struct("<HHIII")
BAR, SIZE = 0, 0x1_0000


class Paper:
    """A function that writes down what it is told."""

    vectors = 4

    def __init__(self):
        self.told, self.octets = [], bytearray(SIZE)

    def size_of(self, region):
        return {BAR: SIZE, CONFIG_REGION: 4096}.get(region, 0)

    async def read(self, region, offset, size):
        return bytes(self.octets[offset:offset + size])

    async def write(self, region, offset, octets):
        self.told.append(("write", region, offset, octets))
        self.octets[offset:offset + len(octets)] = octets

    def map(self, address, size, file, offset):
        if address == 0xBAD000:
            raise Refused(errno.EINVAL, "taken")
        self.told.append(("map", address, size, os.pread(file, 4, offset)))

    def unmap(self, address, size):
        self.told.append(("unmap", address, size))

    async def set_vectors(self, first, files):
        self.told.append(("vectors", first, [file is not None for file in files]))

    async def disable_vectors(self):
        self.told.append(("disable",))

    async def reset(self):
        self.told.append(("reset",))


class Pair:
    """A server, its function, and the client's end."""

    def __init__(self, path):
        self.function = Paper()
        self.server = Server(path, self.function)
        self.client = socket.socket(socket.AF_UNIX)
        self.client.connect(str(path))
        self.client.settimeout(5)
        assert self.server.waiting_for is self.server.listener
        self.server.accept()

    def serve(self):
        """Carry out what has come; how many messages."""
        count = 0
        while (message := self.server.take()) is not None:
            run(self.server.handle(message))
            count += 1
        return count

    def send(self, command, body=b"", *, size=None, flags=0, files=(), number=7):
        size = HEADER.size + len(body) if size is None else size
        socket.send_fds(self.client, [HEADER.pack(number, command, size, flags, 0) + body],
                        list(files))

    def ask(self, command, body=b"", **options):
        """``(errno, body)`` of the answer."""
        self.send(command, body, **options)
        assert self.serve() == 1
        return self.answer(command)

    def answer(self, command, number=7):
        octets = self.client.recv(1 << 16)
        got, same, size, flags, error = HEADER.unpack_from(octets)
        assert (got, same, size) == (number, command, len(octets))
        assert flags == (0x21 if error else 0x01)
        return error, octets[HEADER.size:]

    def close(self):
        self.client.close()
        self.server.close()


def run(coroutine):
    with pytest.raises(StopIteration):
        coroutine.send(None)


@pytest.fixture
def pair(tmp_path):
    made = Pair(tmp_path / "a")
    yield made
    made.close()


@pytest.fixture
def other(tmp_path):
    made = Pair(tmp_path / "b")
    yield made
    made.close()


def place(offset, region, count, octets=b""):
    return struct.pack("<QII", offset, region, count) + octets


def files_open():
    return len(os.listdir("/proc/self/fd"))


def test_version_and_shape(pair):
    error, body = pair.ask(Command.VERSION, struct.pack("<HH", 0, 1) + b"{}\0")
    assert error == 0 and struct.unpack_from("<HH", body) == (0, 1)
    able = json.loads(body[4:-1])["capabilities"]
    assert able["max_msg_fds"] == MOST_FILES and able["write_multiple"] is False
    assert pair.ask(Command.VERSION, struct.pack("<HH", 1, 0))[0] == errno.EINVAL
    assert struct.unpack("<IIII", pair.ask(Command.GET_INFO, struct.pack("<IIII", 16, 0, 0, 0))[1]
                         ) == (16, 3, 9, 5)
    for region, flags, size in ((BAR, 3, SIZE), (1, 0, 0), (CONFIG_REGION, 3, 4096)):
        asked = struct.pack("<IIIIQQ", 32, 0, region, 0, 0, 0)
        assert pair.ask(Command.GET_REGION_INFO, asked)[1] == struct.pack(
            "<IIIIQQ", 32, flags, region, 0, size, 0)
    for index, flags, count in ((2, 9, 4), (0, 0, 0)):
        asked = struct.pack("<IIII", 16, 0, index, 0)
        assert pair.ask(Command.GET_IRQ_INFO, asked)[1] == struct.pack(
            "<IIII", 16, flags, index, count)


def test_registers(pair):
    assert pair.ask(Command.REGION_WRITE, place(8, BAR, 4, b"abcd")) == (0, place(8, BAR, 4))
    assert pair.ask(Command.REGION_READ, place(8, BAR, 4)) == (0, place(8, BAR, 4, b"abcd"))
    pair.send(Command.REGION_WRITE, place(12, BAR, 2, b"xy"), flags=0x10)
    assert pair.serve() == 1
    # The posted write has no answer: the next octets are those of the read.
    assert pair.ask(Command.REGION_READ, place(8, BAR, 6))[1] == place(8, BAR, 6, b"abcdxy")


def test_memory_and_vectors(pair):
    file = os.memfd_create("memory")
    os.write(file, bytes(4096) + b"here")
    area = struct.pack("<IIQQQ", 32, 3, 4096, 0x10_0000, 0x1000)
    before = files_open()
    assert pair.ask(Command.DMA_MAP, area, files=[file]) == (0, b"")
    assert pair.ask(Command.DMA_MAP, area) == (0, b"")  # a ROM: nobody's concern
    gone = struct.pack("<IIQQ", 24, 0, 0x10_0000, 0x1000)
    assert pair.ask(Command.DMA_UNMAP, gone) == (0, gone)
    assert pair.ask(Command.DMA_UNMAP, struct.pack("<IIQQ", 24, 2, 0, 0))[0] == 0
    event = os.eventfd(0)
    irqs = struct.pack("<IIIII", 20, 0x24, 2, 1, 2)
    assert pair.ask(Command.SET_IRQS, irqs, files=[event, event])[0] == 0
    assert pair.ask(Command.SET_IRQS, irqs)[0] == 0
    assert pair.ask(Command.SET_IRQS, struct.pack("<IIIII", 20, 0x21, 2, 0, 0))[0] == 0
    assert pair.ask(Command.RESET)[0] == 0
    assert pair.function.told == [
        ("map", 0x10_0000, 0x1000, b"here"), ("unmap", 0x10_0000, 0x1000), ("unmap", 0, None),
        ("vectors", 1, [True, True]), ("vectors", 1, [False, False]), ("disable",), ("reset",)]
    os.close(event)
    assert files_open() == before  # the server keeps no file that it was sent
    os.close(file)


BAD = {
    "unknown command": (99, b"", errno.EOPNOTSUPP),
    "a command of servers": (11, place(0, 0, 4), errno.EOPNOTSUPP),
    "files of a region": (Command.GET_REGION_IO_FDS, bytes(16), errno.EOPNOTSUPP),
    "no version": (Command.VERSION, b"\0", errno.EINVAL),
    "short read": (Command.REGION_READ, bytes(15), errno.EINVAL),
    "read beyond": (Command.REGION_READ, place(SIZE - 2, BAR, 4), errno.EINVAL),
    "read far beyond": (Command.REGION_READ, place((1 << 64) - 1, BAR, 4), errno.EINVAL),
    "read of no region": (Command.REGION_READ, place(0, 77, 4), errno.EINVAL),
    "read of an empty region": (Command.REGION_READ, place(0, 1, 1), errno.EINVAL),
    "read too long": (Command.REGION_READ, place(0, BAR, 1 << 31), errno.EINVAL),
    "write too short": (Command.REGION_WRITE, place(0, BAR, 4, b"ab"), errno.EINVAL),
    "write too long": (Command.REGION_WRITE, place(0, BAR, 2, b"abcd"), errno.EINVAL),
    "write beyond": (Command.REGION_WRITE, place(SIZE, BAR, 2, b"ab"), errno.EINVAL),
    "short map": (Command.DMA_MAP, bytes(31), errno.EINVAL),
    "map of nothing": (Command.DMA_MAP, struct.pack("<IIQQQ", 32, 3, 0, 0, 0), errno.EINVAL),
    "map around the end": (Command.DMA_MAP, struct.pack("<IIQQQ", 32, 3, 0, (1 << 64) - 4096,
                                                        8192), errno.EINVAL),
    "short unmap": (Command.DMA_UNMAP, bytes(23), errno.EINVAL),
    "no such region": (Command.GET_REGION_INFO, struct.pack("<IIII", 32, 0, 9, 0), errno.EINVAL),
    "no such interrupt": (Command.GET_IRQ_INFO, struct.pack("<IIII", 16, 0, 5, 0), errno.EINVAL),
    "a vector too many": (Command.SET_IRQS, struct.pack("<IIIII", 20, 0x24, 2, 3, 2),
                          errno.EINVAL),
    "vectors around": (Command.SET_IRQS, struct.pack("<IIIII", 20, 0x24, 2, 0xFFFF_FFFF, 2),
                       errno.EINVAL),
    "INTx": (Command.SET_IRQS, struct.pack("<IIIII", 20, 0x24, 0, 0, 1), errno.EINVAL),
    "neither none nor files": (Command.SET_IRQS, struct.pack("<IIIII", 20, 0x22, 2, 0, 1),
                               errno.EINVAL),
    "short irqs": (Command.SET_IRQS, bytes(19), errno.EINVAL),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_message_is_refused_and_forgotten(pair, other, name):
    command, body, number = BAD[name]
    assert pair.ask(command, body) == (number, b"")
    assert pair.function.told == []
    assert pair.server.counts["refused"] == 1
    # The same client goes on, and the other has seen nothing.
    assert pair.ask(Command.REGION_READ, place(0, BAR, 4))[0] == 0
    assert other.ask(Command.REGION_READ, place(0, BAR, 4))[0] == 0
    assert other.server.counts["refused"] == 0


def test_a_refusal_of_the_function_is_told(pair):
    file = os.memfd_create("memory")
    area = struct.pack("<IIQQQ", 32, 3, 0, 0xBAD000, 0x1000)
    assert pair.ask(Command.DMA_MAP, area, files=[file]) == (errno.EINVAL, b"")
    os.close(file)


@pytest.mark.parametrize("count", [MOST_FILES + 1, 60])
def test_too_many_files_are_closed_and_refused(pair, count):
    event, before = os.eventfd(0), files_open()
    irqs = struct.pack("<IIIII", 20, 0x24, 2, 0, 1)
    assert pair.ask(Command.SET_IRQS, irqs, files=[event] * count) == (errno.EINVAL, b"")
    assert pair.function.told == [] and files_open() == before
    assert pair.ask(Command.SET_IRQS, irqs, files=[event])[0] == 0
    os.close(event)


def test_fewer_files_than_vectors_are_refused(pair):
    event = os.eventfd(0)
    irqs = struct.pack("<IIIII", 20, 0x24, 2, 0, 3)
    assert pair.ask(Command.SET_IRQS, irqs, files=[event] * 2)[0] == errno.EINVAL
    os.close(event)


@pytest.mark.parametrize("size", [0, 15, 1 << 24, 0xFFFF_FFFF])
def test_a_length_that_cannot_be_ends_the_connection(pair, other, size):
    pair.send(Command.REGION_READ, place(0, BAR, 4), size=size)
    with pytest.raises(EOFError):
        pair.serve()
    assert pair.answer(Command.REGION_READ) == (errno.EMSGSIZE, b"")
    pair.server.disconnect()
    try:
        assert pair.client.recv(1) == b""
    except ConnectionResetError:
        pass  # what it had sent and nobody read is lost
    assert other.ask(Command.REGION_READ, place(0, BAR, 4))[0] == 0
    # Another client is welcome.
    with socket.socket(socket.AF_UNIX) as fresh:
        fresh.connect(str(pair.server.path))
        pair.server.accept()
        fresh.sendall(HEADER.pack(1, Command.RESET, 16, 0, 0))
        pair.serve()
        assert HEADER.unpack(fresh.recv(16))[4] == 0


def test_half_a_message_keeps_nobody_waiting(pair, other):
    whole = HEADER.pack(7, Command.REGION_READ, 32, 0, 0) + place(0, BAR, 4)
    for octet in whole[:-1]:
        pair.client.sendall(bytes([octet]))
        assert pair.serve() == 0
    assert other.ask(Command.REGION_READ, place(0, BAR, 4))[0] == 0
    pair.client.sendall(whole[-1:])
    assert pair.serve() == 1 and pair.answer(Command.REGION_READ)[0] == 0


def test_a_client_that_goes_is_noticed(pair):
    pair.client.sendall(b"\7\0")
    assert pair.serve() == 0
    pair.client.close()
    with pytest.raises(EOFError):
        pair.serve()
