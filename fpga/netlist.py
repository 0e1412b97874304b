"""A mapped netlist: its cells, and the levels of logic between its registers.

A level is one look-up table, or one asynchronous read of a memory made of them, on a path between
registers, memories and ports. Carry chains and the multiplexers behind look-up tables are fast and
count nothing. This is the honest proxy for a clock rate that no open tool here can confirm.
"""

import re
from collections import Counter, defaultdict

__all__ = ["Netlist", "read_blif", "FAMILIES"]

# Kind of a cell by the beginning of its type: "lut" is a level; "wire" passes through; "memory" of
# look-up tables is a level whose size follows; "block" and "ff" end paths.
FAMILIES = {
    "ecp5": {
        "LUT4": ("lut", 1), "CCU2C": ("wire", 2), "PFUMX": ("wire", 0), "L6MUX21": ("wire", 0),
        "TRELLIS_DPR16X4": ("memory", 8), "TRELLIS_FF": ("ff", 1), "DP16KD": ("block", 1),
        "PDPW16KD": ("block", 1), "MULT": ("other", 0), "ALU": ("other", 0),
    },
    "xcup": {
        "LUT": ("lut", 1), "INV": ("wire", 0), "CARRY": ("wire", 0), "MUXF": ("wire", 0),
        "MUXCY": ("wire", 0), "XORCY": ("wire", 0), "RAM32M16": ("memory", 8),
        "RAM64M8": ("memory", 8), "RAM32M": ("memory", 4), "RAM64M": ("memory", 4),
        "RAM32X1D": ("memory", 2), "RAM64X1D": ("memory", 2), "RAM128X1D": ("memory", 4),
        "RAM256X1D": ("memory", 8), "SRL": ("ff", 0), "FD": ("ff", 1), "RAMB36": ("block", 2),
        "RAMB18": ("block", 1), "URAM288": ("ultra", 1), "BUFG": ("other", 0),
        "DSP": ("other", 0),
    },
}

_OUTPUTS = re.compile(r"^(?:O|Z|Q|CO|LO|S0|S1|COUT|DO|DO[A-H]?|[DS]PO|Q31|O5|O6|DOUT\w*|DO[AB]\w*)"
                      r"(?:\[\d+\]|\d*)$")

# Memories of look-up tables with one read port, by the end of their names.
_READS = re.compile(r"(?:X4|X1D|X1S)\b")


def _arcs(cell_type, kind, ports):
    """``(inputs, outputs)`` of a cell's parts: a carry chain is cut into its bits, for what enters
    at one bit never reaches those below; of a memory only the address that is read matters."""
    outputs = {port: net for port, net in ports.items() if _OUTPUTS.match(port)}
    inputs  = {port: net for port, net in ports.items() if port not in outputs}
    if kind == "memory":
        reads = _READS.search(cell_type + " ")
        if reads is None:  # RAM64M8 and its like: each letter is a port of its own
            return [({net for port, net in inputs.items() if port.startswith(f"ADDR{letter}")},
                     [net for port, net in outputs.items() if port.startswith(f"DO{letter}")])
                    for letter in "ABCDEFGH"]
        return [({net for port, net in inputs.items() if port.startswith(("RAD", "DPRA", "A"))},
                 list(outputs.values()))]
    if not cell_type.startswith("CARRY"):
        return [(set(inputs.values()), list(outputs.values()))]

    def of_bit(which, bit):
        return [net for port, net in which.items() if port.endswith(f"[{bit}]")]

    # The name of a net inside the cell; two cells never share the output that it is made of.
    carry = f"{next(iter(outputs.values()), '')} carry"
    arcs, below = [], [net for port, net in inputs.items() if "[" not in port]
    for bit in range(8 if cell_type == "CARRY8" else 4):
        arcs.append(({*of_bit(inputs, bit), *below}, [*of_bit(outputs, bit), f"{carry} {bit}"]))
        below = [f"{carry} {bit}"]
    return arcs


class Netlist:
    """Cells of a flat netlist, as ``(type, {port: net})``."""

    def __init__(self, cells, family):
        self.cells  = cells
        self.family = FAMILIES[family]
        self._kinds = {}

    def kind(self, cell_type):
        """``(kind, weight)`` of a cell type; the longest name that begins it decides."""
        if cell_type not in self._kinds:
            known = [name for name in self.family if cell_type.startswith(name)]
            self._kinds[cell_type] = (self.family[max(known, key=len)] if known
                                      else ("other", 0))
        return self._kinds[cell_type]

    @staticmethod
    def _end(ends, cell_type, ports):
        for port, net in ports.items():
            if not _OUTPUTS.match(port):
                ends[net].append(f"{cell_type} {ports.get('Q', '')} {port}")

    def counts(self):
        """How many look-up tables, flip-flops and block memories there are.

        ``block_ram`` counts the device's smaller blocks (18 kbit), ``ultra_ram`` its 288 kbit ones.
        """
        total = Counter(lut=0, ff=0, block_ram=0, ultra_ram=0, lut_as_memory=0)
        for cell_type, _ in self.cells:
            kind, weight = self.kind(cell_type)
            if kind in ("lut", "memory") or cell_type == "CCU2C":
                total["lut"] += weight
            if kind == "memory":
                total["lut_as_memory"] += weight
            if kind == "ff":
                total["ff"] += weight
            if kind == "block":
                total["block_ram"] += weight
            if kind == "ultra":
                total["ultra_ram"] += weight
        return dict(total)

    def paths(self, count=12):
        """The longest paths, as ``(levels, from, to)``: nets that enter one, and the register,
        memory or port that it ends at; one path for each such end, whatever its width.

        ``ValueError`` if the logic has a loop.
        """
        drivers, users, pending, ends = {}, defaultdict(list), {}, defaultdict(list)
        nodes = []
        for cell_type, ports in self.cells:
            kind, _ = self.kind(cell_type)
            if kind not in ("lut", "wire", "memory"):
                self._end(ends, cell_type, ports)
                continue
            if kind == "memory":
                self._end(ends, cell_type, ports)
            for inputs, outputs in _arcs(cell_type, kind, ports):
                for net in outputs:
                    drivers[net] = len(nodes)
                nodes.append((0 if kind == "wire" else 1, inputs, outputs))
        for node, (_, inputs, _) in enumerate(nodes):
            sources = {drivers[net] for net in inputs if net in drivers}
            pending[node] = len(sources)
            for source in sources:
                users[source].append(node)
        depth, before = [0] * len(nodes), [None] * len(nodes)
        ready = [node for node in pending if not pending[node]]
        done  = 0
        while ready:
            node = ready.pop()
            done += 1
            depth[node] += nodes[node][0]
            for user in users[node]:
                if depth[node] > depth[user] or before[user] is None:
                    depth[user], before[user] = depth[node], node
                pending[user] -= 1
                if not pending[user]:
                    ready.append(user)
        if done != len(nodes):
            raise ValueError(f"the netlist must have no loops of logic, "
                             f"not {len(nodes) - done} cells in some")
        found = {}
        for node in sorted(range(len(nodes)), key=depth.__getitem__, reverse=True):
            names = [end for net in nodes[node][2] for end in ends.get(net, ())]
            if not names and not users[node]:
                names = list(nodes[node][2][:1])  # a port of the block
            for name in names:
                found.setdefault(re.sub(r"\[\d+\]", "", name), node)
            if len(found) >= count:
                break
        paths = []
        for name, node in list(found.items())[:count]:
            levels = depth[node]
            while before[node] is not None:
                node = before[node]
            paths.append((levels, sorted(nodes[node][1]), name))
        return paths


def read_blif(lines, family):
    """The :class:`Netlist` in the lines of a BLIF file as Yosys writes it."""
    cells, text = [], ""
    for line in lines:
        line = line.rstrip("\n")
        if line.endswith("\\"):
            text += line[:-1]
            continue
        words, text = (text + line).split(), ""
        if words and words[0] in (".subckt", ".gate"):
            cells.append((words[1], dict(pair.split("=", 1) for pair in words[2:])))
    return Netlist(cells, family)
