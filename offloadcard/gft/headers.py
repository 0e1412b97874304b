"""The header pipeline: tokens of both lanes in, one a cycle; jobs for buffer and egress out."""

from amaranth import *
from amaranth.hdl import Assert
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Buffer, Queue, Skid
from ..rtl.counters import Counters
from ..rtl.delay import Delay
from . import allowances, decide, events, finish, flow_table, order, transpose, ufid
from .decide import KIND_EXCEPTION, KIND_FORWARD
from .records import read_job, token, write_job
from .spec import DESCRIPTOR_OCTETS, Event, Reason

__all__ = ["Headers", "LATENCY"]

# The cycles after a token's issue at which each station begins.
FOUND  = ufid.LATENCY
RESULT = FOUND + flow_table.LATENCY
WANT   = RESULT + decide.LATENCY
ORDER  = WANT + order.LATENCY
METER  = ORDER + allowances.LATENCY
LATENCY = METER + finish.LATENCY


class Headers(wiring.Component):
    """Parse, look up, decide, meter, transpose: everything but the octets of the payload.

    Nothing in here ever stalls. A lane's tokens enter while it has credits, of which each packet
    gives one back when it has left; so the queues of jobs at the end never overflow. Packets of a
    lane keep their order.

    Timing
    ------
    Latency 23 cycles from token to job; one token per cycle, of either lane.

    Parameters
    ----------
    config : CardConfig
        The card.
    cell_width : int
        Bits of a handle.
    slot_width : int
        log2 of the order slots.
    room : int
        Beats of the exception queue.
    credits : int
        Packets of a lane between token and last beat.

    Members
    -------
    tokens : ``In(stream.Signature(token(...))).array(2)``
        Of the guests' lane and of the wire's.
    reads, writes : ``Out(stream.Signature(read_job(...))).array(2)`` and of ``write_job``
        Jobs of each lane.
    done, dropped : ``In(1).array(2)``
        A packet of the lane has left, or was read away.
    left : ``In(1)``
        A beat has left the exception queue.
    commands, command_room, completions, completed, seed, load, ready
        See :class:`~.flow_table.FlowTable`.
    events : ``Out(stream.Signature(Event))``
        Events, of which ``events_waiting`` wait; ``event_lost`` when there was no room.
    epoch, limit : ``In(16)``
        Epoch of now; exceptions that a function may have open.
    generation …, template …, meter … : writes of those tables
    flow, flow_shown, reason, reason_shown, exceeded, exceeded_shown : rows of counters to show
    """

    def __init__(self, config, *, cell_width, slot_width, room, credits):
        self.config     = config
        self.cell_width = cell_width
        self.slot_width = slot_width
        self.room       = room
        self.credits    = credits
        self.token = token(cell_width=cell_width)
        self.table = flow_table.FlowTable(flows=config.gft_flows)
        self.want  = decide.Want(
            functions=config.functions, function_id_width=config.function_id_width,
            slot_width=slot_width, row_width=self.table.row_width,
            hash_width=self.table.hash_width)
        self.transpose = transpose.Transpose()
        self.allowances = allowances.Allowances(function_id_width=config.function_id_width,
                                                slot_width=slot_width)
        self.flow_counters = Counters(row_width=self.table.row_width, widths=(48, 64),
                                      stamp_width=16, shows=2)
        self.reason_counters = Counters(row_width=6, widths=(64,))
        table = self.table.signature.members
        transposition = self.transpose.signature.members
        meters = self.allowances.signature.members
        super().__init__({
            "tokens":  In(stream.Signature(self.token)).array(2),
            "reads":   Out(stream.Signature(read_job(
                cell_width=cell_width, data_width=config.data_width))).array(2),
            "writes":  Out(stream.Signature(write_job(
                data_width=config.data_width,
                function_id_width=config.function_id_width))).array(2),
            "done":    In(1).array(2),
            "dropped": In(1).array(2),
            "left":    In(1),
            "events":  Out(stream.Signature(Event)),
            "event_lost": Out(1),
            "events_waiting": Out(8),
            "epoch":   In(16),
            "limit":   In(16),
            **{name: table[name] for name in (
                "commands", "command_room", "completions", "completed", "seed", "load", "ready")},
            **{name: self.want.signature.members[name]
               for name in ("generation", "generation_write")},
            **{name: transposition[name] for name in ("template_row", "template",
                                                      "template_write")},
            **{f"meter_{name}": meters[member] for name, member in (
                ("limits", "limits"), ("row", "write_row"), ("write", "write"))},
            "flow":         In(self.table.row_width),
            "flow_shown":   Out(self.flow_counters.shape),
            "reason":       In(6),
            "reason_shown": Out(self.reason_counters.shape),
            **{name: meters[name] for name in ("exceeded", "exceeded_shown")},
        })

    def elaborate(self, platform):
        m = Module()
        self._delays = 0
        for name in ("table", "want", "transpose", "flow_counters", "reason_counters",
                     "allowances"):
            m.submodules[name] = getattr(self, name)
        self._issue(m)
        self._look(m)
        self._decide(m)
        self._meter(m)
        self._count(m)
        self._finish(m)
        return m

    def _late(self, m, value, shape, cycles):
        """``value``, ``cycles`` cycles later."""
        self._delays += 1
        delay = Delay(shape, cycles=cycles)
        m.submodules[f"delay_{self._delays}"] = delay
        m.d.comb += Value.cast(delay.i).eq(Value.cast(value))
        return delay.o

    def _issue(self, m):
        """Cycle 0: one token of the two lanes, in turn, unless the engine asked for a hole."""
        hole = Signal()
        turn = Signal()
        credits = [Signal(range(self.credits + 1), init=self.credits, name=f"credits_{n}")
                   for n in range(2)]
        some  = [Signal(init=1, name=f"some_{n}") for n in range(2)]  # credits are left
        may   = [Signal(name=f"may_{n}") for n in range(2)]
        takes = [Signal(name=f"takes_{n}") for n in range(2)]
        self.token_0 = Signal(self.token)
        self.valid_0, self.wire_0 = Signal(), Signal()
        m.d.comb += [
            *(may[n].eq(self.tokens[n].valid & some[n]) for n in range(2)),
            takes[0].eq(~hole & may[0] & ~(may[1] & turn)),
            takes[1].eq(~hole & may[1] & ~(may[0] & ~turn)),
            *(self.tokens[n].ready.eq(takes[n]) for n in range(2)),
        ]
        m.d.sync += [
            hole.eq(self.table.hole),
            self.token_0.eq(Mux(takes[1], self.tokens[1].payload, self.tokens[0].payload)),
            self.valid_0.eq(takes[0] | takes[1]), self.wire_0.eq(takes[1]),
        ]
        for n in range(2):
            back = Signal(2, name=f"back_{n}")
            left = Signal.like(credits[n], name=f"left_{n}")
            m.d.comb += left.eq(credits[n] - takes[n] + back)
            m.d.sync += [back.eq(self.done[n] + self.dropped[n]), credits[n].eq(left),
                         some[n].eq(left != 0)]
        with m.If(takes[0]):
            m.d.sync += turn.eq(1)
        with m.Elif(takes[1]):
            m.d.sync += turn.eq(0)

    def _look(self, m):
        """Cycles 0 to 14: parse, key, look up."""
        m.submodules.ufid = parser = ufid.Ufid()
        t = self.token_0
        m.d.comb += [
            parser.i.window.eq(t.window), parser.i.length.eq(t.side.length),
            parser.i.wire.eq(self.wire_0),
            parser.i.source.eq(Mux(self.wire_0, 0, t.side.function_id)),
        ]
        self.rest_shape = data.StructLayout({
            "valid": 1, "wire": 1, "side": t.side.shape(), "handle": self.cell_width, "cells": 8,
            "fault": 5,
        })
        rest = Signal(self.rest_shape)
        m.d.comb += [
            rest.valid.eq(self.valid_0), rest.wire.eq(self.wire_0), rest.side.eq(t.side),
            rest.handle.eq(t.handle), rest.cells.eq(t.cells), rest.fault.eq(t.fault),
        ]
        rest_8 = self._late(m, rest, self.rest_shape, FOUND)
        table = self.table
        m.d.comb += [table.key.eq(parser.o.key), table.valid.eq(rest_8.valid)]
        self.rest_13  = self._late(m, rest_8, self.rest_shape, RESULT - FOUND - 1)
        self.rest_14  = self._late(m, self.rest_13, self.rest_shape, 1)
        self.found_14 = self._late(m, parser.o, ufid.found(), RESULT - FOUND)
        wiring.connect(m, wiring.flipped(self.commands), table.commands)
        wiring.connect(m, table.completions, wiring.flipped(self.completions))
        m.d.comb += [
            self.command_room.eq(table.command_room), self.completed.eq(table.completed),
            self.ready.eq(table.ready),
            table.seed.eq(self.seed), table.load.eq(self.load),
        ]

    def _decide(self, m):
        """Cycles 14 to 18: want, order; beside them the transposition."""
        rest, want, edit, result = self.rest_14, self.want, self.transpose, self.table.o
        m.submodules.order = self.order = queue = order.Order(
            slot_width=self.slot_width, function_id_width=self.config.function_id_width,
            room=self.room, budget=self.config.gft_order_budget)
        raw = Signal()
        m.d.comb += [
            want.i.valid.eq(rest.valid), want.i.wire.eq(rest.wire), want.i.side.eq(rest.side),
            want.i.fault.eq(rest.fault), want.i.found.eq(self.found_14), want.i.result.eq(result),
            want.generation.eq(self.generation), want.generation_write.eq(self.generation_write),
            # A tunnel that is not popped, and what the slow path sends, stay as they are.
            raw.eq(rest.side.injected & (rest.side.verdict != 0)
                   | self.found_14.key.tunnel & ~result.entry.pop),
            edit.found.eq(self.found_14), edit.entry.eq(result.entry), edit.raw.eq(raw),
            edit.entropy.eq(result.hash[-14:]), edit.length.eq(rest.side.length),
            edit.template_row.eq(self.template_row), edit.template.eq(self.template),
            edit.template_write.eq(self.template_write),
            want.oversized.eq(edit.packet.length > self.config.max_frame_octets),
        ]
        lanes = self.config.data_width // 8
        beats_14 = Signal(range(self.room + 1))
        m.d.comb += beats_14.eq((rest.side.length + DESCRIPTOR_OCTETS + lanes - 1)
                                >> (lanes.bit_length() - 1))
        m.d.comb += [
            queue.i.eq(want.o), queue.limit.eq(self.limit), queue.left.eq(self.left),
            queue.beats.eq(self._late(m, beats_14, beats_14.shape(), WANT - RESULT)),
        ]

    def _meter(self, m):
        """Cycles 13 to 20: the allowances."""
        width, rest, entry = self.config.function_id_width, self.rest_14, self.table.o.entry
        meters, want, before = self.allowances, self.want.o, self.rest_13
        m.d.comb += [
            meters.source.eq(Cat(before.side.function_id[:width], before.wire)),
            meters.source_length.eq(before.side.length),
            meters.excepts.eq(want.valid & (want.kind == KIND_EXCEPTION) & ~want.counted),
            self.order.allowed.eq(meters.allowed),
            meters.sender.eq(Mux(entry.metered, entry.meter, rest.side.function_id)),
            meters.receiver.eq(entry.destination_function),
            meters.length.eq(rest.side.length),
            meters.i.eq(self.order.o),
            meters.limits.eq(self.meter_limits), meters.write_row.eq(self.meter_row),
            meters.write.eq(self.meter_write), meters.exceeded.eq(self.exceeded),
            self.exceeded_shown.eq(meters.exceeded_shown),
        ]
        self.last = meters.o
        self.kind, self.reason_out = self.last.kind, self.last.reason
        self.rest_20 = self._late(m, rest, self.rest_shape, METER - RESULT)
        self.handle_20 = self._late(m, self.table.o.handle, self.table.o.handle.shape(),
                                    METER - RESULT)

    def _count(self, m):
        """Cycle 20: counters of flow and reason; events."""
        last, flows, reasons = self.last, self.flow_counters, self.reason_counters
        counted = Signal()
        m.d.comb += [
            counted.eq(last.valid & last.hit & ((self.kind == KIND_FORWARD)
                                                | (self.reason_out == Reason.FLOW_DROP))),
            flows.amounts.count_0.eq(1), reasons.amounts.count_0.eq(1),
            reasons.show[0].eq(self.reason), self.reason_shown.eq(reasons.shown[0]),
            flows.show[0].eq(self.flow), self.flow_shown.eq(flows.shown[0]),
            flows.show[1].eq(self.table.show), self.table.seen.eq(flows.shown[1].stamp),
        ]
        # The engine clears a row in a cycle that counts nothing.
        clears = Signal()
        m.d.comb += clears.eq(self.table.clear & ~counted & ~self.table.cleared)
        m.d.sync += [
            flows.row.eq(Mux(counted, self.handle_20, self.table.clear_row)),
            flows.add.eq(counted), flows.clear.eq(clears), self.table.cleared.eq(clears),
            flows.amounts.count_1.eq(self.rest_20.side.length),
            flows.stamp.eq(self.epoch),
            reasons.row.eq(Cat(self.reason_out, self.rest_20.wire)),
            reasons.add.eq(last.valid),
        ]
        m.submodules.events = told = events.Events(row_width=self.table.row_width)
        wiring.connect(m, told.o, wiring.flipped(self.events))
        tells = Signal()
        m.d.comb += [
            # A flow that drops is told of, too: the policy may be softer now.
            tells.eq(last.valid & ((self.kind == KIND_FORWARD)
                                   | (self.reason_out == Reason.FLOW_DROP))),
            told.row.eq(self.handle_20), told.notify.eq(tells & last.notify),
            told.soft.eq(tells & last.soft), told.tcp_flags.eq(last.tcp_flags),
            told.wrote.eq(self.table.wrote), told.wrote_row.eq(self.table.clear_row),
            self.event_lost.eq(told.lost), self.events_waiting.eq(told.waiting),
        ]

    def _finish(self, m):
        """Cycle 20: to the jobs, and into the queue of the lane."""
        m.submodules.finish = end = finish.Finish(
            data_width=self.config.data_width, cell_width=self.cell_width,
            function_id_width=self.config.function_id_width)
        edit, last, rest = self.transpose, self.last, self.rest_20
        found_20 = self._late(m, self.found_14, ufid.found(), METER - RESULT)
        i = end.i
        description = i.descriptor
        m.d.comb += [
            i.valid.eq(last.valid), i.wire.eq(rest.wire), i.kind.eq(self.kind),
            i.exit.eq(last.exit), i.function.eq(last.function), i.side.eq(rest.side),
            i.handle.eq(rest.handle), i.cells.eq(rest.cells),
            i.packet.eq(self._late(m, edit.packet, edit.packet.shape(), METER - RESULT - 2)),
            i.patch.eq(self._late(m, edit.patch, edit.patch.shape(), METER - RESULT - 5)),
            i.mask.eq(self._late(m, edit.mask, edit.mask.shape(), METER - RESULT - 5)),
            description.key.eq(found_20.key),
            description.length.eq(rest.side.length),
            description.function_id.eq(rest.side.function_id),
            description.direction.eq(rest.wire),
            description.hit.eq(last.hit),
            description.counted.eq(last.counted),
            description.handle.eq(self.handle_20),
            description.reason.eq(self.reason_out),
            description.order_slot.eq(last.slot),
            description.tcp_flags.eq(last.tcp_flags),
            description.l3_offset.eq(found_20.start + found_20.layer.l3_offset),
        ]
        for n in range(2):
            # The octets come from memory: what they are read by is wanted first.
            reads  = Queue(end.reads.shape(), depth=self.credits, latency=1)
            writes = Queue(end.writes.shape(), depth=self.credits)
            m.submodules[f"reads_{n}"], m.submodules[f"writes_{n}"] = reads, writes
            mine = Signal(name=f"mine_{n}")
            m.d.comb += [
                mine.eq(end.valid & (end.wire == n)),
                reads.i.valid.eq(mine), reads.i.payload.eq(end.reads),
                writes.i.valid.eq(mine & ~end.drops), writes.i.payload.eq(end.writes),
            ]
            m.d.comb += Assert(~mine | reads.i.ready & writes.i.ready)  # as credits promise
            for kind, queue, slice_, port in (("reads", reads, Skid, self.reads[n]),
                                              ("writes", writes, Buffer, self.writes[n])):
                m.submodules[f"{kind}_{n}_slice"] = part = slice_(queue.shape)
                wiring.connect(m, queue.o, part.i)
                wiring.connect(m, part.o, wiring.flipped(port))
