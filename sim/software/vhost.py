"""DPDK's vhost: one thread drives both ends of a real virtio ring, virtio-user and vhost."""

import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from .measure import REPEATS, Skip, busy_of, figure, last_core, on_cpu, threads, wait_for

__all__ = ["NAME", "TITLE", "measure"]

NAME, TITLE = "vhost-user", "DPDK vhost to virtio-user, 64 B, one core"
INSTALL = "apt install dpdk dpdk-dev"
RING, MEGABYTES = 1024, 512


class _Testpmd:
    """testpmd at its prompt; it wants its standard input open all the time."""

    def __init__(self, folder, core):
        self.folder, self.log = Path(folder), Path(folder) / "log"
        first = min(os.sched_getaffinity(0) - {core} or {core})
        # Without huge pages the figure is a third lower, which `memory` says.
        self.memory = "no huge pages"
        line = ["dpdk-testpmd", "-l", f"{first},{core}", "--no-pci", "-v", "--no-telemetry",
                "--no-huge", "-m", str(MEGABYTES), f"--file-prefix=oc{os.getpid()}",
                f"--vdev=net_vhost0,iface={folder}/ring,queues=1", "--", "-i", "--nb-cores=1",
                "--no-flush-rx", f"--txd={RING}", f"--rxd={RING}", "--forward-mode=io",
                "--total-num-mbufs=20000", "--port-topology=paired"]
        self.process = subprocess.Popen(
            ["stdbuf", "-oL", *line], stdin=subprocess.PIPE, stdout=self.log.open("wb"),
            stderr=subprocess.STDOUT, env={**os.environ, "XDG_RUNTIME_DIR": str(folder)})

    def text(self):
        return self.log.read_text(errors="replace")

    def say(self, line, pause_s=0.5):
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()
        time.sleep(pause_s)

    def ready(self):
        if self.process.poll() is not None:
            raise Skip(f"dpdk-testpmd ended: {self.text()[-300:].strip()}")
        return "testpmd>" in self.text()

    def packets(self):
        """Packets that port 0 has received and sent."""
        seen = self.text().count("NIC statistics for port 0")
        self.say("show port stats 0", 0)
        wait_for(lambda: self.text().count("NIC statistics for port 0") > seen
                 and "Rx-pps" in self.text().split("NIC statistics for port 0")[-1], "statistics")
        block = self.text().split("NIC statistics for port 0")[-1]
        return sum(int(re.search(rf"{way}-packets: (\d+)", block)[1]) for way in ("RX", "TX"))

    def end(self):
        if self.process.poll() is None:
            self.say("quit", 0)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def measure(*, seconds=1.0, repeats=REPEATS, octets=60):
    """The figure: ring crossings a second of one core."""
    if not shutil.which("dpdk-testpmd"):
        raise Skip("dpdk-testpmd is not installed", INSTALL)
    core, runs, waits = last_core(), [], []
    with tempfile.TemporaryDirectory(prefix="oc-vhost-") as folder:
        testpmd = _Testpmd(folder, core)
        try:
            wait_for(testpmd.ready, "testpmd's prompt")
            time.sleep(0.5)
            # vhost first, then its other end: both at once wait for each other.
            testpmd.say(f"port attach net_virtio_user0,path={folder}/ring,queues=1,"
                        f"queue_size={RING},mrg_rxbuf=0,in_order=1", 1.5)
            for line in ("port start 1", "set portlist 0,1", "set fwd io", f"set txpkts {octets}",
                         "start tx_first 16"):
                testpmd.say(line)
            worker = [tid for name in ("rte-worker", "lcore-worker")
                      for tid in threads(testpmd.process.pid, name)]
            if not worker:
                raise Skip("testpmd has no worker thread")
            pid = testpmd.process.pid
            for _ in range(repeats):
                count, before = testpmd.packets(), on_cpu(pid, worker[0])
                time.sleep(seconds)
                count, after = testpmd.packets() - count, on_cpu(pid, worker[0])
                run, wait = busy_of(before, after)
                if not count:
                    raise Skip("no packet crossed the ring")
                runs.append(count / run / 1e6)
                waits.append(wait)
            text = testpmd.text()
        finally:
            testpmd.end()
    version = re.search(r"DPDK (\d+\.\d+\.\d+)", text)
    return [figure(NAME, TITLE, "Mpps", runs, waits=waits, octets=octets,
                   memory=testpmd.memory, versions={"dpdk": version[1] if version else "unknown"},
                   note="both ends on one core: a crossing is a guest's side and a host's side")]
