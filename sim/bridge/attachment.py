"""The boundary between someone's machine and the card's world.

On one side stands a *machine* that runs a guest nobody of us wrote: User-Mode Linux in virtual
time, or QEMU by vfio-user. On the other stands the card in its simulated PCIe link, behind a
:class:`~sim.bridge.root_port.RootPort`. They meet in four things only, so that a new kind of
machine is one new :class:`Attachment` and nothing else:

*Accesses.* A machine holds :class:`Port` objects, one a function, and awaits their config and BAR
accesses. Each becomes TLPs and takes the time that it takes on the link. Reads return octets as
the CPU of a PC would see them: all ones where nobody answers. Writes are posted and return at
once.

*Memory.* A machine lends its guest's memory as open files (``RootPort.map_memory``). The card's
DMA then touches the very octets that the guest's CPU sees; no copy is made, and a function reaches
the memory of its own guest only. A machine must keep still while the card's clock runs, or be
prepared for what real DMA does.

*Interrupts.* MSI-X messages are memory writes into windows that the machine has named
(``RootPort.map_messages``). Each is handed to :meth:`Attachment.message` in posted order, at the
simulated time of its arrival, from inside the simulation: the method only notes it.

*Time.* The simulation has one time line: that of the simulator, in which the card's clock ticks.
A machine in virtual time (UML) is stopped whenever the card runs, and the other way round: its
calendar is :class:`sim.bridge.calendar.Calendar`. A machine in its own time (QEMU) is served as
its requests come, and the card's clock runs in between; no figure is taken from such a run.
"""

from abc import ABC, abstractmethod

__all__ = ["Attachment", "Port"]


class Port(ABC):
    """One function of the card, as a machine reaches it.

    Attributes
    ----------
    name : str
        ``pf0``, ``pf1``, ``netN`` or ``nvmeN``.
    """

    name = None

    @abstractmethod
    async def config_read(self, offset, size):
        """A number of 1 to 8 octets of config space; all ones where no function answers."""

    @abstractmethod
    async def config_write(self, offset, size, value):
        """Write 1 to 8 octets of config space; returns when the write has been completed."""

    @abstractmethod
    async def bar_read(self, bar, offset, size):
        """``size`` octets of a BAR; all ones where the card refuses."""

    @abstractmethod
    async def bar_write(self, bar, offset, octets):
        """A posted write to a BAR: returns when it is under way."""


class Attachment(ABC):
    """A machine with a guest, attached to some functions of the card.

    Attributes
    ----------
    number : int
        Of the guest; its memory and its functions belong to it.
    ports : list of Port
    """

    number, ports = None, ()

    @abstractmethod
    def message(self, port, address, data):
        """The function of ``port`` wrote ``data`` (4 octets) to ``address``; must not block."""
