"""Open vSwitch on DPDK: the actions of one GFT flow, on one core, at 1, 1k and 100k flows.

Traffic comes from a capture that is read again and again by the measured thread itself, and ends in
a port that throws away. All runs in a network namespace of its own.
"""

import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from .measure import REPEATS, Skip, busy_of, figure, last_core, on_cpu, skipped, threads, wait_for
from .traffic import address, flows, write_pcap

__all__ = ["NAME", "TITLE", "SIZES", "measure"]

NAME, TITLE = "ovs-dpdk", "OVS-DPDK, NAT rewrite, TTL, meter and VXLAN push, one core"
INSTALL = "apt install openvswitch-switch-dpdk dpdk"
VSWITCHD = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
SIZES = (1, 1_000, 100_000)
PEER = "10.0.0.2"

# As a GFT entry has them; OpenFlow wants the meter first.
REWRITE = ("set_field:02:00:00:00:00:11->eth_src,set_field:02:00:00:00:00:22->eth_dst,"
           "set_field:100.64.1.1->ip_src,set_field:4321->udp_src,dec_ttl,")
CASES = {"forward": "output:2", "rewrite": REWRITE + "output:2",
         "gft": f"meter:1,{REWRITE}output:3"}


class Switch:
    """A database, a switch daemon and two bridges; everything in one folder."""

    def __init__(self, folder, core):
        self.folder, self.core, self.processes = Path(folder), core, []
        self.env = {**os.environ, "OVS_RUNDIR": folder, "OVS_LOGDIR": folder, "OVS_DBDIR": folder,
                    "RUNTIME_DIRECTORY": folder}
        self.control, self.port = f"{folder}/switch.ctl", None
        self.prefix = ["unshare", "--net"] if os.getuid() == 0 else [
            "unshare", "--user", "--map-root-user", "--net"]

    def call(self, *line, inside=False, timeout_s=120):
        if inside:
            line = ("nsenter", f"--net=/proc/{self.daemon.pid}/ns/net", *line)
        done = subprocess.run(line, env=self.env, capture_output=True, text=True,
                              timeout=timeout_s, check=False)
        if done.returncode:
            raise Skip(f"{line[0]} failed: {done.stderr.strip()[-300:]}")
        return done.stdout

    def database(self, *arguments):
        return self.call("ovs-vsctl", f"--db=unix:{self.folder}/db.sock", "--timeout=30",
                         *arguments)

    def daemon_call(self, *arguments):
        return self.call("ovs-appctl", "-t", self.control, *arguments)

    def start(self):
        folder = self.folder
        self.call("ovsdb-tool", "create", f"{folder}/db", SCHEMA)
        self._spawn("ovsdb-server", f"{folder}/db", f"--remote=punix:{folder}/db.sock",
                    "-vconsole:off", f"--log-file={folder}/db.log", f"--unixctl={folder}/db.ctl")
        wait_for((folder / "db.sock").exists, "the database")
        self.database("--no-wait", "set", "Open_vSwitch", ".", "other_config:dpdk-init=true",
                      "other_config:dpdk-extra=--no-pci --no-huge --legacy-mem -m 1500 "
                      "--no-telemetry -l 0", f"other_config:pmd-cpu-mask={1 << self.core:x}",
                      "other_config:max-idle=600000", "other_config:flow-limit=400000")
        self.daemon = self._spawn(*self.prefix, VSWITCHD, f"unix:{folder}/db.sock",
                                  "-vconsole:off", f"--log-file={folder}/switch.log",
                                  f"--unixctl={self.control}")
        wait_for(lambda: "true" in self.database("get", "Open_vSwitch", ".", "dpdk_initialized"),
                 "DPDK in the switch")
        for bridge in ("underlay", "overlay"):
            self.database("add-br", bridge, "--", "set", "bridge", bridge,
                          "datapath_type=netdev",
                          f"other-config:hwaddr=02:00:00:00:aa:0{len(bridge)}")
        for bridge, port, device in (("overlay", "sink", 0), ("underlay", "uplink", 1)):
            # A null device would make traffic of its own.
            self.database("add-port", bridge, port, "--", "set", "interface", port, "type=dpdk",
                          f"options:dpdk-devargs=net_null{device},no-rx=1", "ofport_request=2")
        self.database("add-port", "overlay", "tunnel", "--", "set", "interface", "tunnel",
                      "type=vxlan", f"options:remote_ip={PEER}", "options:key=100",
                      "ofport_request=3")
        self.call("ip", "link", "set", "lo", "up", inside=True)
        self.call("ip", "addr", "add", "10.0.0.1/24", "dev", "underlay", inside=True)
        self.call("ip", "link", "set", "underlay", "up", inside=True)
        time.sleep(0.5)
        self.daemon_call("tnl/arp/set", "underlay", PEER, "02:00:00:00:bb:02")
        self.call("ovs-ofctl", "-O", "OpenFlow15", "add-meter",
                  f"unix:{self.folder}/overlay.mgmt",
                  "meter=1 pktps bands=type=drop rate=1000000000")
        self.rules("underlay", ["priority=10,in_port=LOCAL,actions=output:2",
                                "priority=0,actions=drop"])

    def _spawn(self, *line):
        self.processes.append(subprocess.Popen(line, env=self.env, stdout=subprocess.DEVNULL,
                                               stderr=subprocess.DEVNULL))
        return self.processes[-1]

    def rules(self, bridge, lines):
        """These flows of a bridge and no others."""
        file, place = self.folder / "rules", f"unix:{self.folder}/{bridge}.mgmt"
        file.write_text("\n".join(lines) + "\n")
        self.call("ovs-ofctl", "-O", "OpenFlow15", "del-flows", place)
        self.call("ovs-ofctl", "-O", "OpenFlow15", "add-flows", "--bundle", place, str(file))

    def traffic(self, count, octets):
        """The capture's port: packets of ``count`` flows, for ever."""
        file = self.folder / f"flows{count}.pcap"
        write_pcap(file, flows(count, octets))
        if self.port:
            self.database("del-port", self.port)
        self.port = f"in{count}"
        self.database("add-port", "overlay", self.port, "--", "set", "interface", self.port,
                      "type=dpdk", f"options:dpdk-devargs=net_pcap_{self.port},rx_pcap={file},"
                      "infinite_rx=1", "ofport_request=1")
        error = self.database("get", "interface", self.port, "error").strip()
        if error not in ("[]", ""):
            raise Skip(f"the traffic's port: {error}")

    def statistics(self):
        """Packets received and packets that went up to the slow path, of the measured thread."""
        text = self.daemon_call("dpif-netdev/pmd-stats-show")
        text = text[text.find("pmd thread"):]

        def number(name):
            found = re.search(rf"{name}:\s*(\d+)", text)
            return int(found[1]) if found else 0
        return number("packets received"), number("miss with success upcall")

    def thread(self):
        """``(pid, tid)`` of the measured thread."""
        found = threads(self.daemon.pid, f"pmd-c{self.core:02d}")
        if not found:
            raise Skip("the switch has no polling thread")
        return self.daemon.pid, found[0]

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _case(switch, count, seconds, repeats):
    last, end = -1, time.monotonic() + 60
    while time.monotonic() < end:  # until the flows are all in the datapath
        time.sleep(1)
        upcalls = switch.statistics()[1]
        if upcalls - last < max(2, count // 2000):
            break
        last = upcalls
    thread, runs, waits, missed = switch.thread(), [], [], 0
    for _ in range(repeats):
        switch.daemon_call("dpif-netdev/pmd-stats-clear")
        before = on_cpu(*thread)
        time.sleep(seconds)
        (packets, upcalls), after = switch.statistics(), on_cpu(*thread)
        run, wait = busy_of(before, after)
        runs.append(packets / run / 1e6)
        waits.append(wait)
        missed += upcalls
    return runs, waits, missed


def measure(*, seconds=2.0, repeats=REPEATS, sizes=SIZES, octets=60, cases=("gft",)):
    """Figures for each number of flows."""
    for program in ("ovs-vsctl", "ovsdb-server", "unshare", "nsenter", VSWITCHD):
        if not shutil.which(program):
            raise Skip(f"{program} is not installed", INSTALL)
    results = []
    with tempfile.TemporaryDirectory(prefix="oc-ovs-") as folder:
        switch = Switch(folder, last_core())
        try:
            switch.start()
            told = switch.call(VSWITCHD, "--version")
            versions = dict(zip(("ovs", "dpdk"), re.findall(r"\d+\.\d+\.\d+", told)))
            for count in sizes:
                switch.traffic(count, octets)
                for case in cases:
                    name = f"{NAME}-{case}-{count}"
                    match = "priority=10,in_port=1,udp,nw_dst={},actions=" + CASES[case]
                    switch.rules("overlay", [match.format(address(n)) for n in range(count)]
                                 + ["priority=0,actions=drop"])
                    try:
                        runs, waits, missed = _case(switch, count, seconds, repeats)
                    except Skip as skip:
                        results.append(skipped(name, TITLE, skip))
                        continue
                    results.append(figure(
                        name, f"OVS-DPDK, {case} actions, {count} flows, one core", "Mpps", runs,
                        waits=waits, octets=octets, flows=count, case=case, versions=versions,
                        upcalls=missed, memory="no huge pages"))
        finally:
            switch.stop()
    return results
