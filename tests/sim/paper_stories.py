"""What the guests of paper do: each story is a driver's doing in a few accesses, and asserts."""

# Ref: nvme-base-1.4c, 3.1 (Register Definition), 5.15 (Identify command)


def place(slot, first=0x1000_0000):
    """Size and place both BARs, as Linux does; memory and bus master on."""
    for n, bar in enumerate((0, 2)):
        slot.configure(0x10 + 4 * bar, 4, 0xFFFF_FFFF)
        slot.configure(0x14 + 4 * bar, 4, 0xFFFF_FFFF)
        low, high = slot.config(0x10 + 4 * bar), slot.config(0x14 + 4 * bar)
        assert low & 0xF == 4 and (low & ~0xF | high << 32) == 2**64 - 0x10000, (low, high)
        slot.configure(0x10 + 4 * bar, 4, first + 0x10000 * n)
        slot.configure(0x14 + 4 * bar, 4, 0)
        assert slot.config(0x10 + 4 * bar) == first + 0x10000 * n | 4
        assert slot.config(0x14 + 4 * bar) == 0
    slot.configure(0x04, 2, 0x406)


def express(slot):
    """Offset of the PCI Express capability."""
    at = slot.config(0x34, 1)
    while slot.config(at, 1) != 0x10:
        at = slot.config(at + 1, 1)
    return at


def extended(slot):
    """Ids of the extended list."""
    at, found = 0x100, {}
    while at:
        header = slot.config(at)
        found[header & 0xFFFF] = at
        at = header >> 20
    return found


def identify(guest, slot, vector=1):
    """Bring an NVMe controller up, identify it, by interrupt; its serial number."""
    queues = 0x10_0000 + 0x8_0000
    assert slot.read(0, 0x1C) & 1 == 0
    slot.write(0, 0x24, 4, 7 << 16 | 7)
    slot.write(0, 0x28, 8, queues)
    slot.write(0, 0x30, 8, queues + 0x1000)
    for offset, value in ((0, 0xA0000), (4, 0), (8, 40 + vector), (12, 0)):
        slot.write(2, offset, 4, value)
    flags = next(at for at in range(0x40, 0x100, 4) if slot.config(at, 1) == 0x11) + 2
    slot.configure(flags, 2, slot.config(flags, 2) | 0x8000)
    slot.write(0, 0x14, 4, 6 << 16 | 4 << 20 | 1)
    while not slot.read(0, 0x1C) & 1:
        guest.sleep(10_000)
    command = bytearray(64)
    command[0], command[2], command[40] = 6, 9, 1
    command[24:32] = (queues + 0x2000).to_bytes(8, "little")
    guest.put(queues, bytes(command))
    began = guest.time
    slot.write(0, 0x1000, 4, 1)
    assert guest.sleep(1_000_000)
    assert slot.interrupts() == [(0xA0000, 40 + vector)]
    entry = guest.get(queues + 0x1000, 16)
    assert entry[12:16] == (9 | 1 << 16).to_bytes(4, "little")
    guest.log["identify_ns"] = guest.time - began
    return guest.get(queues + 0x2000 + 4, 20).decode().strip()


def physical_functions(guest):
    """Both PFs: topology, BARs, identify, FLR, and everything again."""
    net, drive = guest.slots
    assert (net.config(0), drive.config(0x08) >> 8) == (0x1041_1AF4, 0x01_0802)
    for slot in guest.slots:
        assert slot.config(0x0E, 1) & 0x80 == 0
        assert slot.config(express(slot) + 2, 2) >> 4 & 15 == 9
        assert set(extended(slot)) == {0x01, 0x0D}
        place(slot)
    assert net.read(0, 0x14, 1) == 0
    serial = identify(guest, drive)
    for slot in guest.slots:
        slot.configure(express(slot) + 8, 2, 0x8000)  # FLR
        guest.sleep(100_000_000)
        assert slot.config(0x10) == 4 and slot.config(0x04, 2) & 6 == 0
        assert slot.read(0, 0x1C) == 0xFFFF_FFFF
        for offset, value in ((0x10, 0x1000_0004), (0x14, 0), (0x18, 0x1001_0004), (0x1C, 0)):
            if slot.config(offset) != value:  # as Linux restores a function
                slot.configure(offset, 4, value)
        slot.configure(0x04, 2, 0x406)
    assert net.read(0, 0x14, 1) == 0
    assert identify(guest, drive, vector=2) == serial
    guest.log["serial"] = serial
    began = guest.time
    guest.sleep(5_000_000_000)
    assert guest.time - began == 5_000_000_000


def own_virtual_functions(guest):
    """PF1 with two VFs in slots 1 and 2, which the guest enables and disables."""
    physical, *virtual = guest.slots
    place(physical)
    at = extended(physical)[0x10]
    assert physical.config(at + 0x0C) == 2 | 2 << 16
    assert physical.config(at + 0x14) == 8 | 8 << 16
    assert physical.config(at + 0x12, 1) == 0
    assert all(slot.config(0) == 0xFFFF_FFFF for slot in virtual)
    for offset in (0x24, 0x2C):
        physical.configure(at + offset, 4, 0xFFFF_FFFF)
        assert physical.config(at + offset) == 0xFFFF_0004
        physical.configure(at + offset, 4, 0x2000_0000)
    physical.configure(at + 0x10, 2, 2)
    physical.configure(at + 0x08, 2, 9)
    guest.sleep(100_000_000)
    serials = set()
    for slot in virtual:
        assert slot.config(0x34, 1) != 0 and slot.config(0) == 0xFFFF_FFFF
        assert 0x10 not in extended(slot)
        slot.configure(4, 2, 4)
        serials.add(identify(guest, slot))
    assert len(serials) == 2
    physical.configure(at + 0x08, 2, 0)
    guest.sleep(100_000_000)
    assert all(slot.config(0x08) == 0xFFFF_FFFF for slot in virtual)


def lonely_virtual_function(guest):
    """A VF without its PF looks like any function."""
    slot, = guest.slots
    assert slot.config(0) not in (0xFFFF_FFFF, 0) and slot.config(0x08) >> 8 == 0x01_0802
    assert slot.read(0, 0) == 0xFFFF_FFFF
    place(slot)
    assert slot.config(0x04, 2) & 6 == 6
    guest.log["serial"] = identify(guest, slot)
