"""Memories that hold a row for each function, found and pinned to one kind of memory.

Sixteen rows fit into look-up tables or flip-flops, 254 do not: a count of cells would compare one
kind of memory with another, not the logic around them. Pinned to block memory at any number of
functions, what differs is logic.
"""

import re
from collections import Counter

__all__ = ["memories", "pin_rows", "structure"]

_MODULE = re.compile(r"module (\S+)")
_PART  = re.compile(r"\s*(cell \S+|process|switch|case)")
_WIDTH = re.compile(r"\s*parameter \\WIDTH (\d+)")
_MEMORY = re.compile(r"( *)memory width (\d+) size (\d+) ")


def memories(rtlil):
    """``{(module, ordinal): (line, width, size)}`` of all memories in a text of RTLIL."""
    found, module, ordinal = {}, None, 0
    for line, text in enumerate(rtlil.splitlines()):
        if match := _MODULE.match(text):
            module, ordinal = match[1], 0
        elif match := _MEMORY.match(text):
            found[module, ordinal] = line, int(match[2]), int(match[3])
            ordinal += 1
    return found


def pin_rows(rtlil, other):
    """``(text, count)``: ``rtlil`` with a mark for block memory at each memory whose number of
    rows differs from that in ``other``, the same block for another number of functions."""
    lines, elsewhere, count = rtlil.splitlines(), memories(other), 0
    for place, (line, _, size) in memories(rtlil).items():
        if place in elsewhere and elsewhere[place][2] != size:
            indent = _MEMORY.match(lines[line])[1]
            lines[line] = f'{indent}attribute \\ram_style "block"\n{lines[line]}'
            count += 1
    return "\n".join(lines) + "\n", count


def structure(rtlil):
    """``(parts, registers)`` of a text of RTLIL: how many cells of each kind, processes and cases
    there are, whatever their width; and the width of each register, in order."""
    parts, registers, kind = Counter(), [], None
    for text in rtlil.splitlines():
        if match := _PART.match(text):
            kind = match[1]
            parts[kind] += 1
        elif kind and "dff" in kind and (match := _WIDTH.match(text)):
            registers.append(int(match[1]))
    return parts, registers
