"""The cocotb test inside the simulator: card, controller, QEMUs; see :mod:`.run`.

QEMU's time is the host's. While the card has something to do its clock runs, and between every
few hundred nanoseconds the sockets are looked at; while it rests, the process sleeps in ``select``
and simulated time follows the host's.
"""

import ctypes
import os
import select
import signal
import subprocess
import time
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import cocotb

from offloadcard.control.dhcp import Lease
from sim.bridge.qemu import QemuFunction
from sim.linux.fabric import VTEP
from sim.linux.session import Session as CardSession
from sim.linux.session import live_through

from . import boot_server
from .boot_server import BootServer

_LINK, _ROUTER = IPv4Network("10.0.0.0/24"), IPv4Address("10.0.0.1")
_STEP_NS = 400      # of the card's time between two looks at the sockets
_NAP_S = 0.02       # of a sleep while nothing happens
_LAST_WORDS_S = 20
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _die_with_parent():
    """In the child: no QEMU outlives a simulator that was killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Session(CardSession):
    """One run with guests of QEMU; parameters as for the session of User-Mode Linux."""

    def __init__(self, env, given):
        super().__init__(env, given)
        if given["program"]:
            self.router = BootServer(env, self.timeline, Path(given["program"]).read_bytes())

    def elsewhere(self, vni):
        host = boot_server.HOST
        return [(host.address, host.mac.hex(), str(VTEP))] if self.given["program"] else []

    def lease(self):
        if not self.given["program"]:
            return None
        return Lease(_LINK, _ROUTER, boot_server.HOST.address, boot_server.FILE)

    async def attach(self):
        """A socket for each function, listening."""
        self.machines, spaces = [], 0
        for guest in self.given["guests"]:
            machines = []
            for name in guest["functions"]:
                spaces += 1
                machine = QemuFunction(self.root, spaces, name, self.folder / name)
                await machine.attach()
                self.env.world.tolerate(self.root.ports[name].rid, guest["hostile"])
                machines.append(machine)
            self.machines.append(machines)

    def start(self):
        """One process a guest."""
        self.processes = []
        for guest in self.given["guests"]:
            console = Path(guest["console"])
            terminal = console.is_char_device()
            given = os.open(console if terminal else os.devnull, os.O_RDONLY)
            taken = os.open(console, os.O_WRONLY if terminal else
                            os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            self.processes.append(subprocess.Popen(
                guest["line"], stdin=given, stdout=taken, stderr=taken,
                start_new_session=not terminal, preexec_fn=_die_with_parent))
            os.close(given)
            os.close(taken)

    async def live(self):
        """Serve until the last QEMU has ended."""
        self.timeline.begin()
        await self.attach()
        self.start()
        try:
            await self._serve()
            for machine in self._functions():
                if machine.server.client is not None:
                    await machine.gone()
        finally:
            for process in self.processes:
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL)
                process.wait()
            for machine in self._functions():
                machine.close()

    def _functions(self):
        return [machine for machines in self.machines for machine in machines]

    async def _serve(self):
        ended = None
        while ended is None or time.monotonic() < ended:
            sockets = {machine.server.waiting_for: machine for machine in self._functions()}
            busy = sockets.pop(None, None) is not None
            idle = self.timeline.idle and not busy
            before = time.monotonic()
            ready, _, _ = select.select(list(sockets), [], [], _NAP_S if idle else 0)
            for one in ready:
                self._hear(sockets[one])
            if idle and not ready:
                await self.timeline.sleep((time.monotonic() - before) * 1e9)
            else:
                await self.timeline.sleep(_STEP_NS)
            if all(process.poll() is not None for process in self.processes) \
                    and all(m.server.client is None and not m.server.busy
                            for m in self._functions()):
                return
            if ended is None and all(p.poll() is not None for p in self.processes):
                ended = time.monotonic() + _LAST_WORDS_S

    def _hear(self, machine):
        server = machine.server
        if server.client is None:
            server.accept()
            return
        try:
            message = server.take()
        except EOFError:
            server.busy = True
            cocotb.start_soon(self._let_go(machine))
            return
        if message is not None:
            server.busy = True
            cocotb.start_soon(self._carry_out(machine, message))

    async def _carry_out(self, machine, message):
        try:
            await machine.server.handle(message)
        except EOFError:
            await self._let_go(machine)
        machine.server.busy = False

    async def _let_go(self, machine):
        await machine.gone()
        machine.server.busy = False

    def result(self):
        world = self.env.world
        self.env.rest.catch_up()
        return {
            "virtual_ns": self.timeline.now_ns, "clocks": world.cycle,
            "rests": self.env.rest.count, "counts": self.root.counts,
            "functions": self.functions, "frames_to_wire": world.wire_count(),
            "messages": {m.name: m.server.counts for m in self._functions()},
            "interrupts": {m.name: m.signalled for m in self._functions()},
            "leased": self.controller.slowpath.counters.leased,
            "files_served": getattr(self.router, "finished", 0),
            "codes": [process.returncode for process in self.processes],
        }


@cocotb.test()
async def guests(dut):
    """Boot the guests that the arguments name, and report."""
    await live_through(dut, Session)
