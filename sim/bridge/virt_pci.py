"""User-Mode Linux's own PCI bus: configuration and register accesses as messages on virtqueues.

Queue 0 carries the guest's commands, queue 1 our interrupts. A read is answered inside its
notification: the guest stands still until the card's completion has come.
"""

# Ref: linux-6.1, include/uapi/linux/virtio_pcidev.h

import struct
from enum import IntEnum

from .vhost_user import VhostUser

__all__ = ["Op", "VirtPci"]

_MESSAGE = struct.Struct("<BBHIQ")  # op, bar, reserved, size, address
_COMMANDS, _INTERRUPTS = 0, 1
# Buffers of posted writes are kept, and given back many at once: of those that it finds before
# the answer to a read, the guest's driver takes one a microsecond.
_RECLAIM = 64


class Op(IntEnum):
    """Kinds of messages."""
    CFG_READ    = 1
    CFG_WRITE   = 2
    MMIO_READ   = 3
    MMIO_WRITE  = 4
    MMIO_MEMSET = 5
    INT         = 6
    MSI         = 7
    PME         = 8


class VirtPci:
    """One slot of the guest's bus: a socket, and the port of the function behind it.

    Parameters
    ----------
    path : Path
    port : sim.bridge.attachment.Port
    on_memory : callable
        As for :class:`~sim.bridge.vhost_user.VhostUser`.
    note : callable
        Called with the numbers that describe each access, for the trace; accesses take
        ``await note(...)``, which may let time pass.
    written : coroutine function
        ``await written(port, bar, address)`` after each register write, before the guest goes on.
    asked : callable
        Called when all commands of a notification were carried out, before the guest goes on.
    """

    def __init__(self, path, port, on_memory, note, written, asked):
        self.port, self.note, self.written, self.asked = port, note, written, asked
        self.socket = VhostUser(path, on_memory, self._kicked)
        self.messages, self.posted = [], []

    async def _kicked(self, ring):
        if ring != _COMMANDS:  # the guest gave buffers back: they are looked at when needed
            self.socket.rings[ring].mute()
            return
        commands = self.socket.rings[_COMMANDS]
        while (taken := commands.take()) is not None:
            head, pieces = taken
            length = await self._command(commands.view, pieces)
            if length:
                commands.give(head, length)
            else:
                self.posted.append(head)
        self.asked()

    async def _command(self, view, pieces):
        """Do one access; how many octets were written to the guest's buffer."""
        sent = b"".join(bytes(view[at:at + n]) for at, n, write in pieces if not write)
        op, bar, _, size, address = _MESSAGE.unpack_from(sent)
        octets = sent[_MESSAGE.size:_MESSAGE.size + size]
        await self.note(op, bar, size, address, octets)
        if op in (Op.CFG_READ, Op.MMIO_READ):
            place, room, _ = next(piece for piece in pieces if piece[2])
            if op == Op.CFG_READ:
                found = (await self.port.config_read(address, size)).to_bytes(size, "little")
            else:
                found = await self.port.bar_read(bar, address, size)
            found = found[:room]
            view[place:place + len(found)] = found
            return len(found)
        if op == Op.CFG_WRITE:
            await self.port.config_write(address, size, int.from_bytes(octets, "little"))
        elif op == Op.MMIO_WRITE:
            await self.port.bar_write(bar, address, octets)
            await self.written(self.port, bar, address)
        elif op == Op.MMIO_MEMSET:
            await self.port.bar_write(bar, address, octets[:1] * size)
        return 0

    @property
    def owes(self):
        """Is there something to tell the guest, and has it room to be told?"""
        return len(self.posted) >= _RECLAIM or bool(self.messages) and self._room

    @property
    def _room(self):
        ring = self.socket.rings[_INTERRUPTS]
        return ring.ready and ring.waiting

    def message(self, address, data):
        """Note an interrupt."""
        self.messages.append(_MESSAGE.pack(Op.MSI, 0, 0, 4, address)
                             + data.to_bytes(4, "little"))

    def fill(self):
        """Put what the guest is owed into its buffers; the rings to call."""
        if len(self.posted) >= _RECLAIM:
            for head in self.posted:
                self.socket.rings[_COMMANDS].give(head, 0)
            self.posted.clear()
            yield _COMMANDS
        ring, filled = self.socket.rings[_INTERRUPTS], False
        while self.messages and (taken := ring.take()) is not None:
            head, pieces = taken
            place, room, _ = pieces[0]
            octets = self.messages.pop(0)[:room]
            ring.view[place:place + len(octets)] = octets
            ring.give(head, len(octets))
            filled = True
        if filled:
            yield _INTERRUPTS
