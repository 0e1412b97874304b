"""A script for guests: a shell file whose first comment says what it shows and what it wants.

    # Shows: two guests of one virtual network reach one another.
    #: functions = net0 | net1
    #: networks  = net0=1 net1=1
    #: drives    = nvme0=64M
    #: joined    = 1-2
    #: mtu       = 1500
    #: refused   = merged
    #: far       = net1
    #: hostile   = 0
    #: fiend     = net2 nvme2
    #: timeline  = yes
    #: cards     = 0 1
    #: memory    = 256M
    #: timeout   = 300
    #: cpus      = 2
    #: boot      = drive

``functions`` are those of each guest, guests parted by ``|``; ``networks`` are VNIs, and those that
are ``joined`` reach one another by the wire; the guest of ``far`` is, by its kernel's own VXLAN,
the tunnel end point of the others' networks behind the wire; a ``hostile`` guest's refused accesses
are no fault of the card; the functions of ``fiend`` belong to a hostile machine (:mod:`.fiend`)
that waits for the order ``attack``; ``mtu`` is that of all networks; offers of the card may be
``refused`` by the provider: ``checksums``, ``merged``; a ``timeline`` is a log of all TLPs;
``cards`` are those of the guests, of two that are wire to wire; ``timeout`` is in seconds of wall
time; ``cpus`` are those of a guest of QEMU, which may ``boot`` from its ``drive`` or ``network``
instead, or an ``os`` that is on its drive. The same script runs in every guest, which tells them
apart by ``$GUEST``.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Script", "ScriptError", "octets_of", "read"]

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_LEAST_MEMORY = 64 << 20
_NAME = re.compile(r"pf[01]|(net|nvme)\d+")


class ScriptError(ValueError):
    """The script asks for what cannot be; one line."""


@dataclass(frozen=True)
class Script:
    """What a script file asks for."""
    path:      Path
    shows:     str = ""
    functions: tuple = (("pf0", "pf1"),)
    networks:  dict = field(default_factory=dict)
    drives:    dict = field(default_factory=dict)
    joined:    tuple = ()
    far:       str | None = None
    hostile:   tuple = ()
    fiend:     tuple = ()
    mtu:       int = 1500
    refused:   tuple = ()
    timeline:  bool = False
    memory:    str = "256M"
    timeout:   int = 600
    cpus:      int = 1
    boot:      str = "kernel"
    cards:     tuple = ()

    @property
    def name(self):
        """Of its results."""
        return self.path.stem

    @property
    def names(self):
        """Of all functions of all guests."""
        return tuple(name for guest in (*self.functions, self.fiend) for name in guest)

    def check(self, config):
        """Has a card of this configuration all the functions? ``ScriptError`` if not."""
        for name in self.names:
            kind, number = name.rstrip("0123456789"), int(name.lstrip("pfnetvm"))
            count = {"pf": 2, "net": config.virtio_net_vfs, "nvme": config.nvme_vfs}[kind]
            if number >= count:
                raise ScriptError(f"{self.path}: a function must be one of {kind}0 to "
                                  f"{kind}{count - 1} at preset {config.name}, not {name!r}")


def octets_of(text):
    """``64M`` as a number."""
    match = re.fullmatch(r"(\d+)([KMG]?)", text)
    if match is None:
        raise ScriptError(f"a size must be a number with K, M or G, not {text!r}")
    return int(match.group(1)) * _UNITS[match.group(2)]


def _functions(text):
    guests = tuple(tuple(guest.split()) for guest in text.split("|"))
    for guest in guests:
        if not 1 <= len(guest) <= 8:
            raise ScriptError(f"a guest must have 1 to 8 functions, not {len(guest)}")
        for name in guest:
            if not _NAME.fullmatch(name):
                raise ScriptError(f"a function must be pf0, pf1, netN or nvmeN, not {name!r}")
    names = [name for guest in guests for name in guest]
    if len(set(names)) < len(names):
        raise ScriptError("a function must belong to one guest")
    return guests


def _pairs(text, value):
    try:
        return {name: value(word) for name, word in
                (pair.split("=") for pair in text.split())}
    except ValueError as error:
        raise ScriptError(f"must be name=value, not {text!r} ({error})") from None


def _joined(text):
    if not re.fullmatch(r"(\d+-\d+\s*)+", text):
        raise ScriptError(f"must be pairs of VNIs such as 1-2, not {text!r}")
    return tuple(tuple(map(int, pair.split("-"))) for pair in text.split())


def _boot(text):
    if text not in ("kernel", "drive", "network", "os"):
        raise ScriptError(f"must be kernel, drive, network or os, not {text!r}")
    return text


def _memory(text):
    if octets_of(text) < _LEAST_MEMORY:
        raise ScriptError(f"a guest's memory must be at least {_LEAST_MEMORY >> 20}M, "
                          f"not {text!r}")
    return text


def _seconds(text):
    if not text.isdecimal() or not int(text):
        raise ScriptError(f"a timeout must be a number of seconds, not {text!r}")
    return int(text)


def _mtu(text):
    if not text.isdecimal() or not 68 <= int(text) <= 9000:
        raise ScriptError(f"an MTU must be 68 to 9000, not {text!r}")
    return int(text)


def _refused(text):
    if not set(text.split()) <= {"checksums", "merged"}:
        raise ScriptError(f"must be checksums, merged or both, not {text!r}")
    return tuple(text.split())


def _hostile(text):
    if not re.fullmatch(r"(\d+\s*)+", text):
        raise ScriptError(f"hostile guests must be numbers from 0, not {text!r}")
    return tuple(map(int, text.split()))


def _cards(text):
    if not re.fullmatch(r"0( +0)*( +1)+", text):
        raise ScriptError(f"cards must be a 0 or 1 for each guest, in order, not {text!r}")
    return tuple(map(int, text.split()))


def _yes(text):
    if text not in ("yes", "no"):
        raise ScriptError(f"must be yes or no, not {text!r}")
    return text == "yes"


_KEYS = {"functions": _functions, "networks": lambda text: _pairs(text, int),
         "drives": lambda text: _pairs(text, octets_of), "joined": _joined, "far": str,
         "hostile": _hostile, "fiend": lambda text: _functions(text)[0],
         "mtu": _mtu, "refused": _refused, "timeline": _yes, "memory": _memory,
         "timeout": _seconds, "cpus": int, "boot": _boot, "cards": _cards}


def read(path):
    """The :class:`Script` of a file; ``ScriptError`` names the line that is wrong."""
    path = Path(path)
    found, shows = {}, ""
    try:
        lines = path.read_text().splitlines()
    except UnicodeDecodeError:
        raise ScriptError(f"{path}: must be a text file") from None
    for number, line in enumerate(lines, 1):
        if match := re.match(r"# Shows:\s*(.*)", line):
            shows = match.group(1)
        elif match := re.match(r"#:\s*(\w+)\s*=\s*(.*?)\s*$", line):
            key, text = match.groups()
            if key not in _KEYS:
                raise ScriptError(f"{path}:{number}: must be one of {', '.join(_KEYS)}, "
                                  f"not {key!r}")
            try:
                found[key] = _KEYS[key](text)
            except ValueError as error:
                raise ScriptError(f"{path}:{number}: {error}") from None
    script = Script(path, shows, **found)
    if script.far is not None and not script.far.startswith("net"):
        raise ScriptError(f"{path}: far must be a netN, not {script.far!r}")
    for name in (*script.networks, *script.drives, *([script.far] if script.far else [])):
        if name not in script.names:
            raise ScriptError(f"{path}: {name!r} must be a function of one of the guests")
    if len(set(script.names)) < len(script.names):
        raise ScriptError(f"{path}: a function must belong to one guest, or to the fiend")
    if any(name.startswith("pf") for name in script.fiend):
        raise ScriptError(f"{path}: the fiend's functions must be netN or nvmeN")
    if script.cards and len(script.cards) != len(script.functions):
        raise ScriptError(f"{path}: cards must name one for each of {len(script.functions)} "
                          f"guests, not {len(script.cards)}")
    if script.cards and (script.joined or script.far or script.fiend):
        raise ScriptError(f"{path}: two cards must be without joined, far and fiend")
    for guest in script.hostile:
        if guest >= len(script.functions):
            raise ScriptError(f"{path}: a hostile guest must be one of 0 to "
                              f"{len(script.functions) - 1}, not {guest}")
    return script
