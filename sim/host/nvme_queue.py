"""A submission queue with its completion queue, driver side: slots, phases, doorbells."""

# Ref: nvme-base-1.4c, 4.1 (Submission Queue & Completion Queue Definition)

from typing import NamedTuple

from offloadcard.nvme_emul import spec

from .structure import Structure

__all__ = ["Completion", "QueuePair", "SQE"]

SQE, CQE = Structure(spec.Sqe), Structure(spec.Cqe)


class Completion(NamedTuple):
    """What a controller says of a command; ``status`` is SCT << 8 | SC."""
    token:  object
    status: int
    dw0:    int
    more:   bool
    dnr:    bool


class QueuePair:
    """One submission and one completion queue of equal size.

    Parameters
    ----------
    device : sim.host.nvme_driver.NvmeDriver
        Whose memory, doorbells and requester id are used.
    number, entries : int
        Queue identifier of both; entries of both.
    vector : int or None
        MSI-X vector; None polls.
    """

    def __init__(self, device, number, entries, *, vector=None):
        self.device, self.number, self.entries, self.vector = device, number, entries, vector
        lend = lambda size, purpose: device.memory.alloc(
            size, align=4096, owner=device.function.rid, purpose=purpose)
        self.sq = lend(SQE.size * entries, "sq")
        self.cq = lend(CQE.size * entries, "cq")
        self.tail = self.head = self.sq_head = 0
        self.phase, self.pending = 1, {}
        self.cids = list(range(entries))[::-1]

    def release(self):
        """Give both rings back; only when the controller has let go of them."""
        self.sq.free()
        self.cq.free()

    @property
    def room(self):
        """Commands that may still be submitted; one slot of a ring always stays empty."""
        return min(self.entries - 1 - len(self.pending), len(self.cids))

    def put(self, token=None, **fields):
        """Write a command at the tail; it counts when :meth:`ring` has been called. Its cid."""
        if not self.room:
            raise ValueError(f"queue {self.number} must have room for a command")
        cid = self.cids.pop()
        self.put_raw(SQE.pack(cid=cid, **fields))
        self.pending[cid] = token
        return cid

    def put_raw(self, octets):
        """64 octets at the tail, whatever they are."""
        self.sq.write(SQE.size * self.tail, octets)
        self.tail = (self.tail + 1) % self.entries

    async def ring(self):
        """Write the submission queue tail doorbell."""
        await self.device.doorbell(2 * self.number, self.tail)

    def peek(self):
        """The next completion's fields, or None where its phase is old."""
        entry = CQE.unpack(self.cq.read(CQE.size * self.head, CQE.size))
        return entry if entry["phase"] == self.phase else None

    async def take(self):
        """All completions that are there; the head doorbell is written once."""
        done = []
        while (entry := self.peek()) is not None:
            self.head += 1
            if self.head == self.entries:
                self.head, self.phase = 0, self.phase ^ 1
            self.sq_head = entry["sqhd"]
            cid = entry["cid"]
            if cid not in self.pending:
                raise ValueError(f"`cid` must be a command in flight, not {cid}")
            token = self.pending.pop(cid)
            self.cids.append(cid)
            done.append(Completion(token, entry["status"], entry["dw0"],
                                   bool(entry["more"]), bool(entry["dnr"])))
        if done:
            await self.device.doorbell(2 * self.number + 1, self.head)
        return done
