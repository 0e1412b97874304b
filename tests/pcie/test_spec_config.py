"""The declarations of configuration space against what others wrote down."""

import pytest

from offloadcard.config import MODEL, TINY
from offloadcard.pcie import spec_config as spec
from offloadcard.pcie.config_map import ConfigMap
from tests.golden import pcie_config as golden


@pytest.mark.parametrize("name", golden.OFFSETS)
def test_offsets_are_those_of_linux(name):
    shape = getattr(spec, name).as_shape()
    for field, offset in golden.OFFSETS[name].items():
        assert shape[field].offset == 8 * offset, field


def test_ids_are_those_of_linux():
    for name, number in golden.IDS.items():
        assert spec.Capability[name] == number
    for name, number in golden.EXTENDED_IDS.items():
        assert spec.ExtendedCapability[name] == number
    for name, number in golden.CFG_TYPES.items():
        assert spec.CfgType[name] == number
    for name, bit in golden.ERRORS.items():
        assert 1 << getattr(spec, name) == bit


@pytest.mark.parametrize("config", [TINY, MODEL], ids=lambda config: config.name)
def test_images_and_registers_do_not_quarrel(config):
    """What is writable or cleared is no constant; no reset value lies outside its register."""
    images = ConfigMap(config)
    for kind in range(spec.KINDS):
        for dw, (slot, writable, clear) in images.state[kind].items():
            constant = images.constants[kind][dw]
            assert not constant & (writable | clear), (kind, hex(4 * dw))
            assert not writable & clear
            assert not images.reset[kind][slot] & ~writable & 0xFFFF_FFFF \
                or images.reset[kind][slot] & constant == 0
        device = images.constants[kind][(spec.PCIE + 4) // 4]
        assert device & golden.DEVICE_CAPABILITY_FLR
        assert images.constants[kind][spec.MSIX // 4] >> 16 & 0x7FF == images.vectors(kind) - 1
    # Initiate FLR reads zero: it is not kept.
    for kind in range(spec.KINDS):
        writable = images.state[kind][(spec.PCIE + 8) // 4][1]
        assert not writable & golden.DEVICE_CONTROL_FLR
        assert images.state[kind][spec.MSIX // 4][1] >> 16 == \
            golden.MSIX_ENABLE | golden.MSIX_MASK_ALL


def test_the_provider_s_registers():
    assert spec.MANAGEMENT.size == 0x8000
    assert all(register.offset % 8 == 0 for register in spec.MANAGEMENT)
