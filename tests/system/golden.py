"""The golden cycle counts of the benchmark, and how they are written anew.

    python -m tests.system.golden

measures every one of them and writes ``golden.json``; a commit that changes
it says why. Everything is deterministic: one cycle more is a change of the card or of its world.
"""

import json
from pathlib import Path

from sim.bench.run import run_scenario

__all__ = ["PACKETS", "GOLDEN", "counts_of", "known"]

GOLDEN = Path(__file__).with_name("golden.json")

# Preset -> operations of each scenario; as many as a card of rings of eight needs to say something,
# and of the large one what design asks for: every burst, and the idle latencies.
PACKETS = {
    "tiny": {
        **dict.fromkeys(("net-tx-64", "net-rx-64", "net-bidir-64", "gft-64", "gft-64-vxlan",
                         "nvme-read-4k", "nvme-write-4k", "nvme-read-512", "nvme-mixed-4k",
                         "latency-net", "latency-nvme", "flow-operations"), 64),
        **dict.fromkeys(("net-tx-64-sustained", "net-rx-64-sustained", "card-64-all",
                         "net-rx-64-zero-loss", "nvme-mixed-4k-sustained", "interference-flr-loop",
                         "interference-timeouts"), 128),
        "connections": 8,
    },
    "model": {
        **dict.fromkeys(("net-tx-64", "net-rx-64", "net-bidir-64", "gft-64", "gft-64-vxlan",
                         "nvme-read-512"), 1024),
        **dict.fromkeys(("net-tx-1514", "net-rx-1514", "nvme-read-4k", "nvme-write-4k",
                         "nvme-mixed-4k"), 256),
        **dict.fromkeys(("latency-net", "latency-nvme"), 64),
    },
}


def counts_of(record):
    """What a record must repeat: cycles, operations, octets of the link both ways."""
    operations = record["operations"]
    return {"cycles": record["sim"]["cycles"], "operations": operations,
            **{way: round(record["metrics"][f"pcie_bytes_{way}"] * operations)
               for way in ("up", "down")}}


def known(preset):
    """The golden counts of a preset, by scenario."""
    return json.loads(GOLDEN.read_text())[preset]


def main():
    """Write them anew."""
    presets = []
    for preset, packets in PACKETS.items():
        rows = []
        for name, count in packets.items():
            row = counts_of(run_scenario(name, preset=preset, packets=count))
            print(preset, name, row, flush=True)
            rows.append(f'  "{name}": {json.dumps(row)}')
        presets.append(f' "{preset}": {{\n' + ",\n".join(rows) + "\n }")
    GOLDEN.write_text("{\n" + ",\n".join(presets) + "\n}\n")


if __name__ == "__main__":
    main()
