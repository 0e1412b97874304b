"""A User-Mode Linux guest: a process, its sockets, its memory, its functions, its interrupts."""

# Ref: linux-6.1, Documentation/virt/uml (User Mode Linux HOWTO)

import os
import select
import signal
import subprocess
from pathlib import Path

from offloadcard.pcie.spec_config import BAR_REGISTERS, NOTIFY_CFG, NOTIFY_MULTIPLIER

from .attachment import Attachment
from .keys import Keys
from .overlay import Overlay
from .vhost_user import Disconnected
from .virt_pci import VirtPci

__all__ = ["SLOTS", "UserModeLinux"]

SLOTS = 8
_MESSAGES = (0xA_0000, 0x1000)   # where the guest's kernel wants its MSI-X writes
_DEVICE_ID = 1234                # of CONFIG_UML_PCI_OVER_VIRTIO_DEVICE_ID
_LAST_WORDS_S = 10
_CONTROL_NS = 50_000             # the longest that a command of the control queue is waited for
# The host's seed is enough: else the kernel gathers entropy by looking at its clock ten million
# times.
_STEADY = ("random.trust_bootloader=on",)


class UserModeLinux(Attachment):
    """One guest.

    Parameters
    ----------
    root : sim.bridge.root_port.RootPort
    number : int
        From 1.
    functions : list of str
        Names of the card's functions, one a slot, at most eight.
    folder : Path
        For its sockets; short, since a socket's path has at most 108 characters.
    note : callable
        ``await note(machine, ...)`` for each access.

    Attributes
    ----------
    clock : sim.bridge.calendar.Clock
    process : subprocess.Popen
    ended : str or None
        Why the guest is gone.
    """

    def __init__(self, root, number, functions, folder, note):
        if not 1 <= len(functions) <= SLOTS:
            raise ValueError(f"`functions` must name 1 to {SLOTS} functions, not {len(functions)}")
        self.root, self.number, self.folder = root, number, Path(folder)
        self.folder.mkdir(parents=True)
        self.clock = self.process = self.ended = self.console = self.keys = None
        self.functions, self._note, self._memory = list(functions), note, {}

    async def attach(self):
        """Take the functions; after the root port has started."""
        names = self.functions
        root_map = self.root.map_messages
        root_map(self, *_MESSAGES)
        self.ports, self.slots, self._by_port = [], [], {}
        for slot, name in enumerate(names):
            port = self.root.lend(name, self)
            kind = {"pf0": "net", "pf1": "nvme"}.get(name)
            options = {}
            if kind is not None:
                options["vf_slots"] = [n for n, other in enumerate(names)
                                       if other.startswith(kind)]
            else:
                physical = port.physical.name
                options["physical_here"] = physical in names
                if physical not in names:
                    options["ids"] = await self.root.vf_ids(physical)
            overlay = Overlay(port, slot, **options)
            device = VirtPci(self.folder / f"{slot}", overlay, self._map, self._noted,
                             self._written, lambda: self.clock.calendar.settle(self))
            self.ports.append(overlay)
            self.slots.append(device)
            self._by_port[port.name] = device

    def start(self, kernel, arguments, *, calendar, memory="256M", console=None, environment=None,
              before=()):
        """Start the process; it stops at the calendar's door.

        Parameters
        ----------
        kernel : Path
        arguments : list of str
            Of the kernel, besides those that say what is attached.
        calendar : Path
            Of its socket.
        console : Path or None
            Where standard output goes; a terminal is standard input, too.
        environment : dict
            Of the process: a short one, for it is part of what must repeat.
        before : list of str
            Words of the command line before the kernel.
        """
        self.console = Path(console or self.folder / "console")
        # Names are relative: the guest must not see what is different in the next run.
        devices = [f"virtio_uml.device={slot}:{_DEVICE_ID}" for slot in range(len(self.slots))]
        line = [*before, str(kernel), f"mem={memory}", "uml_dir=.", f"umid=guest{self.number}",
                f"time-travel=ext:{os.path.relpath(calendar, self.folder)}", *_STEADY, *arguments,
                *devices]
        terminal = self.console.is_char_device()
        given = os.open(self.console if terminal else os.devnull, os.O_RDONLY)
        taken = os.open(self.console, os.O_WRONLY if terminal else
                        os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        self.process = subprocess.Popen(
            [str(word) for word in line], stdin=given, stdout=taken, stderr=taken,
            cwd=self.folder, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/",
                          "TMPDIR": "/dev/shm", **(environment or {})},
            start_new_session=not terminal)
        self._leads = not terminal
        self.keys = Keys(self.console, self.process) if terminal else None
        os.close(given)
        os.close(taken)

    def _map(self, base, size, file, offset):
        """All slots name the same memory; it is mapped once."""
        if base not in self._memory:
            self._memory[base] = self.root.map_memory(self, base, size, file, offset)
        return self._memory[base]

    async def _noted(self, *access):
        await self._note(self, *access)

    async def _written(self, port, bar, address):
        """Linux waits for a control queue's answer without ever looking at a clock: let it come.

        The control queue has an even number above 0, and so have receive queues of further pairs,
        which a guest with one CPU leaves alone.
        """
        base, length = NOTIFY_CFG
        queue = (address - base) // NOTIFY_MULTIPLIER
        if (port.name == "pf0" or port.name.startswith("net")) and bar == BAR_REGISTERS \
                and base <= address < base + length and queue and queue % 2 == 0:
            await self.clock.calendar.timeline.settle(_CONTROL_NS)

    # --- for the calendar ---

    @property
    def sockets(self):
        """Who may speak while the guest runs."""
        return [one for device in self.slots for one in device.socket.sockets]

    async def serve(self, one):
        """Handle what one of :attr:`sockets` says."""
        for device in self.slots:
            if one in device.socket.sockets:
                try:
                    await device.socket.serve()
                except Disconnected:  # the guest let one slot go; its calendar says if it lives
                    device.socket.disconnect()
                return

    def message(self, port, address, data):
        self._by_port[port.name].message(address, data)

    @property
    def owes(self):
        """Is there an interrupt to tell?"""
        return any(device.owes for device in self.slots)

    def tell(self):
        """Tell it; the guest, which waits, asks the calendar for its turn before it answers."""
        for device in self.slots:
            if device.owes:
                for ring in device.fill():
                    device.socket.call(ring)
                    self._answered(device.socket)

    def _answered(self, device):
        while True:
            both = [device.calls, self.clock.connection]
            ready, _, _ = select.select(both, [], [], 60)
            if not ready:
                raise Disconnected(f"guest {self.number} does not take an interrupt")
            if self.clock.connection in ready:
                self.clock.serve()
            elif device.calls in ready:
                device.called()
                return

    def gone(self, error):
        """The guest has ended, well or badly."""
        self.ended = str(error)
        self.stop()

    def stop(self):
        """End the process and whatever it started; let the sockets and the memory go."""
        for device in self.slots:
            device.socket.close()
        if self.clock is not None:
            self.clock.connection.close()
        if self.process is not None and self.process.returncode is None:
            try:
                self.process.wait(_LAST_WORDS_S)
            except subprocess.TimeoutExpired:
                # The kernel is its session's leader, and each process inside is one outside.
                (os.killpg if self._leads else os.kill)(self.process.pid, signal.SIGKILL)
                self.process.wait()
        if self.keys is not None:
            self.keys.close()
            self.keys = None
        for view in self._memory.values():
            view.release()
        self._memory.clear()
