"""What the cases share: the card under test, rigs with tenants, addresses."""

from contextlib import asynccontextmanager
from types import SimpleNamespace

from offloadcard.config import PRESETS
from offloadcard.control.network import AclRule
from offloadcard.control.policy import Match
from sim.env import arguments
from sim.rig import Rig, virtual_network
from sim.traffic import Member

__all__ = ["BLUE", "BLUE_FAR", "RED", "RED_FAR", "VNI_BLUE", "VNI_RED", "VTEP", "card", "config",
           "drive_rig", "member", "net_rig"]

VOLUME_OCTETS = 1 << 20


def card():
    """Arguments of the run: ``preset``, ``seed``, ``rounds``, and what else was given."""
    return SimpleNamespace(**{"seed": 1, "rounds": 20, **arguments()})


def config():
    """The configuration of the card under test."""
    return PRESETS[card().preset]


@asynccontextmanager
async def drive_rig(dut, count=1, link=None, **options):
    """A rig with ``count`` drives of 1 MiB, their drivers started."""
    async with Rig(dut, config(), link) as rig:
        await rig.control()
        await rig.start(net_vfs=0, nvme_vfs=count)
        for n in range(count):
            await rig.provision_drive(n, VOLUME_OCTETS)
        yield rig, [await rig.tenant_drive(n, **options) for n in range(count)]


VNI_RED, VNI_BLUE = 5001, 5002
VTEP = "192.0.2.9"       # of the card behind which all remote members are
RED = [Member(f"02000a0100{n:02x}", f"10.1.0.{n}") for n in range(2, 6)]
BLUE = [Member(f"02000a0200{n:02x}", f"10.1.0.{n}") for n in range(2, 6)]  # the same addresses
RED_FAR, BLUE_FAR = Member("02000a010063", "10.1.0.99"), Member("02000a020063", "10.1.0.99")


def member(n):
    """Tenant ``n``: even ones are red, odd ones blue; (VNI, member, its far peer)."""
    red = n % 2 == 0
    return (VNI_RED if red else VNI_BLUE, (RED if red else BLUE)[n // 2],
            RED_FAR if red else BLUE_FAR)


@asynccontextmanager
async def net_rig(dut, count=2, link=None, *, nvme=0, checksums=False, mtu=1500,
                  rig_options=None, **options):
    """A rig with ``count`` network tenants, red and blue in turn, and ``nvme`` drives.

    Both networks use the same addresses; each has a far member behind ``VTEP``. Any inbound UDP is
    let through.
    """
    open_ = (AclRule("all", 1, Match(), allow=True),)
    async with Rig(dut, config(), link, **(rig_options or {})) as rig:
        rig.checksums = checksums
        await rig.control(service_ns=1_000)
        await rig.start(net_vfs=count, nvme_vfs=nvme)
        networks = {vni: virtual_network(vni, ["10.1.0.0/24"], [
            (str(far.address), far.mac.hex(), VTEP)]) for vni, far in (
                (VNI_RED, RED_FAR), (VNI_BLUE, BLUE_FAR))}
        for n in range(count):
            vni, own, _ = member(n)
            await rig.provision_net(n, networks[vni], own.mac.hex(), [str(own.address)],
                                    acl=open_, mtu=mtu)
        for n in range(nvme):
            await rig.provision_drive(n, VOLUME_OCTETS)
        rig.networks = networks
        drivers = [await rig.tenant_net(n, **options) for n in range(count)]
        rig.drives = [await rig.tenant_drive(n) for n in range(nvme)]
        yield rig, drivers
