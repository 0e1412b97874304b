"""The declarations: sizes, checksums against printed examples, the management map."""

import pytest

from offloadcard.gft.spec import MANAGEMENT, Key, checksum, checksum_delta
from offloadcard.rtl.octets import size_of
from tests.golden.packets import IPV4_HEADER, RFC1071_OCTETS, RFC1071_SUM


def test_checksum_of_printed_examples():
    assert checksum(RFC1071_OCTETS) == RFC1071_SUM ^ 0xFFFF
    assert checksum(IPV4_HEADER[:10] + IPV4_HEADER[12:]) == int.from_bytes(IPV4_HEADER[10:12])


def test_checksum_delta_updates():
    """The delta of two headers leads from one's checksum to the other's."""
    new = IPV4_HEADER[:12] + bytes((10, 1, 2, 3)) + IPV4_HEADER[16:]
    total = (checksum(IPV4_HEADER[:10] + IPV4_HEADER[12:]) ^ 0xFFFF) \
        + checksum_delta(IPV4_HEADER[12:16], new[12:16])
    total = (total & 0xFFFF) + (total >> 16)
    assert total ^ 0xFFFF == checksum(new[:10] + new[12:])
    with pytest.raises(ValueError, match="`old` and `new` must be equally many words"):
        checksum_delta(b"ab", b"abcd")


def test_layout():
    assert size_of(Key) == 48
    for register in MANAGEMENT:
        assert register.offset // 8 == (register.offset + register.octets - 1) // 8
