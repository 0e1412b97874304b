"""Act 1: the card comes up, is found, and its functions are given to guests."""

from offloadcard.control.network import AclRule
from offloadcard.control.policy import Match
from sim.demo.tenants import stations_of, steps_of
from sim.host.pci_regs import PCI_CAP_ID_EXP, PCI_CAP_ID_MSIX
from sim.rig import virtual_network

from ..gateway import Gateway

ANYTHING = (AclRule("anything", 1, Match(), allow=True),)
NEIGHBOUR = ("02000a0100fe", "10.1.0.254")


def _neighbour(station):
    """An address that nobody of the capture has, in the first IPv4 subnet of red."""
    prefix = next(p for p in station.prefixes if p.version == 4)
    return str(prefix.broadcast_address - 1)


async def play(stage):
    act = stage.open("arrival", "The card arrives, is enumerated and shared out")
    rig = stage.rig
    stage.stations, frames = stations_of(stage.arguments["pcap"])
    stage.steps = steps_of(stage.stations, frames)
    await rig.control()
    start = stage.now_us
    await rig.start(net_vfs=3, nvme_vfs=1)
    machine = rig.machine
    act.fact("functions found", len(machine.functions), "2 physical, 4 virtual")
    act.fact("enumeration and SR-IOV", stage.now_us - start, "µs")
    act.equal("routing ids of the virtual functions are where SR-IOV and ARI put them",
              [vf.rid & 0xFF for vf in (*machine.net, *machine.nvme)],
              [2, 3, 4, rig.config.first_nvme_vf])
    for vf in (*machine.net, *machine.nvme):
        act.check(f"{vf} has PCI Express and MSI-X capabilities",
                  None not in (vf.capability(PCI_CAP_ID_EXP), vf.capability(PCI_CAP_ID_MSIX)))
    await _networks(stage)
    image = stage.arguments["image_octets"]
    await rig.provision_drive(0, image)
    for n in range(3):
        stage.guests.append(await rig.tenant_net(n, queue_size=64))
    stage.drive = await rig.tenant_drive(0)
    for guest, mac in zip(stage.guests, [s.mac for s in stage.stations]):
        act.equal(f"the driver of {guest.function} reads its own MAC", guest.mac, mac)
    act.check("the drive's driver finds its volume",
              stage.drive.namespaces == {1: (image // 512, 512)}, stage.drive.namespaces)
    red, blue = stage.stations
    act.say(f"An operating system's enumeration finds two physical functions, a network card and "
            f"a drive, and enables SR-IOV on both. Three virtual network cards and one virtual "
            f"drive go to four guests. Red ({', '.join(map(str, red.addresses))}) lives in virtual "
            f"network {stage.vnis[0]}, blue ({', '.join(map(str, blue.addresses))}) in "
            f"{stage.vnis[1]}: neither can name the other's network, both use the same subnet.")


async def _networks(stage):
    """Red and blue, each with the other's station behind a tunnel; red's neighbour on the card."""
    rig, (red, blue) = stage.rig, stage.stations
    prefixes = list(dict.fromkeys((*red.prefixes, *blue.prefixes)))
    networks = []
    for vni, far, vtep in zip(stage.vnis, (blue, red), stage.vteps):
        networks.append(virtual_network(vni, prefixes, [
            (str(address), far.mac.hex(), vtep) for address in far.addresses]))
    # Red began the conversations: what comes back to it needs no line of its own.
    await rig.provision_net(0, networks[0], red.mac.hex(), red.addresses)
    await rig.provision_net(1, networks[1], blue.mac.hex(), blue.addresses, acl=ANYTHING)
    stage.neighbour = _neighbour(red)
    await rig.provision_net(2, networks[0], NEIGHBOUR[0], [stage.neighbour], acl=ANYTHING)
    stage.gateway = Gateway(rig.env, stage.out / "wire.pcap", {
        (stage.vnis[0], _vtep(stage.vteps[0])): (stage.vnis[1], stage.vteps[1]),
        (stage.vnis[1], _vtep(stage.vteps[1])): (stage.vnis[0], stage.vteps[0])})


def _vtep(text):
    from ipaddress import IPv4Address
    return IPv4Address(text)
