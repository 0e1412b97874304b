"""A fetched entry becomes a command: understood, checked, and sent to who carries it out."""

# Ref: nvme-base-1.4c, 6 (NVM Command Set), 4.2 (fields common to all commands)

from amaranth import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from offloadcard.rtl.buffer import Buffer

from .layouts import command, fetched_sqe, result, volume_update
from .spec import BROADCAST_NSID, DSM_DEALLOCATE, VOLUMES, Opcode, Sqe, Status

__all__ = ["Dispatch"]


class Dispatch(wiring.Component):
    """Give each entry a slot, check an I/O command against its volume, and send it on.

    The command's row is told to all parts before its slot reaches one of them. What
    is refused goes straight to its completion.

    Timing
    ------
    One command in 5 cycles, 5 cycles after its entry. What a target answers reaches registers only:
    each has a place here.

    Parameters
    ----------
    function_id_width, qid_width, slot_width : int
        Widths in bits.
    mdts_octets : int
        Largest transfer of Read, Write and Compare.

    Members
    -------
    i : ``In(stream.Signature(fetched_sqe(...)))``
        Entries.
    slots : ``In(stream.Signature(slot_width))``
        Free slots; there is one for each entry.
    volumes : ``In(stream.Signature(volume_update(...), always_ready=True))``
        Rows of the volume table.
    commands : ``Out(stream.Signature(command(...), always_ready=True))``
        Every command, once.
    admin, read, write, ranges : ``Out(stream.Signature(slot_width))``
        Slots of commands to carry out; those of Compare go to ``write``.
    results : ``Out(stream.Signature(result(...)))``
        Commands that are over already.
    accepted, refused : ``Out(64)``
        I/O commands since power-up.
    """

    check_range = True  # a mutant leaves it out

    def __init__(self, *, function_id_width, qid_width, slot_width, mdts_octets):
        self.queue = {"function_id_width": function_id_width, "qid_width": qid_width}
        self.function_id_width = function_id_width
        self.mdts_octets = mdts_octets
        super().__init__({
            "i":        In(stream.Signature(fetched_sqe(**self.queue))),
            "slots":    In(stream.Signature(slot_width)),
            "volumes":  In(stream.Signature(
                volume_update(function_id_width=function_id_width), always_ready=True)),
            "commands": Out(stream.Signature(
                command(slot_width=slot_width, **self.queue), always_ready=True)),
            "admin":    Out(stream.Signature(slot_width)),
            "read":     Out(stream.Signature(slot_width)),
            "write":    Out(stream.Signature(slot_width)),
            "ranges":   Out(stream.Signature(slot_width)),
            "results":  Out(stream.Signature(result(slot_width=slot_width))),
            "accepted": Out(64),
            "refused":  Out(64),
        })

    def elaborate(self, platform):
        m = Module()

        m.submodules.table = table = memory.Memory(
            shape=self.volumes.p.row.shape(), depth=VOLUMES << self.function_id_width, init=[])
        table_w = table.write_port()
        table_r = table.read_port(transparent_for=(table_w,))
        m.d.comb += [
            table_w.addr.eq(Cat(self.volumes.p.volume, self.volumes.p.function_id)),
            table_w.data.eq(self.volumes.p.row),
            table_w.en.eq(self.volumes.valid),
        ]

        entry = Signal.like(self.i.payload)
        sqe   = Signal(Sqe)
        slot  = Signal.like(self.slots.payload)
        m.d.comb += sqe.eq(entry.sqe)

        # Read of the volume's row, while the entry comes to rest.
        nsid = Signal(32)
        m.d.comb += [
            nsid.eq(Sqe(self.i.p.sqe).nsid),
            table_r.addr.eq(Cat((nsid - 1)[:2], self.i.p.function_id)),
        ]
        row    = Signal.like(table_r.data)
        blocks = Signal(17)
        slba   = Signal(64)
        end    = Signal(65)
        octets = Signal(29)
        m.d.comb += [
            blocks.eq(sqe.cdw12[:16] + 1),
            slba.eq(Cat(sqe.cdw10, sqe.cdw11)),
        ]
        named   = Signal()  # NSID is one of a volume
        all_ns  = Signal()
        bad     = Signal()
        is_read, is_write, is_compare, is_zeroes, is_flush, is_ranges, advice = (
            Signal(name=name) for name in (
                "is_read", "is_write", "is_compare", "is_zeroes", "is_flush", "is_ranges",
                "advice"))
        too_long = Signal()
        outside  = Signal()
        offset   = Signal(52)
        status   = Signal(11)
        is_admin = Signal()
        over     = Signal()
        refused  = Signal()  # `status` is not 0

        places = {}
        for name in ("admin", "read", "write", "ranges", "results"):
            target = getattr(self, name)
            m.submodules[f"{name}_place"] = places[name] = place = Buffer(target.payload.shape())
            wiring.connect(m, place.o, wiring.flipped(target))

        # Counted in the cycle after the judgement, which may be the first of several in SEND.
        judged = Signal()
        m.d.sync += judged.eq(self.commands.valid)
        with m.If(judged & ~is_admin):
            with m.If(refused):
                m.d.sync += self.refused.eq(self.refused + 1)
            with m.Else():
                m.d.sync += self.accepted.eq(self.accepted + 1)

        with m.FSM(name="dispatch"):
            with m.State("TAKE"):
                m.d.sync += [entry.eq(self.i.payload), slot.eq(self.slots.payload)]
                with m.If(self.i.valid & self.slots.valid):
                    m.d.comb += [self.i.ready.eq(1), self.slots.ready.eq(1)]
                    m.next = "ROW"
            with m.State("ROW"):
                m.d.sync += [
                    row.eq(table_r.data),
                    end.eq(slba + blocks),
                    is_admin.eq((entry.qid == 0) | entry.qid.all()),
                    named.eq((sqe.nsid != 0) & (sqe.nsid <= VOLUMES) & table_r.data.valid),
                    all_ns.eq(sqe.nsid == BROADCAST_NSID),
                    bad.eq((sqe.fuse != 0) | (sqe.psdt != 0)),
                    is_read.eq(sqe.opcode == Opcode.READ),
                    is_write.eq(sqe.opcode == Opcode.WRITE),
                    is_compare.eq(sqe.opcode == Opcode.COMPARE),
                    is_zeroes.eq(sqe.opcode == Opcode.WRITE_ZEROES),
                    is_flush.eq(sqe.opcode == Opcode.FLUSH),
                    is_ranges.eq(sqe.opcode == Opcode.DATASET_MANAGEMENT),
                    # Other attributes are hints about future use: taken note of, no more.
                    advice.eq((sqe.opcode == Opcode.DATASET_MANAGEMENT)
                              & ((sqe.cdw11 & DSM_DEALLOCATE) == 0)),
                ]
                m.next = "RANGE"
            with m.State("RANGE"):
                m.d.sync += [
                    outside.eq((end > row.blocks) & int(self.check_range)),
                    octets.eq(Mux(is_ranges, 512,
                                  Mux(row.blocks_4096, blocks << 12, blocks << 9))),
                    offset.eq(Mux(row.blocks_4096, slba[:40] << 12, slba[:40] << 9)),
                ]
                m.next = "JUDGE"
            with m.State("JUDGE"):
                # Two cycles before its slot leaves: all but the status is known.
                m.d.comb += self.commands.valid.eq(1)
                m.d.comb += too_long.eq((octets > self.mdts_octets) & ~is_zeroes)
                # The most general objection stands last and wins.
                m.d.sync += [status.eq(Status.SUCCESS), refused.eq(0)]
                with m.If(~is_flush):
                    with m.If((is_write | is_zeroes | is_ranges) & row.read_only):
                        m.d.sync += [status.eq(Status.WRITE_TO_READ_ONLY), refused.eq(1)]
                    with m.If(outside & ~is_ranges):
                        m.d.sync += [status.eq(Status.LBA_OUT_OF_RANGE), refused.eq(1)]
                    with m.If(too_long):
                        m.d.sync += [status.eq(Status.INVALID_FIELD), refused.eq(1)]
                with m.If(~named & ~(is_flush & all_ns)):
                    m.d.sync += [status.eq(Status.INVALID_NAMESPACE), refused.eq(1)]
                with m.If(bad):
                    m.d.sync += [status.eq(Status.INVALID_FIELD), refused.eq(1)]
                with m.If(~(is_read | is_write | is_compare | is_zeroes | is_flush
                            | is_ranges)):
                    m.d.sync += [status.eq(Status.INVALID_OPCODE), refused.eq(1)]
                m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += over.eq(refused | is_flush | advice)
                with m.If(is_admin):
                    m.d.comb += places["admin"].i.valid.eq(1)
                with m.Elif(over):
                    m.d.comb += places["results"].i.valid.eq(1)
                with m.Elif(is_read):
                    m.d.comb += places["read"].i.valid.eq(1)
                with m.Elif(is_ranges):
                    m.d.comb += places["ranges"].i.valid.eq(1)
                with m.Else():
                    m.d.comb += places["write"].i.valid.eq(1)
                with m.If(Cat(p.i.valid & p.i.ready for p in places.values()).any()):
                    m.next = "TAKE"

        p = self.commands.p
        m.d.comb += [
            *(place.i.payload.eq(slot) for name, place in places.items() if name != "results"),
            places["results"].i.p.slot.eq(slot),
            places["results"].i.p.status.eq(status),
            p.slot.eq(slot),
            *(p[name].eq(entry[name]) for name in ("function_id", "qid", "cqid")),
            *(p[name].eq(getattr(sqe, name)) for name in (
                "cid", "opcode", "nsid", "prp1", "prp2", "cdw10", "cdw11", "cdw12", "cdw13")),
            p.bad.eq(bad), p.volume.eq((sqe.nsid - 1)[:2]), p.zeroes.eq(is_zeroes),
            p.compare.eq(is_compare), p.offset.eq(offset), p.octets.eq(octets),
            p.blocks_4096.eq(row.blocks_4096), p.blocks.eq(row.blocks),
        ]

        return m
