"""The demo's cocotb test: it plays the acts in order and writes what they found."""

import importlib
import json
import time
from pathlib import Path

import cocotb

from offloadcard.config import PRESETS
from sim.env import arguments
from sim.rig import Rig

from .stage import Stage


@cocotb.test()
async def story(dut):
    given = arguments()
    config = PRESETS[given["preset"]]
    out, started = Path(given["out"]), time.monotonic()
    async with Rig(dut, config, guest_octets=1 << 24, dram_octets=1 << 25) as rig:
        stage = Stage(rig, out, given)
        for name in Stage.ACTS:
            module = importlib.import_module(f"sim.demo.acts.{name}")
            began = rig.env.now_ns, time.monotonic()
            await module.play(stage)
            act = stage.acts[-1]
            act.fact("simulated time", (rig.env.now_ns - began[0]) / 1000, "µs")
            act.fact("wall time", time.monotonic() - began[1], "s")
        stage.gateway.close()
        (out / "results.json").write_text(json.dumps({
            "config": {"preset": config.name, "data path": f"{config.data_width} bits",
                       "clock (stated)": f"{config.clock_mhz} MHz",
                       "functions": config.functions, "PCIe link": "Gen3 x16",
                       "host memory read": f"{rig.env.link.host_latency_ns} ns",
                       "port": f"{config.port_gbps} Gb/s"},
            "seed": given["seed"], "commit": given["commit"], "timeline": stage.timeline,
            "acts": [act.as_dict() for act in stage.acts],
            "sim": {"cycles": rig.env.world.cycle, "wall_s": time.monotonic() - started,
                    "clock_mhz": config.clock_mhz},
        }, indent=1))
