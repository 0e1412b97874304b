"""What we declare of virtio is what strangers' headers say."""

import re
from pathlib import Path

import pytest

from offloadcard.rtl.octets import pack
from offloadcard.virtio_net_emul import spec, spec_control
from tests.golden.virtio import (
    COMMON_OFFSETS,
    CONTROL_VALUES,
    FEATURE_BITS,
    NET_VALUES,
    RING_BITS,
    STRUCTURES,
)

HEADERS = [path for path in (Path("/usr/include/linux") / name for name in
                             ("virtio_pci.h", "virtio_net.h", "virtio_config.h", "virtio_ring.h"))
           if path.exists()]


@pytest.mark.parametrize("name", STRUCTURES)
def test_structures_as_c_lays_them_out(name):
    fields, octets = STRUCTURES[name]
    assert pack(getattr(spec, name), fields).hex() == octets


def test_registers_stand_where_linux_looks():
    for register, offset in COMMON_OFFSETS.values():
        assert spec.COMMON_CFG[register].offset == offset
    assert spec.COMMON_CFG.size == 60


def test_features_have_linux_numbers():
    for name, bit in FEATURE_BITS.items():
        assert getattr(spec, name) == bit
    for ours, _, bit in RING_BITS:
        assert getattr(spec, ours) == bit
    for name, value in NET_VALUES.items():
        assert getattr(spec, name) == value
    for name, value in CONTROL_VALUES.items():
        assert getattr(spec_control, name) == value


def test_golden_numbers_are_those_of_the_installed_headers():
    """Where the headers are installed, their macros say the same as our copies."""
    text = "".join(path.read_text() for path in HEADERS)
    found = {name: int(value, 0) for name, value in
             re.findall(r"#define\s+(VIRTIO_\w+)\s+(0x[0-9a-fA-F]+|\d+)\b", text)}
    wanted = {**{name: offset for name, (_, offset) in COMMON_OFFSETS.items()}, **FEATURE_BITS,
              **{theirs: bit for _, theirs, bit in RING_BITS}, **NET_VALUES,
              **CONTROL_VALUES}
    assert {name: found[name] for name in wanted if name in found} == {
        name: value for name, value in wanted.items() if name in found}
