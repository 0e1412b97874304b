"""TLP headers against octets that cocotbext-pcie makes."""

import pytest
from cocotbext.pcie.core.tlp import Tlp, TlpAttr, TlpType
from cocotbext.pcie.core.utils import PcieId

from offloadcard.pcie import spec
from offloadcard.rtl.octets import pack, unpack
from tests.golden.pcie_tlp import HEADERS


def shape_of(name):
    if name.startswith("completion"):
        return spec.Completion
    if name.startswith("config"):
        return spec.ConfigRequest
    return spec.MemoryRequest if name.endswith("64") else spec.MemoryRequest3Dw


def ours(name, kind, fields):
    """The same fields in our spelling."""
    fmt, type = TlpType[kind].value
    out = {"fmt": fmt, "type": type}
    for key, value in fields.items():
        if key == "address" and name.startswith("config"):
            out["register"] = value >> 2
        elif key == "address":
            out["address_low"] = value >> 2 & (1 << 30) - 1
            if name.endswith("64"):
                out["address_high"] = value >> 32
        else:
            out[key] = value
    return out


@pytest.mark.parametrize("name", HEADERS)
def test_golden_headers(name):
    octets, kind, fields = HEADERS[name]
    octets = bytes.fromhex(octets)
    packed = pack(shape_of(name), ours(name, kind, fields), swap=4)
    assert packed[:len(octets)] == octets
    assert not any(packed[len(octets):])
    parsed = unpack(shape_of(name), octets.ljust(16, b"\0"), swap=4)
    for key, value in ours(name, kind, fields).items():
        assert parsed[key] == value, key


@pytest.mark.parametrize("name", HEADERS)
def test_the_stranger_still_says_so(name):
    octets, kind, fields = HEADERS[name]
    tlp = Tlp()
    tlp.fmt_type = TlpType[kind]
    for key, value in fields.items():
        if key.endswith("_id"):
            value = PcieId.from_int(value)
        elif key == "attr":
            value = TlpAttr(value)
        setattr(tlp, key, value)
    assert bytes(tlp.pack_header()) == bytes.fromhex(octets)


def test_upper_tag_and_ido_bits():
    """Tag bits 8 and 9 and the third attribute bit stand where cocotbext-pcie puts them."""
    tlp = Tlp()
    tlp.fmt_type = TlpType.MEM_READ
    tlp.length, tlp.tag, tlp.attr = 1, 0x300, TlpAttr.IDO
    fields = {"type": 0, "length": 1, "tag_8": 1, "tag_9": 1, "attr_2": 1}
    assert pack(spec.MemoryRequest3Dw, fields, swap=4)[:12] == bytes(tlp.pack_header())


@pytest.mark.parametrize("bad", [{"data_width": 96}, {"data_width": 512, "segments": 2}])
def test_bad_parameters(bad):
    with pytest.raises(ValueError, match="must be"):
        spec.tlp_beat(**bad)
