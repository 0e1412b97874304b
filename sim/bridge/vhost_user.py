"""The device's end of vhost-user, as far as User-Mode Linux speaks it: one socket, one device.

Messages are handled one at a time, while the guest waits for their answer. Notifications travel
in band, so that nothing of the guest's doing is ever in a file descriptor that nobody looked at.
"""

# Ref: vhost-user, QEMU documentation 7.2 (Vhost-user Protocol: message types)
# Ref: virtio-1.2, 2.7 (Split Virtqueues)

import array
import os
import socket
import struct
from enum import IntEnum, IntFlag

__all__ = ["Disconnected", "Request", "Ring", "VhostUser"]

_HEADER = struct.Struct("<III")   # request, flags, size of the payload
_U64    = struct.Struct("<Q")
_STATE  = struct.Struct("<II")    # ring, number
_RING   = struct.Struct("<IIQQQQ")  # ring, flags, descriptors, used, available, log
_REGION = struct.Struct("<QQQQ")  # guest address, size, user address, offset in the file
_VERSION, _REPLY, _NEED_REPLY = 1, 4, 8
_MOST = 4096                      # octets of a payload


class Request(IntEnum):
    """From the guest."""
    GET_FEATURES          = 1
    SET_FEATURES          = 2
    SET_OWNER             = 3
    SET_MEM_TABLE         = 5
    SET_VRING_NUM         = 8
    SET_VRING_ADDR        = 9
    SET_VRING_BASE        = 10
    GET_VRING_BASE        = 11
    SET_VRING_KICK        = 12
    SET_VRING_CALL        = 13
    SET_VRING_ERR         = 14
    GET_PROTOCOL_FEATURES = 15
    SET_PROTOCOL_FEATURES = 16
    SET_VRING_ENABLE      = 18
    SET_BACKEND_REQ_FD    = 21
    VRING_KICK            = 35


_BACKEND_VRING_CALL = 4           # to the guest
_PROTOCOL_FEATURES, _VERSION_1 = 1 << 30, 1 << 32


class _Protocol(IntFlag):
    REPLY_ACK             = 1 << 3
    BACKEND_REQ           = 1 << 5
    INBAND_NOTIFICATIONS  = 1 << 14


class Disconnected(ConnectionError):
    """The guest has closed its end."""


class Ring:
    """A split virtqueue in the guest's memory; the device's end of it.

    Parameters
    ----------
    view : memoryview
        The guest's memory, ``base`` being the address of its first octet.
    """

    def __init__(self):
        self.size = self.descriptors = self.available = self.used = 0
        self.view, self.base, self.seen, self.done = None, 0, 0, 0

    def attach(self, view, base, descriptors, used, available):
        """The ring's three parts lie in ``view``."""
        self.view, self.base = view, base
        self.descriptors, self.used, self.available = (
            at - base for at in (descriptors, used, available))
        self.done = self._u16(self.used + 2)

    @property
    def ready(self):
        """Is there a ring?"""
        return self.view is not None and self.size > 0

    def _u16(self, at):
        return int.from_bytes(self.view[at:at + 2], "little")

    @property
    def waiting(self):
        """Has the guest put a buffer there?"""
        return self._u16(self.available + 2) != self.seen

    def take(self):
        """``(head, [(place in the view, length, device writes)])`` of the next buffer, or None."""
        if not self.ready or not self.waiting:
            return None
        head = self._u16(self.available + 4 + 2 * (self.seen % self.size))
        self.seen = self.seen + 1 & 0xFFFF
        pieces, index = [], head
        for _ in range(self.size):
            at = self.descriptors + 16 * index
            address, length, flags, following = struct.unpack_from("<QIHH", self.view, at)
            pieces.append((address - self.base, length, bool(flags & 2)))
            if not flags & 1:
                return head, pieces
            index = following
        raise Disconnected("a chain of the guest's bridge driver has a loop")

    def give(self, head, length):
        """Hand a buffer back."""
        struct.pack_into("<II", self.view, self.used + 4 + 8 * (self.done % self.size),
                         head, length)
        self.done = self.done + 1 & 0xFFFF
        struct.pack_into("<H", self.view, self.used + 2, self.done)

    def mute(self):
        """Ask the guest not to notify us of buffers."""
        struct.pack_into("<H", self.view, self.used, 1)


class VhostUser:
    """One listening socket, and the connection that a guest makes to it.

    Parameters
    ----------
    path : Path
        Of the socket.
    on_memory : callable
        ``(base, size, file, offset)`` of each region, returns a memoryview; called once a region.
    on_kick : coroutine function
        Called with the number of the ring that the guest has filled.
    """

    RINGS = 2

    def __init__(self, path, on_memory, on_kick):
        self.path, self.on_memory, self.on_kick = path, on_memory, on_kick
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(path))
        self.listener.listen(1)
        self.connection = self.calls = None
        self.rings, self.regions = [Ring() for _ in range(self.RINGS)], []

    @property
    def sockets(self):
        """What to look at for :meth:`serve`."""
        return [self.connection or self.listener]

    def disconnect(self):
        """Forget the guest; it may connect again."""
        for one in (self.connection, self.calls):
            if one is not None:
                one.close()
        self.connection = self.calls = None
        self.rings, self.regions = [Ring() for _ in range(self.RINGS)], []

    def close(self):
        """Let everything go."""
        self.disconnect()
        self.listener.close()

    async def serve(self):
        """Handle the one message that waits; ``Disconnected`` at the end of the connection."""
        if self.connection is None:
            self.connection, _ = self.listener.accept()
            return
        request, flags, payload, files = self._receive()
        if request == Request.VRING_KICK:
            ring, _ = _STATE.unpack(payload)
            await self.on_kick(ring)
            answer = None
        else:
            answer = self._handle(request, payload, files)
        for file in files:
            os.close(file)
        if answer is None and flags & _NEED_REPLY:
            answer = _U64.pack(0)
        if answer is not None:
            self.connection.sendall(_HEADER.pack(request, _VERSION | _REPLY, len(answer)) + answer)

    def _receive(self):
        try:
            head, ancillary, _, _ = self.connection.recvmsg(_HEADER.size, 256)
        except ConnectionResetError:
            head = b""
        if not head:
            raise Disconnected(f"{self.path.name}: the guest is gone")
        files = array.array("i")
        for level, kind, octets in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                files.frombytes(octets[:len(octets) // files.itemsize * files.itemsize])
        head += receive(self.connection, _HEADER.size - len(head))
        request, flags, size = _HEADER.unpack(head)
        if size > _MOST:
            raise Disconnected(f"{self.path.name}: a message of {size} octets")
        return request, flags, receive(self.connection, size), list(files)

    def _handle(self, request, payload, files):
        """What is answered, if anything beyond success."""
        if request == Request.GET_FEATURES:
            return _U64.pack(_PROTOCOL_FEATURES | _VERSION_1)
        if request == Request.GET_PROTOCOL_FEATURES:
            return _U64.pack(_Protocol.REPLY_ACK | _Protocol.BACKEND_REQ
                             | _Protocol.INBAND_NOTIFICATIONS)
        if request == Request.SET_MEM_TABLE:
            count, _ = _STATE.unpack_from(payload)
            self.regions = []
            for n in range(count):
                base, size, _, offset = _REGION.unpack_from(payload, 8 + _REGION.size * n)
                self.regions.append((base, size, self.on_memory(base, size, files[n], offset)))
        elif request == Request.SET_VRING_NUM:
            ring, self.rings[ring].size = _STATE.unpack(payload)
        elif request == Request.SET_VRING_BASE:
            ring, self.rings[ring].seen = _STATE.unpack(payload)
        elif request == Request.SET_VRING_ADDR:
            ring, _, descriptors, used, available, _ = _RING.unpack(payload)
            base, view = self._region(descriptors)
            self.rings[ring].attach(view, base, descriptors, used, available)
        elif request == Request.GET_VRING_BASE:
            ring, _ = _STATE.unpack(payload)
            return _STATE.pack(ring, self.rings[ring].seen)
        elif request == Request.SET_BACKEND_REQ_FD:
            self.calls = socket.socket(fileno=os.dup(files[0]))
        elif request not in (Request.SET_FEATURES, Request.SET_OWNER, Request.SET_VRING_ENABLE,
                             Request.SET_PROTOCOL_FEATURES, Request.SET_VRING_KICK,
                             Request.SET_VRING_CALL, Request.SET_VRING_ERR):
            raise Disconnected(f"{self.path.name}: message {request} is not known")
        return None

    def _region(self, address):
        for base, size, view in self.regions:
            if base <= address < base + size:
                return base, view
        raise Disconnected(f"{self.path.name}: a ring at {address:#x} is outside of all memory")

    def call(self, ring):
        """Tell the guest that buffers of ``ring`` came back; the answer comes on ``calls``."""
        self.calls.sendall(_HEADER.pack(_BACKEND_VRING_CALL, _VERSION | _NEED_REPLY, _STATE.size)
                           + _STATE.pack(ring, 0))

    def called(self):
        """Take the answer to :meth:`call` from ``calls``."""
        _, _, size = _HEADER.unpack(receive(self.calls, _HEADER.size))
        receive(self.calls, size)


def receive(connection, count):
    """Exactly ``count`` octets."""
    octets = b""
    while len(octets) < count:
        piece = connection.recv(count - len(octets))
        if not piece:
            raise Disconnected("the guest is gone")
        octets += piece
    return octets
