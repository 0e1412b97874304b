"""A script for guests: a shell file whose first comment says what it shows and what it wants.

    # Shows: two guests of one virtual network reach one another.
    #: functions = net0 | net1
    #: networks  = net0=1 net1=1
    #: drives    = nvme0=64M
    #: joined    = 1-2
    #: hostile   = 0
    #: timeline  = yes
    #: memory    = 256M
    #: timeout   = 300
    #: cpus      = 2
    #: boot      = drive

``functions`` are those of each guest, guests parted by ``|``; ``networks`` are VNIs, and those that
are ``joined`` reach one another by the wire; a ``hostile`` guest's refused accesses are no fault of
the card; a ``timeline`` is a log of all TLPs; ``timeout`` is in seconds of wall time; ``cpus`` are
those of a guest of QEMU, which may ``boot`` from its ``drive`` or ``network`` instead. The same
script runs in every guest, which tells them apart by ``$GUEST``.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Script", "ScriptError", "octets_of", "read"]

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
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
    hostile:   tuple = ()
    timeline:  bool = False
    memory:    str = "256M"
    timeout:   int = 600
    cpus:      int = 1
    boot:      str = "kernel"

    @property
    def name(self):
        """Of its results."""
        return self.path.stem


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
    if text not in ("kernel", "drive", "network"):
        raise ScriptError(f"must be kernel, drive or network, not {text!r}")
    return text


_KEYS = {"functions": _functions, "networks": lambda text: _pairs(text, int),
         "drives": lambda text: _pairs(text, octets_of), "joined": _joined,
         "hostile": lambda text: tuple(map(int, text.split())),
         "timeline": lambda text: text == "yes", "memory": str, "timeout": int,
         "cpus": int, "boot": _boot}


def read(path):
    """The :class:`Script` of a file; ``ScriptError`` names the line that is wrong."""
    path = Path(path)
    found, shows = {}, ""
    for number, line in enumerate(path.read_text().splitlines(), 1):
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
    return Script(path, shows, **found)
