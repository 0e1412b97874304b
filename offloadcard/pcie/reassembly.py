"""Completions are told apart and counted; each read ends exactly once."""

# Ref: pcie-5.0, 2.2.9 (Completion Rules), 2.3.2 (Completion Handling Rules), 2.8 (Completion
# Timeout Mechanism)

from amaranth import *
from amaranth.lib import enum, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.ports import READ_MAX
from ..rtl.tags import returned_tag
from . import spec
from .requester_records import (
    EPOCH_WIDTH,
    answer,
    launch,
    opening,
    piece,
    slot_record,
    slot_state,
    tag_record,
    tag_state,
)

__all__ = ["Tracker", "Event"]

SWEEP_CYCLES = 4  # between two looks for a timeout


class Event(enum.Enum, shape=2):
    """What stands in a stage of the tracker."""
    NONE    = 0
    BEAT    = 1  # of a completion
    REFUSED = 2  # the TLP was never sent: its function may not
    LOOK    = 3  # is it too late for this tag?


class Tracker(wiring.Component):
    """Records of tags and slots, and what completions and time do to them.

    A completion counts for a tag only if it bears the requester id that the tag was sent with, and
    only if its byte count and lower address are those of the octets that are next. A tag whose
    read was answered without it (too late, or malformed completions) is *quarantined*: it is not
    lent again before its last completion or twice the timeout.

    Timing
    ------
    One beat per cycle, never stalled. An answer leaves 4 cycles after the last beat that it needed.
    Refusals and looks use cycles between completions.

    Parameters
    ----------
    tags : int
        Number of tags and slots.
    function_id_width, tag_width, data_width : int
        As of the DMA ports.
    timeout_cycles : int
        Completion timeout; exact to a quarter, upwards.

    Members
    -------
    completions : ``In(stream.Signature(tlp_beat(...), always_ready=True))``
        From the link.
    openings, launches : ``In(stream.Signature(..., always_ready=True))``
        A request got its slot; a TLP was sent, or is about to be refused.
    refusals : ``In(stream.Signature(range(tags)))``
        Tags whose TLP was refused, after their launch.
    epoch : ``Out(EPOCH_WIDTH)``
        Coarse time, to be written in launches.
    pieces, answers : ``Out(stream.Signature(..., always_ready=True))``
        To the reassembly buffer.
    returns : ``Out(stream.Signature(returned_tag(...), always_ready=True))``
        Tags that come back without their slot.
    link_up : ``In(1)``
        Low ends all reads with an error and forgets all quarantines.
    timeout_disable : ``In(2)``
        Per port.
    unexpected, malformed, poisoned, aborted, timed_out : ``Out(1)``
        Something happened, for one cycle; ``event_function_id`` says to whom.
    event_function_id, event_header : ``Out``
        Function and completion header of what happened.
    """

    def __init__(self, *, tags, function_id_width, tag_width, data_width, timeout_cycles):
        if timeout_cycles < 8 * tags * SWEEP_CYCLES // 4:
            raise ValueError(f"`timeout_cycles` must be at least {2 * tags * SWEEP_CYCLES}, "
                             f"not {timeout_cycles!r}")
        self.tags = tags
        self.data_width = data_width
        self.timeout_cycles = timeout_cycles
        self.ids = {"tags": tags, "function_id_width": function_id_width}
        self.widths = {"function_id_width": function_id_width, "tag_width": tag_width,
                       "data_width": data_width}

        def pushed(shape):
            return stream.Signature(shape, always_ready=True)

        super().__init__({
            "completions":       In(pushed(spec.tlp_beat(data_width=data_width))),
            "openings":          In(pushed(opening(tags=tags, **self.widths))),
            "launches":          In(pushed(launch(**self.ids))),
            "refusals":          In(stream.Signature(range(tags))),
            "epoch":             Out(EPOCH_WIDTH),
            "pieces":            Out(pushed(piece(tags=tags, data_width=data_width))),
            "answers":           Out(pushed(answer(tags=tags, **self.widths))),
            "returns":           Out(pushed(returned_tag(count=tags))),
            "link_up":           In(1),
            "timeout_disable":   In(2),
            "unexpected":        Out(1),
            "malformed":         Out(1),
            "poisoned":          Out(1),
            "aborted":           Out(1),
            "timed_out":         Out(1),
            "event_function_id": Out(function_id_width),
            "event_header":      Out(128),
        })

    # What a broken tracker leaves out; proofs kill mutants by it.
    checks_owner    = True
    checks_count    = True
    keeps_quarantine = True
    keeps_slots      = True

    def elaborate(self, platform):
        m = Module()

        tags, tag = self.tags, range(self.tags)
        lanes     = self.data_width // 8

        def table(name, shape, *, sees_now=True):
            """A memory of rows by tag or slot: one writer, one reader that sees all writes."""
            m.submodules[name] = rows = memory.Memory(shape=shape, depth=tags, init=[])
            write = rows.write_port()
            return write, rows.read_port(transparent_for=(write,) if sees_now else ())

        # What came before the launch finds the old record, with which the tag is not out.
        record_w, record_r         = table("record", tag_record(**self.ids), sees_now=False)
        state_w, state_r           = table("state", tag_state())
        slot_w, slot_r             = table("slot", slot_record(**self.widths))
        slot_state_w, slot_state_r = table("slot_state", slot_state())
        m.d.comb += [
            record_w.addr.eq(self.launches.p.tag),
            record_w.data.eq(self.launches.p.record),
            record_w.en.eq(self.launches.valid),
            slot_w.addr.eq(self.openings.p.slot),
            slot_w.data.eq(self.openings.p.record),
            slot_w.en.eq(self.openings.valid),
        ]

        # Time: epochs of a quarter of the timeout, and a walk over the tags.
        quarter = (self.timeout_cycles + 3) // 4
        clock   = Signal(range(quarter))
        sweep   = Signal(range(SWEEP_CYCLES))
        suspect = Signal(tag)
        look    = Signal()
        with m.If(clock == quarter - 1):
            m.d.sync += [clock.eq(0), self.epoch.eq(self.epoch + 1)]
        with m.Else():
            m.d.sync += clock.eq(clock + 1)
        m.d.comb += look.eq(sweep == SWEEP_CYCLES - 1)

        # Stage 0: what comes next. Nothing comes between the beats of one completion, since its
        # record is written with its last beat only.
        kind0, tag0 = Signal(Event), Signal(tag)
        beat0       = Signal(spec.tlp_beat(data_width=self.data_width))
        inside      = Signal()
        arrives     = Signal()
        m.d.comb += arrives.eq(self.completions.valid & self.link_up)
        m.d.comb += self.refusals.ready.eq(~arrives & ~inside)
        m.d.sync += kind0.eq(Event.NONE)
        with m.If(arrives):
            m.d.sync += [kind0.eq(Event.BEAT), beat0.eq(self.completions.payload),
                         inside.eq(~self.completions.p.last)]
        with m.Elif(~inside & self.refusals.valid):
            m.d.sync += [kind0.eq(Event.REFUSED), tag0.eq(self.refusals.payload)]
        with m.Elif(~inside & look):
            m.d.sync += [kind0.eq(Event.LOOK), tag0.eq(suspect), sweep.eq(0),
                         suspect.eq(Mux(suspect == tags - 1, 0, suspect + 1))]
        with m.If(~self.link_up):
            m.d.sync += inside.eq(0)
        with m.If(~look):
            m.d.sync += sweep.eq(sweep + 1)

        header0 = Signal(spec.Completion)
        address = Signal(tag)
        m.d.comb += [
            header0.eq(beat0.header.as_value()),
            address.eq(Mux(kind0 == Event.BEAT, header0.tag, tag0)),
            record_r.addr.eq(address),
            state_r.addr.eq(address),
        ]
        # Payload octets: all of its DWs, but neither before the first nor after the last.
        room   = Signal(13)
        bytes0 = Signal(13)
        m.d.comb += [
            room.eq(Cat(C(0, 2), header0["length"], header0["length"] == 0)
                    - header0.lower_address[:2]),
            bytes0.eq(Cat(header0.byte_count, header0.byte_count == 0)),
        ]

        # Stage 1: record and state are here.
        kind    = Signal(Event)
        tag1    = Signal(tag)
        beat    = Signal.like(beat0)
        header  = Signal(spec.Completion)
        known   = Signal()                     # it is a completion for a tag that exists
        octets  = Signal(range(READ_MAX + 1))  # of this TLP, where it fits its read
        more    = Signal()                     # other completions follow
        sane    = Signal()
        success = Signal()
        junk    = Signal(2)                    # octets before the first
        span    = Signal(range(READ_MAX + 4))  # with them
        at      = Signal(range(READ_MAX + 8))  # octets of the payload before this beat
        m.d.sync += [
            kind.eq(kind0), tag1.eq(address), beat.eq(beat0),
            octets.eq(Mux(room < bytes0, room, bytes0)),
            more.eq(room < bytes0),
            success.eq(header0.status == spec.CplStatus.SC),
            junk.eq(header0.lower_address[:2]),
            span.eq(Mux(room < bytes0, room, bytes0) + header0.lower_address[:2]),
            sane.eq((bytes0 <= READ_MAX) & (room < bytes0 + 4)
                    & (header0.fmt == spec.Fmt.THREE_DW_DATA)),
            known.eq((header0["type"] == spec.Type.COMPLETION) & ~header0.tag_8 & ~header0.tag_9
                     & (header0.tag < tags)),
        ]
        with m.If(kind0 == Event.BEAT):
            m.d.sync += at.eq(Mux(beat0.first, 0, Mux(at >= READ_MAX, at, at + lanes)))
        m.d.comb += header.eq(beat.header.as_value())

        record, state = record_r.data, state_r.data
        busy, own, fits, framed = Signal(), Signal(), Signal(), Signal()
        past       = Signal(range(READ_MAX + 4))  # octets from this beat on
        next_lower = Signal(7)
        m.d.comb += [
            busy.eq(record.toggle ^ state.toggle),
            own.eq(busy & known & (header.requester_id == record.requester_id)),
            next_lower.eq(record.lower + state.done),
            fits.eq(sane & (header.byte_count == record.octets - state.done)
                    & (header.lower_address == next_lower)),
            past.eq(span - at),
            framed.eq((at < span) & (past <= lanes)),
        ]
        if not self.checks_owner:
            m.d.comb += own.eq(busy & known)
        if not self.checks_count:
            m.d.comb += fits.eq(sane)

        m.d.comb += [
            self.pieces.valid.eq((kind == Event.BEAT) & own & fits & ~state.quarantined
                                 & (at < span) & success),
            self.pieces.p.slot.eq(record.slot),
            self.pieces.p.position.eq(record.position + state.done + at - junk),
            self.pieces.p.data.eq(beat.data),
            self.pieces.p.low.eq(Mux(beat.first, junk, 0)),
            self.pieces.p.high.eq(Mux(past < lanes, past, lanes)),
        ]

        # The outcome: the tag's last completion (`final`), or its read ends without it (`parted`).
        final, parted, failed, progress = Signal(), Signal(), Signal(), Signal()
        age = Signal(EPOCH_WIDTH)
        may = Signal()  # its time may be up
        m.d.comb += [
            age.eq(self.epoch - record.epoch),
            may.eq(~self.timeout_disable.bit_select(record.port, 1)),
        ]
        notice = {name: Signal(name=f"notice_{name}") for name in
                  ("unexpected", "malformed", "poisoned", "aborted", "timed_out")}
        with m.Switch(kind):
            with m.Case(Event.BEAT):
                with m.If(~beat.last | beat.error):
                    pass
                with m.Elif(~own):
                    m.d.comb += notice["unexpected"].eq(1)
                with m.Elif(~success):
                    m.d.comb += [final.eq(1), failed.eq(1), notice["aborted"].eq(1)]
                with m.Elif(~fits | ~framed):
                    m.d.comb += [parted.eq(~state.quarantined), failed.eq(1),
                                 notice["malformed"].eq(1)]
                with m.Else():
                    m.d.comb += [progress.eq(1), final.eq(~more), failed.eq(header.ep),
                                 notice["poisoned"].eq(header.ep)]
            with m.Case(Event.REFUSED):
                m.d.comb += [final.eq(busy), failed.eq(1)]
            with m.Case(Event.LOOK):
                with m.If(busy & ~self.link_up):
                    m.d.comb += [final.eq(1), failed.eq(1)]
                with m.Elif(busy & state.quarantined & (age >= 9)):
                    m.d.comb += final.eq(1)
                with m.Elif(busy & ~state.quarantined & (age >= 5) & may):
                    m.d.comb += [parted.eq(1), failed.eq(1), notice["timed_out"].eq(1)]
        if not self.keeps_quarantine:
            with m.If(parted):
                m.d.comb += final.eq(1)

        m.d.comb += [
            state_w.addr.eq(tag1),
            state_w.en.eq(final | parted | progress),
            state_w.data.toggle.eq(Mux(final, record.toggle, state.toggle)),
            state_w.data.done.eq(Mux(final, 0, Mux(progress, state.done + octets, state.done))),
            state_w.data.error.eq(~final & (state.error | failed)),
            state_w.data.quarantined.eq(~final & (state.quarantined | parted)),
            slot_r.addr.eq(record.slot),
            slot_state_r.addr.eq(record.slot),
        ]

        # Stage 2: the slot hears of it.
        ends   = Signal()  # a TLP of the slot has ended
        bad    = Signal()
        hold   = Signal()
        leaves = Signal()  # the tag goes home without an answer …
        own1   = Signal()  # … though it is its slot's own: not before the slot was answered
        slot   = Signal(tag)
        tag2, port  = Signal(tag), Signal()
        index, last = Signal.like(record.index), Signal()
        m.d.sync += [
            ends.eq((final | parted) & ~state.quarantined),
            bad.eq(failed | state.error),
            hold.eq(parted & ~final & (record.slot == tag1)),
            slot.eq(record.slot), index.eq(record.index), last.eq(record.last),
            leaves.eq(final & (state.quarantined | (record.slot != tag1))),
            own1.eq(record.slot == tag1), tag2.eq(tag1), port.eq(record.port),
            self.event_function_id.eq(Mux(own | (kind == Event.LOOK), record.function_id, 0)),
            self.event_header.eq(header),
            *[getattr(self, name).eq(happened) for name, happened in notice.items()],
        ]
        seen, next_slot, whole = slot_state_r.data, Signal(slot_state()), Signal()
        waits = Signal()
        m.d.comb += waits.eq(leaves & own1 & seen.held & self.keeps_slots)
        m.d.sync += [self.returns.valid.eq(leaves & ~waits), self.returns.p.tag.eq(tag2),
                     self.returns.p.port.eq(port)]
        m.d.comb += [
            next_slot.ended.eq(seen.ended + 1),
            next_slot.total.eq(Mux(last, index + 1, seen.total)),
            next_slot.error.eq(seen.error | bad),
            next_slot.held.eq((seen.held | hold) & ~waits),
            whole.eq((next_slot.total != 0) & (next_slot.ended == next_slot.total)),
            slot_state_w.addr.eq(slot),
            slot_state_w.en.eq(ends | waits),
            slot_state_w.data.eq(Mux(whole, 0, next_slot)),
        ]
        with m.If(waits):
            m.d.comb += [next_slot.ended.eq(seen.ended), next_slot.total.eq(seen.total),
                         next_slot.error.eq(seen.error)]
        m.d.sync += [
            self.answers.valid.eq(ends & whole),
            self.answers.p.slot.eq(slot),
            self.answers.p.record.eq(slot_r.data),
            self.answers.p.error.eq(next_slot.error),
            self.answers.p.free.eq(~next_slot.held),
        ]

        return m
