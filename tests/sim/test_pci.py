"""The host's view of PCI, tried on the model of the card."""

import re
from pathlib import Path

import pytest

from sim.host import pci_regs
from sim.host.enumeration import SriovPf, enumerate_bus
from sim.host.pci import BarWindow, walk_capabilities, walk_extended
from sim.models.pci import ModelBus, build_card

HEADER = Path("/usr/include/linux/pci_regs.h")
WINDOW = 0x40_0000_0000


class Scratch:
    """A device of one register."""
    vendor_bodies = ()

    def __init__(self):
        self.value = 0

    def attach(self, function):
        self.function = function

    def read(self, offset, size):
        return self.value

    def write(self, offset, size, value):
        self.value = value

    def reset(self):
        self.value = 0


def card(**options):
    bus = ModelBus()
    build_card(bus, net=lambda n: Scratch(), nvme=lambda n: Scratch(), **options)
    return bus


async def found(bus, *, ari=True):
    window = BarWindow(WINDOW, 1 << 30)
    functions = await enumerate_bus(bus, 1, window, ari=ari)
    return functions, window


@pytest.mark.skipif(not HEADER.exists(), reason="needs Debian's linux-libc-dev")
def test_registers_are_those_of_linux():
    theirs = {m[1]: int(m[2], 0) for m in re.finditer(
        r"^#define\s+(PCI_\w+)\s+(0x[0-9a-fA-F]+|\d+)\b", HEADER.read_text(), re.MULTILINE)}
    ours = {k: v for k, v in vars(pci_regs).items() if k.startswith("PCI_")}
    shared = ours.keys() & theirs.keys()
    assert {k: ours[k] for k in shared} == {k: theirs[k] for k in shared}
    # Newer headers or the kernel's private ones have these; the standard has the values.
    assert ours.keys() - theirs.keys() <= {"PCI_HEADER_TYPE_MFD", "PCI_ERROR_RESPONSE",
                                           "PCI_VENDOR_ID_CRS"}


@pytest.mark.parametrize("ari", [True, False])
def test_enumeration_finds_both_physical_functions(ari):
    bus = card()
    functions, _ = bus.run(found(bus, ari=ari))
    assert [f.rid for f in functions] == [0x100, 0x101]
    assert functions[0].vendor_id == 0x1AF4 and functions[0].device_id == 0x1041
    for function in functions:
        assert [size for _, size in function.bars.values()] == [0x10000, 0x10000]
        assert function.capability(pci_regs.PCI_CAP_ID_MSIX)
        assert function.extended_capability(pci_regs.PCI_EXT_CAP_ID_SRIOV)


def test_virtual_functions_have_their_own_registers():
    bus = card(vfs=3)

    async def story():
        functions, window = await found(bus)
        groups = []
        for function in functions:
            pf = SriovPf(function)
            await pf.setup(window)
            groups.append(await pf.enable(3))
        vfs = [vf for group in groups for vf in group]
        for n, vf in enumerate(vfs):
            await vf.enable()
            await bus.write(vf.bars[0][0], 4, n)
        assert [await bus.read(vf.bars[0][0], 4) for vf in vfs] == list(range(6))
        assert [vf.rid for vf in vfs] == [0x102, 0x103, 0x104, 0x105, 0x106, 0x107]
        await vfs[1].flr()
        await vfs[1].restore()
        assert [await bus.read(vf.bars[0][0], 4) for vf in vfs] == [0, 0, 2, 3, 4, 5]
        return vfs

    assert len(bus.run(story())) == 6


def test_msix_masks_hold_a_message_back():
    bus = card()

    async def story():
        functions, _ = await found(bus)
        net = functions[0]
        await net.enable()
        messages = await net.msix_enable(3)
        device = bus.physical[net.rid]
        device.interrupt(1)
        assert [bus.messages_seen(m) for m in messages] == [0, 1, 0]
        await net.msix_mask(1, True)
        device.interrupt(1)
        assert bus.messages_seen(messages[1]) == 1 and await net.msix_pending() == 2
        await net.msix_mask(1, False)
        assert bus.messages_seen(messages[1]) == 2 and await net.msix_pending() == 0

    bus.run(story())


def test_a_looping_list_is_refused():
    async def read(offset, size):
        return {6: 0x10, 0x34: 0x40, 0x40: 1, 0x41: 0x40, 0x100: 0x1000_0001}.get(offset, 0)

    bus = card()
    with pytest.raises(ValueError, match="must not go to 0x40"):
        bus.run(walk_capabilities(read))
    with pytest.raises(ValueError, match="must not go to 0x100"):
        bus.run(walk_extended(read))


def test_the_window_can_be_full():
    window = BarWindow(0x1000, 0x1000)
    assert window.take(0x800) == 0x1000
    with pytest.raises(ValueError, match="must hold"):
        window.take(0x1000)
