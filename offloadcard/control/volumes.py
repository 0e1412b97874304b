"""Volumes: which octets of the card's DRAM are a namespace of a function."""

from dataclasses import dataclass

from ..nvme_emul.spec import MANAGEMENT, VOLUMES
from ..rtl.spec_card import HOUSE_NVME
from .house import House
from .ports import Mutex
from .topology import ProvisioningError

__all__ = ["Volume", "Store", "VolumeTable"]

_ALIGNMENT = 4096


@dataclass(frozen=True)
class Volume:
    """A namespace; ``base`` is chosen by the controller unless it is given."""
    function_id:  int
    nsid:         int
    blocks:       int
    block_octets: int = 512
    read_only:    bool = False
    base:         int | None = None

    def __post_init__(self):
        if self.nsid not in range(1, VOLUMES + 1):
            raise ProvisioningError(f"`nsid` must be 1 to {VOLUMES}, not {self.nsid!r}")
        if self.block_octets not in (512, 4096):
            raise ProvisioningError(f"`block_octets` must be 512 or 4096, "
                                    f"not {self.block_octets!r}")
        if self.blocks not in range(1, 1 << 40):
            raise ProvisioningError(f"`blocks` must be positive and fit 40 bits, "
                                    f"not {self.blocks!r}")
        if self.base is not None and (self.base < 0 or self.base % _ALIGNMENT):
            raise ProvisioningError(f"`base` must be a multiple of {_ALIGNMENT}, not {self.base}")

    @property
    def octets(self):
        """Size."""
        return self.blocks * self.block_octets


class Store:
    """The DRAM behind the volumes: who has which octets. Two volumes never overlap."""

    def __init__(self, octets):
        self.octets = octets
        self.taken  = {}  # (function_id, nsid) -> range

    def copy(self):
        """The same, to try a change on."""
        other = Store(self.octets)
        other.taken = dict(self.taken)
        return other

    def place(self, volume):
        """Where ``volume`` shall lie; the room is taken."""
        name = volume.function_id, volume.nsid
        if name in self.taken:
            raise ProvisioningError(f"function {name[0]} must not have volume {name[1]} already")
        size = -(-volume.octets // _ALIGNMENT) * _ALIGNMENT
        taken = sorted((r.start, r.stop) for r in self.taken.values())
        base = volume.base
        if base is None:
            base = 0
            for start, stop in taken:
                if base + size <= start:
                    break
                base = stop
        elif any(base < stop and start < base + size for start, stop in taken):
            raise ProvisioningError(f"`base` {base:#x} must not overlap another volume")
        if base + size > self.octets:
            raise ProvisioningError(f"volume of {volume.octets} octets must fit the card's "
                                    f"{self.octets}, of which {self._free()} are free")
        self.taken[name] = range(base, base + size)
        return base

    def _free(self):
        return self.octets - sum(len(r) for r in self.taken.values())


class VolumeTable:
    """The window to the volume rows."""

    def __init__(self, port):
        self.house  = House(port, HOUSE_NVME, MANAGEMENT)
        self._mutex = Mutex(port)

    async def store(self, volume, base):
        """Make ``volume`` at ``base`` a namespace of its function."""
        await self._write(volume.function_id, volume.nsid, base, volume.blocks, {
            "valid": 1, "read_only": int(volume.read_only),
            "blocks_4096": int(volume.block_octets == 4096)})

    async def clear(self, function_id, nsid):
        """There is no such namespace any more."""
        await self._write(function_id, nsid, 0, 0, {})

    async def _write(self, function_id, nsid, base, blocks, flags):
        async with self._mutex:
            await self.house.write("VOLUME_INDEX", {"function_id": function_id, "nsid": nsid})
            await self.house.write("VOLUME_BASE", base)
            await self.house.write("VOLUME_BLOCKS", blocks)
            await self.house.write("VOLUME_FLAGS", flags)
            await self.house.write("VOLUME_STORE", 1)
            # The row is there 64 cycles later; no card of ours has a clock under 50 MHz.
            await self.house.port.sleep(64 * 20)

    async def set_media(self, *, latency_cycles=0, octets_per_cycle=0.0):
        """How slow the media behind the volumes are; 0 is off."""
        await self.house.write("MEDIA_LATENCY", latency_cycles)
        await self.house.write("MEDIA_RATE", round(octets_per_cycle * 256))
