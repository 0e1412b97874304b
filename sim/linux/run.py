"""Boot Linux guests against the card: what is asked for, and what came of it.

    boot(SMALL, kernel, [GuestSpec(functions=("pf0", "pf1"), append=["init=/bin/sh"])])
"""

import hashlib
import shutil
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sim import build

from .cable import CARDS
from .repeat import steady

__all__ = ["GuestSpec", "boot"]

_SOCKETS = Path("/dev/shm")  # a socket's path must be short


@dataclass
class GuestSpec:
    """One guest.

    ``functions`` are names of the card's functions, one a slot of the guest's bus, at most eight:
    ``pf0`` (virtio-net) and ``pf1`` (NVMe), ``netN`` and ``nvmeN`` their VFs. A guest that has a PF
    and VFs of it enables these itself; VFs without their PF are there from the start.
    """
    functions:   tuple = ("pf0", "pf1")
    memory:      str = "256M"
    append:      list = field(default_factory=list)  # arguments of the kernel
    console:     Path | None = None                  # a file, or a terminal
    environment: dict = field(default_factory=dict)
    hostile:     bool = False  # what its functions reach for is no violation where it is refused
    card:        int = 0       # of two, wire to wire; function names are unique over both


def boot(config, kernel, guests, *, waves=None, pcap=None, tlp_log=None, seed=1, drives=None,
         networks=None, joined=(), far=None, fiend=(), orders=None, mtu=1500, refused=(),
         mmio_ns=0, interrupt_ns=0, timeout_s=600, say=None):
    """Build the card, boot the guests, wait until all have ended; the report.

    Parameters
    ----------
    config : CardConfig
    kernel : Path
        Of a User-Mode Linux kernel.
    guests : list of GuestSpec
    waves, pcap, tlp_log : Path
        Files to write: waveforms; frames on the wire, both ways; a JSON line for each TLP.
    seed : int
        Of the link's model.
    drives : dict
        NVMe function -> octets of its volume, or the path of a file that it shall hold (and whose
        octets are written back); 64 MiB each without.
    networks : dict
        Network function -> VNI; all are members of one virtual network without.
    joined : list of (VNI, VNI)
        Networks whose members reach one another by the wire and a router behind it.
    far : str
        The network function of a guest that is itself the far end of the others' tunnels: its
        kernel's own, behind the wire. Its network must be no other's.
    fiend : list of str
        Functions of a hostile machine that waits for the order to attack.
    mtu : int
        Of all networks.
    refused : list of str
        What the provider does not offer: ``checksums``, ``merged``.
    orders : Path
        Folder through which guests may ask something of the provider.
    mmio_ns, interrupt_ns : int
        What an access and an interrupt cost the guest's CPU.
    timeout_s : float
        Of wall time.

    Returns
    -------
    dict
        ``virtual_ns``, ``clocks``, ``skipped_ns``, ``rests``, ``wall_s``, ``counts``, ``trace``,
        ``guests`` (for each its exit code and why it ended), ``functions`` (MAC, address, VNI and
        octets), ``deeds`` of the hostile machine.
    """
    cards = max(guest.card for guest in guests) + 1
    if cards > 1 and (cards > CARDS or joined or far or fiend):
        raise ValueError("`guests` of two cards must be without `joined`, `far`, and `fiend`")
    made = build.card_simulator(config, waves=waves is not None, say=say)
    folder = _SOCKETS / f"oc-{time.monotonic_ns():x}"
    folder.mkdir()

    def path(given):
        return None if given is None else str(Path(given).resolve())

    before, environment = steady()
    arguments = {
        "config": asdict(config), "kernel": path(kernel), "folder": str(folder), "seed": seed,
        "pcap": path(pcap), "tlp_log": path(tlp_log), "networks": networks or {},
        "joined": [list(pair) for pair in joined], "far": far, "fiend": list(fiend),
        "orders": path(orders), "mtu": mtu, "refused": list(refused),
        "drives": {name: path(d) if isinstance(d, str | Path) else d
                   for name, d in (drives or {}).items()},
        "mmio_ns": mmio_ns, "interrupt_ns": interrupt_ns,
        "before": before, "card": 0, "cable": None, "others": [],
        "guests": [asdict(guest) | {"console": path(guest.console),
                                    "environment": environment | guest.environment}
                   for guest in guests],
    }
    started = time.monotonic()
    try:
        if cards == 1:
            report = build.run(made, "sim.linux.session", arguments=arguments, waves=waves,
                               timeout_s=timeout_s)
        else:
            report = _both(made, arguments, waves=waves, timeout_s=timeout_s)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report["wall_s"] = time.monotonic() - started
    return report


def _both(made, arguments, *, waves, timeout_s):
    """Two cards, a simulation each, joined by a cable; one report."""
    reports, errors = [None] * CARDS, []

    def one(card):
        def of(mine):
            return [guest for guest in arguments["guests"] if (guest["card"] == card) == mine]

        folder = Path(arguments["folder"]) / f"c{card}"
        folder.mkdir()
        first = {} if card == 0 else {"pcap": None, "tlp_log": None}
        try:
            reports[card] = build.run(
                made, "sim.linux.session", waves=waves if card == 0 else None,
                timeout_s=timeout_s, arguments=arguments | first | {
                    "card": card, "cable": str(folder.parent / "cable"), "folder": str(folder),
                    "guests": of(True), "orders": None, "others": [
                        name for guest in of(False) for name in guest["functions"]
                        if name.startswith(("net", "pf0"))]})
        except Exception as error:  # the first is the cause of the other's
            errors.append(error)

    threads = [threading.Thread(target=one, args=(card,)) for card in range(CARDS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return _joined(reports)


def _joined(reports):
    """Reports of two cards as one: times are the later one's, numbers are sums."""
    one, other = reports
    joined = {name: value + other[name] if isinstance(value, int | list) else value
              for name, value in one.items()}
    joined |= {name: max(one[name], other[name]) for name in ("virtual_ns", "skipped_ns")}
    joined["counts"] = {name: n + other["counts"][name] for name, n in one["counts"].items()}
    joined["functions"] = one["functions"] | other["functions"]
    joined["trace"] = hashlib.blake2b((one["trace"] + other["trace"]).encode(),
                                      digest_size=16).hexdigest()
    return joined
