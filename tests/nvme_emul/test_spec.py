"""The declarations against octets that others made."""

import pytest

from offloadcard.nvme_emul import spec, spec_pages
from offloadcard.rtl.octets import pack, unpack
from tests.golden import nvme as golden

PAGES = {
    "CONTROLLER": spec_pages.IdentifyController, "NAMESPACE": spec_pages.IdentifyNamespace,
    "SMART": spec_pages.SmartLog, "FIRMWARE": spec_pages.FirmwareSlotLog,
    "ERROR": spec_pages.ErrorEntry}


def test_sqe():
    octets = bytes.fromhex(golden.SQE)
    assert pack(spec.Sqe, golden.SQE_FIELDS) == octets
    assert unpack(spec.Sqe, octets).prp2 == golden.SQE_FIELDS["prp2"]


def test_dsm_range():
    assert pack(spec.DsmRange, golden.DSM_RANGE_FIELDS).hex() == golden.DSM_RANGE


def test_cqe():
    """Dword 2: SQHD and SQID; dword 3: CID, phase in bit 16, status in 31:17 (1.4, 4.6)."""
    octets = pack(spec.Cqe, {"dw0": 0x11223344, "sqhd": 0x5566, "sqid": 0x7788, "cid": 0x99AA,
                             "phase": 1, "status": spec.Status.INVALID_QUEUE_ID, "dnr": 1})
    assert octets.hex() == "443322110000000066558877aa990382"
    assert spec.status_field(spec.Status.INVALID_QUEUE_ID) << 1 | 1 == 0x8203


@pytest.mark.parametrize("name", PAGES)
def test_page(name):
    octets = pack(PAGES[name], getattr(golden, f"{name}_FIELDS"))
    for at, want in getattr(golden, name).items():
        want = bytes.fromhex(want)
        assert octets[at:at + len(want)] == want, hex(at)


def test_registers_and_statuses():
    for name, offset in golden.REGISTERS.items():
        assert spec.PROPERTIES[name].offset == offset
    for name, value in golden.STATUSES.items():
        assert spec.Status[name] == value
    cap = spec.Capabilities.from_bits(golden.CAP)
    assert {name: getattr(cap, name) for name in golden.CAP_FIELDS} == golden.CAP_FIELDS
    assert spec.doorbell_offset(3, completion=True) == 0x101C
