"""Volumes: which octets of the card's DRAM are a namespace of a function."""

from dataclasses import dataclass

from ..nvme_emul.spec import MANAGEMENT, VOLUMES
from ..rtl.spec_card import HOUSE_NVME
from .house import House
from .ports import Mutex
from .topology import ProvisioningError

__all__ = ["Volume", "StorageLimit", "Store", "VolumeTable"]

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


@dataclass(frozen=True)
class StorageLimit:
    """What a function may ask of its volumes; 0 is no limit. Bursts are what it may ask at once
    after a rest: commands, and octets."""
    commands_per_second: int = 0
    octets_per_second:   int = 0
    burst_commands:      int = 64
    burst_octets:        int = 1 << 20

    def rows(self, *, clock_mhz, round_cycles):
        """Fields of ``LIMIT_COMMANDS`` and ``LIMIT_BLOCKS`` of a card with that clock."""
        rows = []
        for name, rate, burst, bits in (
                ("commands_per_second", self.commands_per_second, self.burst_commands, (32, 16)),
                ("octets_per_second", self.octets_per_second / 512, self.burst_octets // 512,
                 (40, 24))):
            credit = round(rate * round_cycles / (clock_mhz * 1_000_000) * 65_536)
            if rate < 0 or credit >= 1 << bits[0] or (rate and not credit):
                raise ProvisioningError(f"`{name}` must be one that the card can count, "
                                        f"not {getattr(self, name)!r}")
            if burst not in range(1 << bits[1]):
                raise ProvisioningError(f"the burst beside `{name}` must fit {bits[1]} bits, "
                                        f"not {burst!r}")
            rows.append({"rate": credit, "burst": burst})
        return rows


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

    # --- allowances -----------------------------------------------------------------------------

    async def set_limit(self, function_id, limit, *, clock_mhz):
        """Another allowance of a function, at once; what it has asked for already is charged."""
        round_cycles = await self.house.read("LIMIT_ROUND")
        commands, blocks = limit.rows(clock_mhz=clock_mhz, round_cycles=round_cycles)
        async with self._mutex:
            await self.house.write("LIMIT_INDEX", function_id)
            await self.house.write("LIMIT_COMMANDS", commands)
            await self.house.write("LIMIT_BLOCKS", blocks)
            await self.house.write("LIMIT_STORE", 1)

    async def exceeded(self, function_id):
        """How often the function was put off for its allowance; wraps at 32 bits."""
        async with self._mutex:
            await self.house.write("LIMIT_INDEX", function_id)
            return await self.house.read("LIMIT_EXCEEDED")
