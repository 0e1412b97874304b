"""What every cocotb test begins with: clock, reset, link, memory, the host's accesses, verdicts.

    async with Env(dut, config) as env:
        guest = env.guest(0)
        await env.bus.config_read(0x0100, 0, 4)

Leaving the block without an exception judges the run: monitors without a violation, a ledger
without a residue. Python wakes on events, never on clocks.
"""

import json
import os
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import Event as Flag
from cocotb.triggers import SimTimeoutError, Timer, ValueChange, with_timeout

from offloadcard.rtl.ports import packet_meta

from .guest import Guest, LinkBus
from .host.bus import Message
from .host.machine import Machine
from .link.config import LinkConfig
from .link.world import Event, TlpError, World
from .rest import Rest

__all__ = ["Env", "LinkBus", "Guest", "arguments", "report"]

MESSAGES     = 0xFEE0_0000     # interrupts are writes here
BAR_WINDOW   = (0xE000_0000, 0x1000_0000)      # below 4 GiB
BAR_WINDOW_64 = (0x4000_0000_0000, 0x80_0000_0000)  # above all guests
FULL_STATUS  = {0: "SC", 1: "UR", 2: "CRS", 4: "CA"}


def arguments():
    """What the starter of this run gave to ``sim.build.run``."""
    return json.loads((Path(os.environ["OFFLOADCARD_RUN"]) / "arguments.json").read_text())


def report(**values):
    """Hand values back to the starter of this run."""
    path = Path(os.environ["OFFLOADCARD_RUN"]) / "report.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | values))


class Env:
    """The card in its world.

    Parameters
    ----------
    dut
        The shim, from cocotb.
    config : CardConfig
        Of the card in it.
    link : LinkConfig
        Of the world around it.
    log : iterable of Event
        Kinds that ``world.log()`` keeps.
    guest_octets, dram_octets : int
        Sizes of each guest's memory and of the card's DRAM.
    dram_path : Path
        A file that is the DRAM.
    quiet_clocks : int
        After so many clocks without any event the card's clock rests until something is asked of
        the card, while simulated time goes on; 0: the clock never rests. See :mod:`sim.rest`.
    """

    def __init__(self, dut, config, link=None, *, log=(), guest_octets=1 << 26,
                 dram_octets=1 << 28, dram_path=None, quiet_clocks=0):
        self.dut, self.config, self.link = dut, config, link or LinkConfig()
        self.world, self.guests, self.messages = World(), {}, {}
        self.guest_octets, self.dram_octets, self.dram_path = guest_octets, dram_octets, dram_path
        self.log = set(log)
        self._tickets, self._flags, self._next_message = {}, [], 0
        self.counts, self.on_interrupt, self.on_frame = {}, None, None
        self.quiet_clocks, self.rest = quiet_clocks, None

    async def __aenter__(self):
        await self.start()
        return self

    async def __aexit__(self, kind, _error, _trace):
        if kind is None:
            self.judge()
        self._dispatcher.cancel()
        return False

    # --- life ---

    async def start(self, *, link_up=True):
        """Clock, reset, an empty world, the link up."""
        world  = self.world
        period = round(1_000_000 / self.config.clock_mhz)
        if world.cycle:  # a card runs from before: it stands still before its world is emptied
            self.dut.rst.value = 1
            await Timer(2 * period, "ps")
        world.set(**self.link.settings(self.config), quiet_clocks=self.quiet_clocks)
        world.reset()
        world.capability(self._capability())
        self.dram = world.dram(self.dram_octets, self.dram_path)
        world.map(MESSAGES, 0x10_0000, kind=1)
        world.range(MESSAGES, 0x10_0000, "msix")
        for base, size in (BAR_WINDOW, BAR_WINDOW_64):
            world.map(base, size, kind=2)
            world.range(base, size, "mmio")
        self._masks()
        self.dut.rst.value = 1
        self._clock = Clock(self.dut.clk, period, unit="ps", impl="gpi")
        self._clock.start()
        await Timer(10 * period, "ps")
        self.dut.rst.value = 0
        if self.quiet_clocks:
            self.rest = Rest(self.world, self.dut.clk, self._clock, period)
            self._masks()
        self._dispatcher = cocotb.start_soon(self._dispatch())
        await Timer(10 * period, "ps")
        if link_up:
            await self.link_up()
        self.bus = LinkBus(self, self.guest(0))

    @staticmethod
    def _capability():
        from offloadcard.pcie import spec_config
        return spec_config.PCIE

    async def link_up(self):
        """Train the link; returns when the card has advertised its credits."""
        self.world.link(True)
        await Timer(200, "ns")

    async def hot_reset(self):
        """Link down and up again: the card forgets its functions."""
        self.world.link(False)
        await Timer(1_000, "ns")
        await self.link_up()

    def guest(self, number, size=None):
        """The guest of that number; its memory is made at the first asking."""
        if number not in self.guests:
            self.guests[number] = Guest(self, number, size or self.guest_octets)
        return self.guests[number]

    def bus_of(self, number):
        """A bus for the drivers of that guest."""
        return LinkBus(self, self.guest(number))

    def machine(self, **options):
        """The provider's machine over this link; the ledger learns whose each BAR is."""
        machine = Machine(self.bus, window=BAR_WINDOW_64[0], **options)

        def on_bars(function):
            for address, size in function.bars.values():
                self.world.range(address, size, "mmio", requester=function.rid)
        machine.on_bars = on_bars
        return machine

    @property
    def now_ns(self):
        """Simulated time since the reset."""
        if self.rest is not None:
            self.rest.catch_up()
        return self.world.now_ps / 1000

    # --- waking ---

    WAKING = (Event.COMPLETION, Event.INTERRUPT, Event.MANAGEMENT)

    def _masks(self):
        wake = [*self.WAKING]
        wake += [Event.QUIET] if self.rest else []
        wake += [Event.FRAME_OUT] if self.on_frame else []
        self.world.masks(log=self.log, wake=wake)

    def keep(self, *kinds):
        """Log these kinds of events from now on."""
        self.log.update(kinds)
        self._masks()

    async def _dispatch(self):
        wake = self.dut.wake
        while True:
            await ValueChange(wake)
            for record in self.world.drain():
                kind = record["kind"]
                if kind in (Event.COMPLETION, Event.MANAGEMENT):
                    flag = self._tickets.pop((kind, int(record["a"])), None)
                    if flag is not None:
                        flag.set()
                elif kind == Event.INTERRUPT:
                    message = Message(int(record["b"]), int(record["c"]) & 0xFFFF_FFFF)
                    self.messages[message] = self.messages.get(message, 0) + 1
                    if self.on_interrupt is not None:
                        self.on_interrupt(int(record["a"]), message)
                elif kind == Event.FRAME_OUT and self.on_frame is not None:
                    self.on_frame(*self.world.wire_frame(int(record["a"])))
                elif kind == Event.QUIET:
                    self.rest.begin()
            for flag in self._flags:
                flag.set()

    async def wait_until(self, condition, timeout_ns):
        """Wait until ``condition()``, tried at each wake; False when time is up."""
        end = self.now_ns + timeout_ns
        flag = Flag()
        self._flags.append(flag)
        try:
            while not condition():
                left = end - self.now_ns
                if left <= 0:
                    return False
                flag.clear()
                try:
                    await with_timeout(flag.wait(), max(1, round(left)), "ns")
                except SimTimeoutError:
                    return condition()
            return True
        finally:
            self._flags.remove(flag)

    async def wait_count(self, kind, count, timeout_ns=1_000_000):
        """Wait until ``kind`` of event has happened ``count`` times in all; wakes once."""
        self.world.wake_at(kind, count)
        done = await self.wait_until(lambda: self.world.count(kind) >= count, timeout_ns)
        self.world.wake_at(kind, 0)
        if not done:
            raise TimeoutError(f"{kind.name} must happen {count} times within {timeout_ns} ns, "
                               f"not {self.world.count(kind)}")

    async def _finish(self, kind, ticket, take, timeout_ns):
        result = take(ticket)
        if result is None:
            flag = self._tickets[(kind, ticket)] = Flag()
            try:
                await with_timeout(flag.wait(), timeout_ns, "ns")
            except SimTimeoutError as late:
                raise TimeoutError(f"{kind.name} {ticket} must be answered within {timeout_ns} ns"
                                   ) from late
            result = take(ticket)
        return result

    # --- accesses ---

    async def answer(self, ticket, timeout_ns=100_000):
        """``(status, octets)`` of a request of the host."""
        return await self._finish(Event.COMPLETION, ticket, self.world.answer, timeout_ns)

    async def whole_answer(self, ticket, timeout_ns=100_000):
        """``(header, status, octets)``: the last completion's double words as well."""
        def take(ticket):
            header = self.world.answer_header(ticket)
            return None if header is None else (header, *self.world.answer(ticket))
        return await self._finish(Event.COMPLETION, ticket, take, timeout_ns)

    async def config_access(self, write, rid, offset, size, value=0):
        """``(status, octets of the double word)``; type 1 beyond the card's own bus."""
        ticket = self.world.config(write, rid, offset, size, value, type1=rid >> 8 != 1)
        return await self.answer(ticket)

    async def mmio_read(self, address, length):
        """Octets of a BAR; ``TlpError`` if refused."""
        status, octets = await self.answer(self.world.memory_read(address, length))
        if status:
            raise TlpError(FULL_STATUS.get(status, status), f"read of {address:#x}")
        return octets

    def mmio_write(self, address, octets):
        """Posted."""
        self.world.memory_write(address, octets)

    async def management(self, address, write, value=0):
        """``(data, error)`` of an access to the registers of the card's own processor."""
        ticket = self.world.management(address, write, value)
        return await self._finish(Event.MANAGEMENT, ticket, self.world.management_reply, 100_000)

    async def management_burst(self, accesses):
        """``(data, error)`` of each of ``(address, write, value)``, all to one house, which follow
        each other without waiting."""
        tickets = [self.world.management(*access, follows=number > 0)
                   for number, access in enumerate(accesses)]
        return [await self._finish(Event.MANAGEMENT, ticket, self.world.management_reply, 100_000)
                for ticket in tickets]

    async def management_read(self, address):
        """A 64-bit register; ``KeyError`` where none answers."""
        value, error = await self.management(address, False)
        if error:
            raise KeyError(f"no management register answers at {address:#x}")
        return value

    async def management_write(self, address, value):
        """Write a 64-bit register; ``KeyError`` where none answers."""
        _, error = await self.management(address, True, value)
        if error:
            raise KeyError(f"no management register answers at {address:#x}")

    # --- interrupts, packets ---

    def new_message(self):
        """An address and data that no other vector uses."""
        number = self._next_message
        self._next_message += 1
        return Message(MESSAGES + (number >> 8 << 12 & 0xF_F000), 0x4000 + number)

    def _meta_layout(self):
        return packet_meta(function_id_width=self.config.function_id_width)

    def take_exception(self):
        """``(meta, octets)`` of the oldest exception packet, ``meta`` as a dict; or ``None``."""
        found = self.world.exception()
        if found is None:
            return None
        layout = self._meta_layout()
        meta = layout.from_bits(int.from_bytes(found[1], "little") & (1 << layout.size) - 1)
        return {name: int(getattr(meta, name)) for name, _ in layout}, found[2]

    async def wait_exception(self, timeout_ns=1_000_000):
        """The same, waiting for it; ``None`` when time is up."""
        if not self.world.exceptions_waiting():
            self.world.wake_at(Event.EXCEPTION, self.world.count(Event.EXCEPTION) + 1)
            await self.wait_until(self.world.exceptions_waiting, timeout_ns)
        return self.take_exception()

    def inject(self, octets, **meta):
        """Hand a packet to the card as its own processor does; ``length`` is filled in."""
        layout = self._meta_layout()
        bits = layout.const({"length": len(octets), **meta}).as_bits()
        self.world.inject(bits.to_bytes((layout.size + 7) // 8, "little"), octets)

    # --- the wire ---

    def wire_send(self, octets, *, error=False):
        """Queue a frame for the card's MAC; it goes at line rate."""
        self.world.wire_send(octets, error=error)

    def listen_to_wire(self, on_frame):
        """From now on call ``on_frame(time_ps, octets, error)`` for each frame the card sends."""
        self.on_frame = on_frame
        self._masks()

    def wire_received(self):
        """``[(time_ns, octets)]`` of what the card has sent; frames in error are left out."""
        return [(time / 1000, octets) for time, octets, error in self.world.wire_frames()
                if not error]

    async def wire_wait(self, count, timeout_ns=1_000_000):
        """Wait until the card has sent ``count`` frames in all; True if it did in time."""
        try:
            await self.wait_count(Event.FRAME_OUT, count, timeout_ns)
        except TimeoutError:
            return False
        return True

    # --- verdict ---

    def residue(self):
        """Octets on the link that the ledger does not know: (up, down); both must be 0."""
        entries = self.world.ledger()
        return tuple(total - int(entries["octets"][entries["direction"] == direction].sum())
                     for direction, total in enumerate(self.world.link_octets()))

    def octets(self, direction=None, requester=None, purpose=None):
        """Sum of the ledger over what is asked for; ``direction`` 0 is up, from the card."""
        entries = self.world.ledger()
        for name, wanted in (("direction", direction), ("requester", requester)):
            if wanted is not None:
                entries = entries[entries[name] == wanted]
        if purpose is not None:
            entries = entries[entries["purpose"] == self.world.purpose(purpose)]
        return int(entries["octets"].sum())

    def account(self):
        """The ledger by purpose: ``{name: (octets up, octets down)}``."""
        names = self.world.purpose_names
        table = {}
        for entry in self.world.ledger():
            up, down = table.get(names[entry["purpose"]], (0, 0))
            octets = int(entry["octets"])
            table[names[entry["purpose"]]] = (up + octets, down) if entry["direction"] == 0 \
                else (up, down + octets)
        return table

    def judge(self):
        """Raise if a monitor found anything, or an octet is not accounted for."""
        found = self.world.violations()
        if found:
            raise AssertionError(f"{len(found)} violations:\n" + "\n".join(found[:20]))
        residue = self.residue()
        if any(residue):
            raise AssertionError(f"the ledger lacks {residue[0]} octets up, {residue[1]} down")


