"""cocotb: one scenario on the card in the simulator; :mod:`.run` starts it."""

import gc
import time
from dataclasses import replace

import cocotb

from offloadcard.config import PRESETS

from ..env import Env, arguments, report
from ..link.config import LINKS
from ..link.world import Event
from .account import traffic_of
from .catalog import CATALOG
from .connections import connections
from .gft import gft
from .interference import interference
from .net import latency_net, net_bidir, net_rx, net_tx
from .nvme import latency_nvme, nvme
from .operations import flow_operations
from .sustained import net_sustained, nvme_sustained, zero_loss

KINDS = {"net_tx": net_tx, "net_rx": net_rx, "net_bidir": net_bidir, "gft": gft, "nvme": nvme,
         "latency_net": latency_net, "latency_nvme": latency_nvme,
         "net_sustained": net_sustained, "nvme_sustained": nvme_sustained,
         "zero_loss": zero_loss, "interference": interference,
         "connections": connections, "flow_operations": flow_operations}
LOGGED = (Event.FRAME_OUT, Event.FRAME_IN, Event.TLP_UP, Event.DOORBELL)
STATIONS = ("latency_net", "latency_nvme")  # what comes down matters too


class BenchEnv(Env):
    """An environment whose measurement begins when the rings are full."""

    def begin(self):
        """Forget what led here; the account and the clocks start now."""
        gc.collect()
        gc.freeze()  # what stands now stays to the end: nobody need look at it again and again
        self.world.log_clear()
        self.world.ledger_clear()
        self.first_frame = self.world.wire_count()
        self.started = self.world.cycle, time.process_time(), time.monotonic()

    def spent(self):
        """``(cycles, CPU seconds, seconds)`` since :meth:`begin`."""
        return tuple(now - then for now, then in zip(
            (self.world.cycle, time.process_time(), time.monotonic()), self.started))


@cocotb.test()
async def measure(dut):
    """Prepare, measure, report; monitors on."""
    asked = arguments()
    scenario = replace(CATALOG[asked["scenario"]], **asked.get("change", {}))
    config = PRESETS[asked["preset"]]
    link = replace(LINKS[asked["link"]], seed=asked["seed"], **asked["options"])
    packets = asked["packets"] or scenario.packets
    log = (*LOGGED, Event.TLP_DOWN) if scenario.kind in STATIONS else LOGGED
    async with BenchEnv(dut, config, link, log=log, guest_octets=1 << 25) as env:
        result = await KINDS[scenario.kind](env, scenario, packets, asked["seed"])
        cycles, cpu_s, wall_s = env.spent()
        up, down = env.world.link_octets()
        report(**result, cycles=cycles, cpu_s=cpu_s, wall_s=wall_s, octets_up=up,
               octets_down=down, residue=env.residue(), traffic=traffic_of(env.world))
