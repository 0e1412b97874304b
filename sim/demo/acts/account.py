"""Act 8: every octet on the PCIe link has a name."""


async def play(stage):
    act = stage.open("account", "Every octet on the link is accounted for")
    env = stage.rig.env
    for guest in stage.guests:
        await guest.stop()
    table = env.account()
    for name, (up, down) in sorted(table.items(), key=lambda item: -sum(item[1])):
        act.fact(name, up + down, f"octets ({up:,} up, {down:,} down)")
    up, down = env.world.link_octets()
    act.equal("octets that the ledger does not know, (up, down)", env.residue(), (0, 0))
    act.equal("violations found by the monitors of legality and isolation",
              len(env.world.violations()), 0)
    counted = await stage.rig.controller.port_counters()
    for name in ("tx_frames", "rx_frames"):
        if name in counted:
            act.fact(f"MAC, {name}", counted[name], "frames")
    act.say(f"The link carried {up:,} octets from the card and {down:,} to it. A ledger apart "
            "from the card names each by its purpose, and nothing is left over. A monitor has "
            "watched every packet on the link for legality and for whose memory it touched.")
