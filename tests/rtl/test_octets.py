"""Octets and register maps: what they refuse, and that they invert."""

import pytest
from amaranth.lib import data

from offloadcard.rtl.octets import pack, size_of, unpack
from offloadcard.rtl.regmap import Register, RegisterMap


class Pair(data.Struct):
    low:  8
    high: 24


def test_pack_and_unpack_are_inverse():
    assert pack(Pair, {"low": 0x11, "high": 0x443322}) == bytes([0x11, 0x22, 0x33, 0x44])
    assert pack(Pair, {"low": 0x11, "high": 0x443322}, swap=4) == bytes([0x44, 0x33, 0x22, 0x11])
    assert unpack(Pair, bytes([0x44, 0x33, 0x22, 0x11]), swap=4).high == 0x443322


def test_bad_octets():
    with pytest.raises(ValueError, match="whole number of octets"):
        size_of(data.StructLayout({"a": 3}))
    with pytest.raises(ValueError, match="must be 4 octets, not 3"):
        unpack(Pair, bytes(3))


def test_register_map_refuses_by_name():
    first = Register("CAP", 0, 64, "ro", "ours")
    with pytest.raises(ValueError, match="X.VS must not overlap CAP at octet 0x7"):
        RegisterMap("X", [first, Register("VS", 7, 32, "ro", "ours")])
    with pytest.raises(ValueError, match="`access` of X.VS must be one of"):
        RegisterMap("X", [first, Register("VS", 8, 32, "wr", "ours")])
    with pytest.raises(ValueError, match="X.CAP must be declared once"):
        RegisterMap("X", [first, first])
    with pytest.raises(ValueError, match="`reset` of X.VS must fit 8 bits"):
        RegisterMap("X", [Register("VS", 8, 8, "ro", "ours", reset=256)])
    with pytest.raises(ValueError, match="X must fit 4 octets, not 8"):
        RegisterMap("X", [first], size=4)


def test_register_map_is_found_by_name_and_printed():
    registers = RegisterMap("X", [Register("CAP", 0, 64, "ro", "std 1", reset=5)])
    assert registers["CAP"].octets == 8
    assert "| 0x0000 | CAP | 64 | ro | 0x5 | std 1 |" in registers.markdown()
