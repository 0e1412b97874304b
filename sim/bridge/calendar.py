"""The calendar that owns the clocks of all guests: one time line with the card's clock.

At any moment one of three is at work: one guest, the simulator, or Python between them; the
others stand still. A guest at work takes no time, apart from what its own accesses take. When all
guests wait, the simulation runs until the earliest of their requests, or an interrupt.

Where nothing at all can happen before a time, a guest may let its own clock run until then without
asking (it asks whenever it looks at its clock, which costs it 256 ns); that leave ends as soon as
it asks something of the card.

A guest that read a register while its clock stood still is behind the calendar by what its reads
took, until it next sleeps longer than that: it may be told to go on at a time already past.
"""

# Ref: linux-6.1, include/uapi/linux/um_timetravel.h

import array
import os
import select
import socket
import struct
from enum import IntEnum

from .vhost_user import Disconnected, receive

__all__ = ["FOREVER", "Calendar", "Clock", "Stuck", "Tick"]

_MESSAGE = struct.Struct("<IIQ")  # op, sequence number, ns
_SHARED = 4096                    # octets of the shared memory that newer kernels ask for
FOREVER = 1 << 62
_SILENCE_S = 5
_SPIN_NS = 100_000
_LEAVE_NS = 1_000_000_000
_FOREVER_NS = 100_000_000_000      # asleep, without a request or an interrupt: nobody will wake


class Tick(IntEnum):
    """Kinds of messages."""
    ACK        = 0
    START      = 1
    REQUEST    = 2
    WAIT       = 3
    GET        = 4
    UPDATE     = 5
    RUN        = 6
    FREE_UNTIL = 7
    GET_TOD    = 8


class Stuck(RuntimeError):
    """A guest does not go on, though nothing holds it."""


class Clock:
    """The clock of one guest, at its end of the calendar's socket.

    Attributes
    ----------
    request : int or None
        When the guest wants to run next.
    waiting : bool
        It stands still until told to run.
    """

    def __init__(self, calendar, connection):
        self.calendar, self.connection = calendar, connection
        self.request, self.waiting, self.time, self.sequence = None, False, 0, 0
        self.free_ns = 0  # until then it need not ask
        self.lead_ns = 0  # the leave that it had when it began to wait

    @property
    def latest_ns(self):
        """A guest that waits is not beyond this; it does not say how much of its leave it took."""
        return min(self.lead_ns, FOREVER if self.request is None else self.request)

    def serve(self):
        """Handle one message; ``Disconnected`` if the guest is gone."""
        op, sequence, time = _MESSAGE.unpack(receive(self.connection, _MESSAGE.size))
        return self._handle(op, sequence, time)

    def _handle(self, op, sequence, time):
        self.calendar.note(op, time)
        answer, files = 0, []
        if op == Tick.START:
            # Newer kernels take files from this answer; an empty memory says: messages only.
            files = [os.memfd_create("calendar"), os.open("/dev/null", os.O_RDWR)]
            os.ftruncate(files[0], _SHARED)
            answer = 1
        elif op == Tick.REQUEST:
            self.request = time
        elif op == Tick.WAIT:
            self.waiting, self.lead_ns, self.free_ns = True, self.free_ns, 0
        elif op == Tick.GET:
            limit = self.request if self.request is not None and self.waiting else FOREVER
            answer = self.time = max(self.time, min(self.calendar.now_ns, limit))
        elif op == Tick.UPDATE:
            self.time = max(self.time, time)
        elif op == Tick.GET_TOD:
            answer = self.calendar.time_of_day_ns
        reply = _MESSAGE.pack(Tick.ACK, sequence, answer)
        if files:
            self.connection.sendmsg([reply], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                                               array.array("i", files))])
            for file in files:
                os.close(file)
        else:
            self.connection.sendall(reply)

    def run(self):
        """Let the guest go on at its request."""
        time, self.request, self.waiting = self.request, None, False
        self.time = max(self.time, time)
        self._tell(Tick.RUN, time)

    def free(self, until_ns):
        """Give leave to run until then, or take it back; only while the guest listens."""
        self.free_ns = until_ns
        self._tell(Tick.FREE_UNTIL, until_ns)

    def _tell(self, op, time):
        self.calendar.note(op, time)
        self.sequence += 1
        self.connection.sendall(_MESSAGE.pack(op, self.sequence, time))
        while True:
            op, sequence, at = _MESSAGE.unpack(receive(self.connection, _MESSAGE.size))
            if op == Tick.ACK:
                return
            self._handle(op, sequence, at)


class Calendar:
    """Gives the guests their turns.

    A machine has ``clock``, ``sockets`` (what may speak while it runs), ``async serve(socket)``,
    ``owes`` (interrupts to tell), ``tell()`` and ``gone(error)``.

    Parameters
    ----------
    path : Path
        Of the socket that all guests connect to.
    timeline
        ``now_ns`` (whole, since the first guest's start), ``async advance(until_ns, stop)``,
        ``async settle(most_ns)``, and ``idle``: nothing will happen that no guest asks for.
    note : callable
        Told every message and every turn, for the trace.
    patience_s : float
        Of wall time, that a running guest may be silent.
    chores : coroutine function or None
        ``await chores(ns)`` whenever all guests stand still; time may pass in it, and must have
        come to ``ns`` before it does what a guest will be told of.
    horizon : callable or None
        Nothing comes from outside of the card and its guests before ``horizon()`` ns.
    """

    time_of_day_ns = 1_700_000_000_000_000_000

    def __init__(self, path, timeline, *, note, patience_s=60, chores=None, horizon=None):
        self.timeline, self.note, self.patience_s = timeline, note, patience_s
        self.chores, self._horizon = chores, horizon or (lambda: FOREVER)
        self._asleep = False
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(path))
        self.listener.listen(8)
        self.machines, self.turns, self.spins = [], 0, 0

    @property
    def now_ns(self):
        """The time, since the first guest's start."""
        return self.timeline.now_ns

    @property
    def due_ns(self):
        """When the first guest acts, if nothing comes before."""
        if not self._asleep or any(one.owes for one in self.machines):
            return self.now_ns
        return min(one.clock.request for one in self.machines)

    def connect(self, machine):
        """Wait for the guest that was just started; it stands still until its first turn."""
        for _ in range(round(self.patience_s)):
            if machine.process.poll() is not None:
                raise Stuck(f"guest {machine.number} ended before it began, with code "
                            f"{machine.process.returncode}; see {machine.console}")
            if select.select([self.listener], [], [], 1)[0]:
                break
        else:
            raise Stuck(f"guest {machine.number} did not begin in {self.patience_s} s; "
                        f"see {machine.console}")
        connection, _ = self.listener.accept()
        machine.clock = Clock(self, connection)
        self.machines.append(machine)

    def _ask(self, sockets, machine, patience_s):
        """The first of ``sockets`` that has something to say."""
        ready, _, _ = select.select(sockets, [], [], patience_s)
        if not ready:
            raise Stuck(f"guest {machine.number} said nothing for {patience_s} s; "
                        f"see {machine.console}")
        return next(one for one in sockets if one in ready)

    async def _speaks(self, machine):
        """The socket of a running guest that has something to say.

        A guest that is silent may be reading its memory over and over, waiting for the card, which
        stands still: the card gets some time then. This depends on the wall's clock; it is counted,
        and no run that has it repeats.
        """
        sockets = [machine.clock.connection, *machine.sockets]
        for _ in range(round(self.patience_s / _SILENCE_S)):
            ready, _, _ = select.select(sockets, [], [], _SILENCE_S)
            if ready:
                return next(one for one in sockets if one in ready)
            self.spins += 1
            await self.timeline.settle(_SPIN_NS)
        return self._ask(sockets, machine, _SILENCE_S)

    async def _turn(self, machine):
        """Serve a guest until it waits."""
        self.turns += 1
        try:
            while not machine.clock.waiting:
                one = await self._speaks(machine)
                if one is machine.clock.connection:
                    machine.clock.serve()
                    if machine.clock.time > self.now_ns:  # it had leave to run ahead
                        await self.timeline.advance(machine.clock.time, lambda: False)
                else:
                    await machine.serve(one)
        except (Disconnected, ConnectionError) as error:
            self._gone(machine, error)

    def _gone(self, machine, error):
        self.machines.remove(machine)
        machine.gone(error)

    async def run(self, until_ns=None):
        """Let all guests live until the last is gone, or until a time."""
        for machine in list(self.machines):
            await self._turn(machine)
        while self.machines:
            if self.chores is not None:
                await self.chores(max(one.clock.latest_ns for one in self.machines))
            machine = min(self.machines, key=lambda one: one.clock.request or 0)
            request = machine.clock.request
            if request is None:
                raise Stuck(f"guest {machine.number} waits without a request")
            if until_ns is not None and min(request, self.now_ns) >= until_ns:
                return
            if request <= self.now_ns:
                self._resume(machine)
                await self._turn(machine)
                continue
            owed = next((one for one in self.machines if one.owes), None)
            if owed is not None:
                try:
                    owed.tell()
                except (Disconnected, ConnectionError) as error:
                    self._gone(owed, error)
                continue
            limit = min(request, self.now_ns + _FOREVER_NS)
            self._asleep = True
            await self.timeline.advance(limit, lambda: any(one.owes for one in self.machines))
            self._asleep = False
            if self.now_ns >= limit < request:
                raise Stuck(f"all guests sleep, guest {machine.number} until {request} ns, and no "
                            f"interrupt came for {_FOREVER_NS / 1e9} s")

    def settle(self, machine):
        """A guest has asked something of the card, and waits for our answer to that."""
        if machine.clock.free_ns > self.now_ns and not self.timeline.idle:
            machine.clock.free(self.now_ns)

    def _resume(self, machine):
        others = [one.clock.request for one in self.machines if one is not machine]
        try:
            if self.timeline.idle and not any(one.owes for one in self.machines):
                leave = min(self.now_ns + _LEAVE_NS, *others, self._horizon())
                if leave > machine.clock.request:
                    machine.clock.free(leave)
            machine.clock.run()
        except (Disconnected, ConnectionError) as error:
            self._gone(machine, error)

    def close(self):
        """Let all sockets go."""
        self.listener.close()
        for machine in self.machines:
            machine.clock.connection.close()
