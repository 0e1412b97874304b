"""An NVMe controller, untimed: registers, admin commands and volumes as a right one has them."""

# Ref: nvme-base-1.4c, 3.1 (Register Definition), 5 (Admin Command Set), 6 (NVM Command Set)

from offloadcard.nvme_emul import spec
from offloadcard.nvme_emul.spec_pages import IdentifyController, IdentifyNamespace
from offloadcard.rtl.octets import pack
from sim.host.nvme_queue import SQE
from sim.host.structure import Structure

from .pci import DmaError

__all__ = ["NvmeModel"]

CQE = Structure(spec.Cqe)
PAGE, LBA = 4096, 512
CAP = 0x20 << 24 | 1 << 37 | 1 << 16  # TO 16 s, NVM command set, contiguous queues; + MQES
MDTS = 5
STATUS = spec.Status


class NvmeModel:
    """Answers BAR 0 of a function.

    Parameters
    ----------
    volumes : dict
        NSID -> bytearray, a whole number of 512-octet blocks.
    """

    vendor_bodies = ()

    def __init__(self, volumes, *, entries=1024, io_queues=16, serial="MODEL"):
        self.volumes, self.entries, self.io_queues = volumes, entries, io_queues
        self.serial, self.function = serial, None
        self.reset()

    def attach(self, function):
        """Learn whose controller this is."""
        self.function = function

    def reset(self):
        """Everything as after power-up."""
        self.registers = bytearray(0x1000)
        self._set("CAP", CAP | self.entries - 1)
        self._set("VS", 0x0001_0400)
        self.sqs, self.cqs = {}, {}

    def _set(self, name, value):
        register = spec.PROPERTIES[name]
        self.registers[register.offset:register.offset + register.octets] = \
            value.to_bytes(register.octets, "little")

    def _get(self, name):
        register = spec.PROPERTIES[name]
        return int.from_bytes(
            self.registers[register.offset:register.offset + register.octets], "little")

    def read(self, offset, size):
        """A property."""
        return int.from_bytes(self.registers[offset:offset + size].ljust(size, b"\0"), "little")

    def write(self, offset, size, value):
        """Write a property or ring a doorbell."""
        if offset >= spec.DOORBELL_BASE:
            self._doorbell((offset - spec.DOORBELL_BASE) // 4, value)
            return
        for register in spec.PROPERTIES:
            if (register.offset <= offset < register.offset + register.octets
                    and register.access != "ro"):
                self.registers[offset:offset + size] = value.to_bytes(size, "little")
        if offset == spec.PROPERTIES["CC"].offset:
            self._control(value)

    def _control(self, value):
        csts = self._get("CSTS")
        if value & 1 and not csts & 1:
            aqa = self._get("AQA")
            self.cqs = {0: {"base": self._get("ACQ"), "size": (aqa >> 16 & 0xFFF) + 1,
                            "tail": 0, "head": 0, "phase": 1, "vector": 0, "users": 1}}
            self.sqs = {0: {"base": self._get("ASQ"), "size": (aqa & 0xFFF) + 1, "head": 0,
                            "tail": 0, "cq": 0}}
            csts |= 1
        elif not value & 1:
            self.sqs, self.cqs, csts = {}, {}, 0
        if value >> 14 & 3:
            csts = csts & ~0xC | 2 << 2
        self._set("CSTS", csts)

    def _doorbell(self, index, value):
        queue, is_head = divmod(index, 2)
        if is_head and queue in self.cqs and value < self.cqs[queue]["size"]:
            self.cqs[queue]["head"] = value
            for number, sq in list(self.sqs.items()):
                if sq["cq"] == queue:
                    self._run(number)
        elif not is_head and queue in self.sqs and value < self.sqs[queue]["size"]:
            self.sqs[queue]["tail"] = value
            self._run(queue)

    def _run(self, number):
        while number in self.sqs and self._get("CSTS") & 3 == 1:
            sq = self.sqs[number]
            cq = self.cqs[sq["cq"]]
            if sq["head"] == sq["tail"] or (cq["tail"] + 1) % cq["size"] == cq["head"]:
                return
            try:
                sqe = SQE.unpack(self.function.dma_read(sq["base"] + SQE.size * sq["head"],
                                                        SQE.size))
                sq["head"] = (sq["head"] + 1) % sq["size"]
                status, dw0 = self._execute(number, sqe)
                if status is not None:
                    self._complete(sq, cq, number, sqe, int(status), dw0)
            except DmaError:
                self._set("CSTS", self._get("CSTS") | 2)  # CFS

    def _complete(self, sq, cq, number, sqe, status, dw0):
        self.function.dma_write(cq["base"] + CQE.size * cq["tail"], CQE.pack(
            dw0=dw0, sqhd=sq["head"], sqid=number, cid=sqe["cid"], phase=cq["phase"],
            status=status))
        cq["tail"] += 1
        if cq["tail"] == cq["size"]:
            cq["tail"], cq["phase"] = 0, cq["phase"] ^ 1
        if cq["vector"] is not None:
            self.function.interrupt(cq["vector"])

    def _execute(self, number, sqe):
        words = [sqe[f"cdw{n}"] for n in range(10, 16)]
        if sqe["fuse"] or sqe["psdt"]:
            return STATUS.INVALID_FIELD, 0
        try:
            return (self._admin if number == 0 else self._io)(sqe, words)
        except DmaError:
            return STATUS.DATA_TRANSFER_ERROR, 0

    # Admin commands.

    def _admin(self, sqe, words):
        opcode, code = sqe["opcode"], spec.AdminOpcode
        if opcode == code.IDENTIFY:
            return self._identify(sqe, words)
        if opcode == code.SET_FEATURES and words[0] & 0xFF == 7:
            return STATUS.SUCCESS, self.io_queues - 1 << 16 | self.io_queues - 1
        if opcode == code.CREATE_CQ:
            return self._create_cq(sqe, words), 0
        if opcode == code.CREATE_SQ:
            return self._create_sq(sqe, words), 0
        if opcode in (code.DELETE_SQ, code.DELETE_CQ):
            return self._delete(words[0] & 0xFFFF, opcode == code.DELETE_SQ), 0
        if opcode == code.ASYNC_EVENT:
            return None, 0
        return STATUS.INVALID_OPCODE, 0

    def _identify(self, sqe, words):
        cns, nsid = words[0] & 0xFF, sqe["nsid"]
        if cns == spec.IdentifyCns.CONTROLLER:
            page = pack(IdentifyController, {
                "sn": list(self.serial.ljust(20).encode()), "mdts": MDTS, "ver": spec.VERSION,
                "sqes": 0x66, "cqes": 0x44, "nn": max(self.volumes, default=0)})
        elif cns == spec.IdentifyCns.ACTIVE_NAMESPACES:
            listed = sorted(n for n in self.volumes if n > nsid)
            page = b"".join(n.to_bytes(4, "little") for n in listed).ljust(PAGE, b"\0")
        elif cns == spec.IdentifyCns.NAMESPACE:
            if nsid == 0 or nsid > max(self.volumes, default=0):
                return STATUS.INVALID_NAMESPACE, 0
            blocks = len(self.volumes.get(nsid, b"")) // LBA
            page = pack(IdentifyNamespace, {"nsze": blocks, "ncap": blocks, "nuse": blocks,
                                            "lbaf": [{"lbads": 9}]})
        else:
            return STATUS.INVALID_FIELD, 0
        self._scatter(sqe, page)
        return STATUS.SUCCESS, 0

    def _create_cq(self, sqe, words):
        number, size = words[0] & 0xFFFF, (words[0] >> 16) + 1
        if not 0 < number <= self.io_queues or number in self.cqs:
            return STATUS.INVALID_QUEUE_ID
        if size < 2 or size > self.entries:
            return STATUS.INVALID_QUEUE_SIZE
        if not words[1] & 1 or sqe["prp1"] % PAGE:
            return STATUS.INVALID_FIELD
        vector = words[1] >> 16 if words[1] & 2 else None
        if vector is not None and vector >= self.function.vectors:
            return STATUS.INVALID_INTERRUPT_VECTOR
        self.cqs[number] = {"base": sqe["prp1"], "size": size, "tail": 0, "head": 0, "phase": 1,
                            "vector": vector}
        return STATUS.SUCCESS

    def _create_sq(self, sqe, words):
        number, size, cq = words[0] & 0xFFFF, (words[0] >> 16) + 1, words[1] >> 16
        if cq == 0 or cq > self.io_queues:
            return STATUS.INVALID_QUEUE_ID
        if cq not in self.cqs:
            return STATUS.COMPLETION_QUEUE_INVALID
        if not 0 < number <= self.io_queues or number in self.sqs:
            return STATUS.INVALID_QUEUE_ID
        if size < 2 or size > self.entries:
            return STATUS.INVALID_QUEUE_SIZE
        if not words[1] & 1 or sqe["prp1"] % PAGE:
            return STATUS.INVALID_FIELD
        self.sqs[number] = {"base": sqe["prp1"], "size": size, "head": 0, "tail": 0, "cq": cq}
        return STATUS.SUCCESS

    def _delete(self, number, is_sq):
        queues = self.sqs if is_sq else self.cqs
        if number == 0 or number not in queues:
            return STATUS.INVALID_QUEUE_ID
        if not is_sq and any(sq["cq"] == number for sq in self.sqs.values()):
            return STATUS.INVALID_QUEUE_DELETION
        del queues[number]
        return STATUS.SUCCESS

    # I/O commands.

    def _io(self, sqe, words):
        opcode, code = sqe["opcode"], spec.Opcode
        if opcode not in (code.READ, code.WRITE, code.FLUSH, code.WRITE_ZEROES):
            return STATUS.INVALID_OPCODE, 0
        volume = self.volumes.get(sqe["nsid"])
        if volume is None:
            return STATUS.INVALID_NAMESPACE, 0
        if opcode == code.FLUSH:
            return STATUS.SUCCESS, 0
        start = (words[0] | words[1] << 32) * LBA
        length = ((words[2] & 0xFFFF) + 1) * LBA
        if opcode != code.WRITE_ZEROES and length > PAGE << MDTS:
            return STATUS.INVALID_FIELD, 0
        if start + length > len(volume):
            return STATUS.LBA_OUT_OF_RANGE, 0
        if opcode == code.WRITE:
            volume[start:start + length] = b"".join(
                self.function.dma_read(a, n) for a, n in self._pieces(sqe, length))
        elif opcode == code.WRITE_ZEROES:
            volume[start:start + length] = bytes(length)
        else:
            self._scatter(sqe, bytes(volume[start:start + length]))
        return STATUS.SUCCESS, 0

    def _pieces(self, sqe, length):
        """(address, octets) of a command's data, by its PRPs."""
        address, first = sqe["prp1"], PAGE - sqe["prp1"] % PAGE
        yield address, min(first, length)
        left = length - first
        entries = self._entries(sqe["prp2"], (left + PAGE - 1) // PAGE)
        while left > 0:
            yield next(entries), min(PAGE, left)
            left -= PAGE

    def _entries(self, prp2, count):
        if count == 1:
            yield prp2
            return
        while count > 0:
            here = (PAGE - prp2 % PAGE) // 8
            take = count if count <= here else here - 1
            octets = self.function.dma_read(prp2, 8 * (take if count <= here else here))
            entries = [int.from_bytes(octets[n:n + 8], "little")
                       for n in range(0, len(octets), 8)]
            yield from entries[:take]
            count, prp2 = count - take, entries[-1]

    def _scatter(self, sqe, octets):
        for address, length in self._pieces(sqe, len(octets)):
            self.function.dma_write(address, octets[:length])
            octets = octets[length:]
