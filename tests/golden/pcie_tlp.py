"""Headers of TLPs in the octets of the link, as strangers make them.

Origin: cocotbext-pcie 0.2.16, ``cocotbext.pcie.core.tlp.Tlp.pack_header``, run once on the fields
beside each; ``tests/pcie/test_spec.py`` runs it again.
"""

__all__ = ["HEADERS"]

# name: (octets, Fmt and Type as cocotbext-pcie names them, fields as it names them)
HEADERS = {
    "read_64": ("20000010 0102a7ff 00000012 34567000", "MEM_READ_64", {
        "length": 16, "requester_id": 0x0102, "tag": 0xa7, "first_be": 0xf, "last_be": 0xf,
        "address": 0x12_3456_7000}),
    "read_32": ("00000001 00130006 fee00ffc", "MEM_READ", {
        "length": 1, "requester_id": 0x0013, "tag": 0, "first_be": 0x6, "last_be": 0,
        "address": 0xfee0_0ffc}),
    "write_64": ("60003040 01ff00fc ffffffff fffff004", "MEM_WRITE_64", {
        "length": 64, "requester_id": 0x01ff, "tag": 0, "first_be": 0xc, "last_be": 0xf,
        "address": 0xffff_ffff_ffff_f004, "attr": 3}),
    "write_32_poisoned": ("40104001 0100000f fee00000", "MEM_WRITE", {
        "length": 1, "requester_id": 0x0100, "tag": 0, "first_be": 0xf, "last_be": 0,
        "address": 0xfee0_0000, "ep": True, "tc": 1}),
    "completion_data": ("4a000010 00000040 01020540", "CPL_DATA", {
        "length": 16, "completer_id": 0, "requester_id": 0x0102, "tag": 5, "byte_count": 64,
        "lower_address": 0x40, "status": 0}),
    "completion_abort": ("0a000000 00ff8004 0013fe03", "CPL", {
        "length": 0, "completer_id": 0x00ff, "requester_id": 0x0013, "tag": 0xfe,
        "byte_count": 4, "lower_address": 3, "status": 4}),
    "config_write": ("44000001 0000030c 01020154", "CFG_WRITE_0", {
        "length": 1, "requester_id": 0, "tag": 3, "first_be": 0xc, "completer_id": 0x0102,
        "address": 0x154}),
}
