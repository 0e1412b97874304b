"""Allowances of storage: rates become credits of a round; what cannot be counted is refused."""

import pytest

from offloadcard.control.topology import ProvisioningError
from offloadcard.control.volumes import StorageLimit, VolumeTable
from offloadcard.nvme_emul.spec import MANAGEMENT
from offloadcard.rtl.spec_card import HOUSE_NVME, house_address

ROUND = {"clock_mhz": 250, "round_cycles": 4096}


def test_credits_of_a_round():
    """100,000 commands a second are 1.6384 in 4,096 cycles of 4 ns; 1 GB/s are 32 blocks."""
    limit = StorageLimit(commands_per_second=100_000, octets_per_second=1_000_000_000,
                         burst_commands=8, burst_octets=8192)
    assert limit.rows(**ROUND) == [{"rate": round(1.6384 * 65_536), "burst": 8},
                                   {"rate": 32 * 65_536, "burst": 16}]
    assert StorageLimit().rows(**ROUND)[0]["rate"] == 0


@pytest.mark.parametrize("limit", [
    StorageLimit(commands_per_second=-1), StorageLimit(commands_per_second=1 << 50),
    StorageLimit(octets_per_second=1), StorageLimit(commands_per_second=10, burst_commands=65_536),
])
def test_refused(limit):
    with pytest.raises(ProvisioningError, match="must"):
        limit.rows(**ROUND)


class RecordingPort:
    """Registers that keep what is written; LIMIT_ROUND reads 4,096, LIMIT_EXCEEDED 5."""

    def __init__(self):
        self.log = []

    async def write(self, address, data):
        self.log.append((address, data))

    async def read(self, address):
        return {house_address(HOUSE_NVME, MANAGEMENT["LIMIT_ROUND"].offset): 4096,
                house_address(HOUSE_NVME, MANAGEMENT["LIMIT_EXCEEDED"].offset): 5}[address]


def test_set_limit():
    """The function first, both rows, then the store; the count is that of the function asked."""
    port = RecordingPort()
    table = VolumeTable(port)

    def run(coroutine):
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value
        raise AssertionError("the port never waits")

    run(table.set_limit(9, StorageLimit(commands_per_second=100_000, burst_commands=8),
                        clock_mhz=250))
    at = {name: house_address(HOUSE_NVME, MANAGEMENT[name].offset) for name in (
        "LIMIT_INDEX", "LIMIT_COMMANDS", "LIMIT_BLOCKS", "LIMIT_STORE")}
    assert port.log == [
        (at["LIMIT_INDEX"], 9), (at["LIMIT_COMMANDS"], 8 << 32 | round(1.6384 * 65_536)),
        (at["LIMIT_BLOCKS"], 2048 << 40), (at["LIMIT_STORE"], 1)]
    assert run(table.exceeded(9)) == 5
