"""The vfio-user protocol's server side: one UNIX socket, one client, for one PCI function.

A client's message is taken octet by octet as it comes, so that a client that stops in the middle
keeps nobody waiting. What is wrong with a message is told to its sender in the reply's error
field; after a length that cannot be believed nothing more can be, and the connection ends.
"""

# Ref: vfio-user-0.9.2 (Header, VFIO_USER_VERSION, VFIO_USER_DMA_MAP, VFIO_USER_DEVICE_SET_IRQS)

import array
import errno
import json
import os
import socket
import struct
from enum import IntEnum
from typing import NamedTuple

__all__ = ["Command", "Message", "Refused", "Server", "CONFIG_REGION", "MSIX_INDEX", "MOST_FILES"]


class Command(IntEnum):
    """Commands of the client that a server must know, and those that it may refuse."""
    VERSION         = 1
    DMA_MAP         = 2
    DMA_UNMAP       = 3
    GET_INFO        = 4
    GET_REGION_INFO = 5
    GET_REGION_IO_FDS = 6
    GET_IRQ_INFO    = 7
    SET_IRQS        = 8
    REGION_READ     = 9
    REGION_WRITE    = 10
    RESET           = 13


CONFIG_REGION, REGIONS = 7, 9  # as in linux/vfio.h: VFIO_PCI_CONFIG_REGION_INDEX and their number
MSIX_INDEX, IRQS = 2, 5        # VFIO_PCI_MSIX_IRQ_INDEX and their number
MOST_FILES = 16                # of one message
_LONGEST = 1 << 20             # octets of one region access
_HEADER = struct.Struct("<HHIII")  # id, command, size, flags, error
_REPLY, _NO_REPLY, _ERROR = 0x1, 0x10, 0x20
_DEVICE_RESET, _DEVICE_PCI = 1, 2
_READ_WRITE = 3
_EVENTFD, _NORESIZE = 1, 8
_DATA_NONE, _DATA_EVENTFD, _TRIGGER = 1, 4, 0x20
_UNMAP_ALL = 2
_FILES = array.array("i")


class Refused(Exception):
    """What a client asked for cannot be; ``number`` is the errno of the reply."""

    def __init__(self, number, why):
        super().__init__(why)
        self.number = number


class Message(NamedTuple):
    """A whole message: 16 octets of header taken apart, the octets behind it, open files."""
    number:  int
    command: int
    flags:   int
    body:    bytes
    files:   list


def _fields(layout, body):
    """The head of a body by ``layout``, whose first word may be the body's own length."""
    size = struct.calcsize(layout)
    if len(body) < size:
        raise Refused(errno.EINVAL, f"a body must have {size} octets or more, not {len(body)}")
    return struct.unpack_from(layout, body)


class Server:
    """A listening socket, and the one client that is connected.

    Parameters
    ----------
    path : Path
    function
        Who carries the requests out. ``vectors``: number of MSI-X vectors; ``size_of(region)``:
        octets; coroutines ``read(region, offset, size)``, ``write(region, offset, octets)``,
        ``set_vectors(first, files)`` with ``None`` for a vector that loses its file,
        ``disable_vectors()``, ``reset()``; functions ``map(address, size, file, offset)``, which
        keeps no file open, and ``unmap(address, size)``, size ``None``: all. Each may raise
        :class:`Refused`.

    Attributes
    ----------
    client : socket.socket or None
    busy : bool
        A message is being carried out; the next is taken after it.
    counts : dict
        Messages by command, and those ``refused``.
    """

    def __init__(self, path, function):
        self.path, self.function, self.client, self.busy = path, function, None, False
        self.counts = {"refused": 0}
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(1)
        self.listener.setblocking(False)
        self._begin()

    def _begin(self):
        self._octets, self._files, self._truncated = b"", [], False

    # --- the socket ---

    @property
    def waiting_for(self):
        """The socket that may bring something now; None while a message is carried out."""
        return None if self.busy else self.client or self.listener

    def accept(self):
        """Take the client that knocks."""
        self.client, _ = self.listener.accept()
        self.client.setblocking(False)
        self._begin()

    def take(self):
        """The next whole :class:`Message`; None if it is not all there. EOFError at its end."""
        while True:
            want = _HEADER.size if len(self._octets) < _HEADER.size else self._size()
            if want == len(self._octets):
                return self._whole()
            if not self._receive(want - len(self._octets)):
                return None

    def _size(self):
        number, command, size, _, _ = _HEADER.unpack_from(self._octets)
        if not _HEADER.size <= size <= _HEADER.size + 64 + _LONGEST:
            self.counts["refused"] += 1
            self._send(number, command, b"", errno.EMSGSIZE)
            raise EOFError(f"a message of {size} octets")
        return size

    def _receive(self, count):
        room = socket.CMSG_LEN((MOST_FILES + 1) * _FILES.itemsize)
        try:
            octets, ancillary, flags, _ = self.client.recvmsg(count, room)
        except BlockingIOError:
            return False
        except ConnectionError as error:
            raise EOFError(str(error)) from None
        for level, kind, found in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self._files += array.array("i", found[:len(found) // 4 * 4])
        self._truncated |= bool(flags & socket.MSG_CTRUNC)
        if not octets:
            raise EOFError("the client is gone")
        self._octets += octets
        return True

    def _whole(self):
        number, command, _, flags, _ = _HEADER.unpack_from(self._octets)
        if self._truncated or len(self._files) > MOST_FILES:
            flags |= _ERROR  # never set by a client's command: handle() refuses it
        message = Message(number, command, flags, self._octets[_HEADER.size:], self._files)
        self._begin()
        return message

    def _send(self, number, command, body, error=0):
        octets = _HEADER.pack(number, command, _HEADER.size + len(body),
                              _REPLY | (_ERROR if error else 0), error) + body
        try:
            self.client.setblocking(True)  # the client awaits the answer, and nothing else
            self.client.settimeout(10)
            self.client.sendall(octets)
            self.client.setblocking(False)
        except OSError as gone:
            raise EOFError(str(gone)) from None

    def disconnect(self):
        """Let the client go; another may come."""
        for file in self._files:
            os.close(file)
        self._begin()
        if self.client is not None:
            self.client.close()
            self.client = None

    def close(self):
        """No more clients."""
        self.disconnect()
        self.listener.close()

    # --- the messages ---

    async def handle(self, message):
        """Carry a message out and answer it; EOFError if the client does not take the answer."""
        name = Command(message.command).name if message.command in set(Command) else "unknown"
        self.counts[name] = self.counts.get(name, 0) + 1
        body, error = b"", 0
        try:
            if message.flags & _ERROR:
                raise Refused(errno.EINVAL, f"more than {MOST_FILES} files")
            if message.flags & 0xF != 0 or name == "unknown":
                raise Refused(errno.EOPNOTSUPP, "no command of a client that is known")
            body = await getattr(self, f"_{name.lower()}")(message)
        except Refused as refused:
            self.counts["refused"] += 1
            body, error = b"", refused.number
        finally:
            for file in message.files:
                os.close(file)
        if not message.flags & _NO_REPLY:
            self._send(message.number, message.command, body, error)

    async def _version(self, message):
        major, minor = _fields("<HH", message.body)
        if major != 0:
            raise Refused(errno.EINVAL, f"version {major}")
        able = {"capabilities": {"max_msg_fds": MOST_FILES, "max_data_xfer_size": _LONGEST,
                                 "pgsizes": 4096, "write_multiple": False}}
        return struct.pack("<HH", 0, minor) + json.dumps(able).encode() + b"\0"

    async def _dma_map(self, message):
        _, _, offset, address, size = _fields("<IIQQQ", message.body)
        if len(message.files) > 1 or not size or address + size > 1 << 64:
            raise Refused(errno.EINVAL, "one region, one file")
        # Memory without a file is that of other devices or of ROMs: the card does not reach it.
        if message.files:
            self.function.map(address, size, message.files[0], offset)
        return b""

    async def _dma_unmap(self, message):
        _, flags, address, size = _fields("<IIQQ", message.body)
        self.function.unmap(address, None if flags & _UNMAP_ALL else size)
        return message.body[:24]

    async def _get_info(self, message):
        _fields("<I", message.body)
        return struct.pack("<IIII", 16, _DEVICE_RESET | _DEVICE_PCI, REGIONS, IRQS)

    async def _get_region_info(self, message):
        _, _, index, _ = _fields("<IIII", message.body)
        if index >= REGIONS:
            raise Refused(errno.EINVAL, f"region {index}")
        size = self.function.size_of(index)
        return struct.pack("<IIIIQQ", 32, _READ_WRITE if size else 0, index, 0, size, 0)

    async def _get_region_io_fds(self, message):
        raise Refused(errno.EOPNOTSUPP, "no region has files")

    async def _get_irq_info(self, message):
        _, _, index, _ = _fields("<IIII", message.body)
        if index >= IRQS:
            raise Refused(errno.EINVAL, f"interrupt index {index}")
        count = self.function.vectors if index == MSIX_INDEX else 0
        return struct.pack("<IIII", 16, _EVENTFD | _NORESIZE if count else 0, index, count)

    async def _set_irqs(self, message):
        _, flags, index, first, count = _fields("<IIIII", message.body)
        vectors = self.function.vectors if index == MSIX_INDEX else 0
        if index >= IRQS or first + count > vectors or not flags & _TRIGGER:
            raise Refused(errno.EINVAL, f"vectors {first} to {first + count} of index {index}")
        if flags & _DATA_NONE and count == 0:
            await self.function.disable_vectors()
        elif flags & _DATA_EVENTFD and len(message.files) in (0, count):
            await self.function.set_vectors(first, message.files or [None] * count)
        else:
            raise Refused(errno.EINVAL, f"{len(message.files)} files for {count} vectors")
        return b""

    def _place(self, message):
        offset, region, count = _fields("<QII", message.body)
        if region >= REGIONS or count > _LONGEST \
                or offset + count > self.function.size_of(region):
            raise Refused(errno.EINVAL, f"{count} octets at {offset:#x} of region {region}")
        return region, offset, count

    async def _region_read(self, message):
        region, offset, count = self._place(message)
        return message.body[:16] + await self.function.read(region, offset, count)

    async def _region_write(self, message):
        region, offset, count = self._place(message)
        octets = message.body[16:]
        if len(octets) != count:
            raise Refused(errno.EINVAL, f"{len(octets)} octets where {count} are announced")
        await self.function.write(region, offset, octets)
        return message.body[:16]

    async def _reset(self, message):
        await self.function.reset()
        return b""
