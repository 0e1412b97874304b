"""What the cases share: the card under test, rigs with tenants, addresses."""

from contextlib import asynccontextmanager
from types import SimpleNamespace

from offloadcard.config import PRESETS
from sim.env import arguments
from sim.rig import Rig

__all__ = ["card", "drive_rig", "config"]

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
