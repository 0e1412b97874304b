"""States of the admin engine that hold events and wait for commands to be aborted."""

# Ref: nvme-base-1.4c, 5.1 (Abort command), 5.2 (Asynchronous Event Request command)

from .spec import AERL, ErrorEvent, EventType, LogPage, Status, event_result

__all__ = ["abort_states", "event_states"]


def abort_states(m, admin, *, slot, function, function_w, answer, qid_ok):
    """``ABORT`` and what follows; the answer waits in line for the other command's end.

    ``function`` is the row of the function, written by ``function_w``.
    """
    with m.State("ABORT"):
        m.d.sync += answer.dw0.eq(1)
        with m.If(function.aborting & (function.abort_slot == slot)):
            m.next = "AGAIN"
            with m.If(admin.aborted.round != function.abort_round):
                m.d.sync += [function.aborting.eq(0), answer.dw0.eq(~admin.aborted.aborted)]
                m.next = "ABORTED"
        with m.Elif(function.aborting):
            m.next = "AGAIN"
        with m.Elif(~qid_ok):
            m.next = "RESULT"  # no command of the admin queue is aborted
        with m.Else():
            m.next = "SEARCH"
    with m.State("SEARCH"):
        m.d.comb += admin.aborts.valid.eq(1)
        m.d.sync += [function.aborting.eq(1), function.abort_slot.eq(slot),
                     function.abort_round.eq(admin.aborted.round)]
        with m.If(admin.aborts.ready):
            m.next = "RESULT"
            with m.If(admin.found):
                m.next = "ABORTING"
    with m.State("ABORTING"):
        m.d.comb += function_w.en.eq(1)
        m.next = "AGAIN"
    with m.State("ABORTED"):
        m.d.comb += function_w.en.eq(1)
        m.next = "RESULT"


def event_states(m, admin, *, c, function, function_r, function_w, held_r, held_w, answer):
    """``HOLD`` of an Asynchronous Event Request, ``EVENT-ROW`` of a function with an event, and
    ``POST-EVENT`` of a visit to its event queue."""
    with m.State("HOLD"):
        with m.If(function.held == AERL + 1):
            m.d.sync += answer.status.eq(Status.ASYNC_EVENT_LIMIT_EXCEEDED)
            m.next = "RESULT"
        with m.Else():
            m.d.comb += held_w.en.eq(1)
            m.d.sync += [function.held.eq(function.held + 1), answer.silent.eq(1)]
            m.next = "EVENT"
    with m.State("EVENT-ROW"):
        m.next = "EVENT-LOAD"
    with m.State("EVENT-LOAD"):
        # An event of before the reset is nobody's.
        m.d.sync += [function.eq(function_r.data), c.eq(0),
                     function.pending.eq(function_r.data.pending | function_r.data.awake)]
        m.next = "EVENT"
    with m.State("EVENT"):
        # A visit is asked for once; it ends by itself if the reason is gone by then.
        m.d.comb += admin.visits.valid.eq(
            function.pending & ~function.masked & (function.held != 0) & ~function.visiting)
        with m.If(~admin.visits.valid | admin.visits.ready):
            m.d.comb += [function_w.en.eq(1), function_w.data.visiting.eq(
                function.visiting | admin.visits.valid)]
            m.next = "RESULT"
            with m.If(c.opcode == 0):
                m.next = "IDLE"  # it was no command
    with m.State("POST-EVENT"):
        due = function.pending & ~function.masked & (function.held != 0)
        m.d.comb += [function_w.en.eq(1), function_w.data.visiting.eq(0)]
        m.d.sync += [
            answer.event.eq(1), answer.silent.eq(~due), answer.cid.eq(held_r.data),
            answer.dw0.eq(0),
        ]
        for cause in (ErrorEvent.INVALID_DOORBELL_REGISTER, ErrorEvent.INVALID_DOORBELL_VALUE):
            with m.If(admin.cause == cause.value):
                m.d.sync += answer.dw0.eq(event_result(EventType.ERROR, cause, LogPage.ERROR))
        with m.If(due):
            m.d.comb += [function_w.data.held.eq(function.held - 1),
                         function_w.data.pending.eq(0), function_w.data.masked.eq(1)]
        m.next = "RESULT"
