"""From the event log of a run to one packet's way."""

from sim.link.world import Event

__all__ = ["timeline_of"]

READ_FORMATS = (0x00, 0x20)


def timeline_of(log, driver):
    """Steps of the one frame that ``driver`` sent while ``log`` was kept."""
    rings = {"available ring": driver.tx.avail, "descriptor": driver.tx.desc,
             "used ring": driver.tx.used}
    rid, steps, asked = driver.function.rid, [], []

    def place(address):
        return next((name for name, region in rings.items()
                     # A request names whole double words, a ring may begin in the midst of one.
                     if region.address & ~3 <= address < region.address + region.size), "frame")

    def add(record, where, what):
        steps.append({"ns": int(record["time_ps"]) / 1000, "where": where, "what": what})

    for record in log:
        kind, address, rest = record["kind"], int(record["b"]), int(record["c"])
        octets, form = rest >> 16, rest >> 8 & 0xFF
        if kind == Event.DOORBELL and address == driver.device.notify_at[1]:
            add(record, "guest", "the guest's doorbell write enters the card")
        elif kind == Event.TLP_UP and record["a"] == rid and form in READ_FORMATS:
            asked.append(place(address))
            add(record, "PCIe", f"the card asks for the {asked[-1]}: {octets} octets")
        elif kind == Event.TLP_UP and record["a"] == rid and form & 0x40 and form & 0x1F == 0:
            name = place(address)
            what = "its index" if octets <= 4 else "the entry"
            add(record, "PCIe", f"the card writes the {name}: {what}"
                if name == "used ring" else f"the card writes {octets} octets")
        elif kind == Event.TLP_DOWN and form == 0x4A and asked:
            add(record, "host", f"the host answers: {octets} octets")
        elif kind == Event.EXCEPTION:
            add(record, "processor", "to the slow path")
        elif kind == Event.FRAME_OUT:
            add(record, "wire", f"the frame leaves by the wire: {address} octets")
    if steps:
        start = next((n for n, s in enumerate(steps) if s["where"] == "guest"), 0)
        del steps[:start]
    return steps
