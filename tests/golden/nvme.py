"""Octets of NVMe structures as others lay them out.

Origin: a C program over Debian's libnvme-dev 1.3 (``nvme/types.h``: struct nvme_id_ctrl,
nvme_id_ns, nvme_dsm_range, nvme_smart_log, nvme_firmware_slot, nvme_error_log_page; its
NVME_REG_* and NVME_SC_*) and linux-libc-dev 6.1 (``linux/nvme_ioctl.h``: struct
nvme_passthru_cmd, whose first 64 octets are those of an entry), with the values of ``FIELDS`` set,
printed on x86-64.
"""

SQE = ("02413412141312112423222134333231484746454443424158575655545352516867666564636261"
       "747372718483828194939291a4a3a2a1b4b3b2b1c4c3c2c1")
SQE_FIELDS = {
    "opcode": 2, "fuse": 1, "psdt": 1, "cid": 0x1234, "nsid": 0x11121314, "cdw2": 0x21222324,
    "cdw3": 0x31323334, "mptr": 0x4142434445464748, "prp1": 0x5152535455565758,
    "prp2": 0x6162636465666768, "cdw10": 0x71727374, "cdw11": 0x81828384, "cdw12": 0x91929394,
    "cdw13": 0xA1A2A3A4, "cdw14": 0xB1B2B3B4, "cdw15": 0xC1C2C3C4}

# Of each page: offset, octets.
CONTROLLER = {
    0: "961b341253455249414c00000000000000000000000000004d4f44454c00000000000000000000000000000000"
       "000000000000000000000000000000000000004657310000000000030000000005a50200040100070000000800"
       "0000090000000a0000000000000000000000000000010000000000000000000000000000000000000000",
    256: "110003040506070000005701610100000000000000000000",
    512: "66440c00040000000800010002010d000e0000010f0000001000000011000000",
    768: "6e716e2e78000000",
    2048: "c4090000",
}
CONTROLLER_FIELDS = {
    "vid": 0x1B96, "ssvid": 0x1234, "sn": list(b"SERIAL".ljust(20, b"\0")),
    "mn": list(b"MODEL".ljust(40, b"\0")), "fr": list(b"FW1".ljust(8, b"\0")), "rab": 3,
    "mdts": 5, "cntlid": 0x2A5, "ver": 0x10400, "rtd3r": 7, "rtd3e": 8, "oaes": 9, "ctratt": 10,
    "cntrltype": 1, "oacs": 0x11, "acl": 3, "aerl": 4, "frmw": 5, "lpa": 6, "elpe": 7,
    "wctemp": 343, "cctemp": 353, "sqes": 0x66, "cqes": 0x44, "maxcmd": 12, "nn": 4, "oncs": 8,
    "fuses": 1, "fna": 2, "vwc": 1, "awun": 13, "awupf": 14, "nwpc": 1, "acwu": 15, "sgls": 16,
    "mnan": 17, "subnqn": list(b"nqn.x".ljust(256, b"\0")), "psd": [{"mp": 2500}]}

NAMESPACE = {
    0: "e803000000000000e903000000000000ea0300000000000001010203040506070809",
    96: "0000000100000000a0a1a2a3a4a5a6a7a8a9aaabacadaeafe0e1e2e3e4e5e6e70000090008000c01",
}
NAMESPACE_FIELDS = {
    "nsze": 1000, "ncap": 1001, "nuse": 1002, "nsfeat": 1, "nlbaf": 1, "flbas": 2, "mc": 3,
    "dpc": 4, "dps": 5, "nmic": 6, "rescap": 7, "fpi": 8, "dlfeat": 9, "nsattr": 1,
    "nguid": list(range(0xA0, 0xB0)), "eui64": list(range(0xE0, 0xE8)),
    "lbaf": [{"lbads": 9}, {"lbads": 12, "ms": 8, "rp": 1}]}

SMART = {0: "013601640a020000" + "00" * 24 + "03" + "00" * 15 + "04" + "00" * 15 + "05"
            + "00" * 15 + "06" + "00" * 15 + "07" + "00" * 15 + "08" + "00" * 15 + "09"
            + "00" * 15 + "0a" + "00" * 15 + "0b" + "00" * 15 + "0c" + "00" * 15}
SMART_FIELDS = {
    "critical_warning": 1, "temperature": 310, "avail_spare": 100, "spare_thresh": 10,
    "percent_used": 2, "data_units_read": 3, "data_units_written": 4, "host_reads": 5,
    "host_writes": 6, "ctrl_busy_time": 7, "power_cycles": 8, "power_on_hours": 9,
    "unsafe_shutdowns": 10, "media_errors": 11, "num_err_log_entries": 12}

FIRMWARE = {0: "0100000000000000312e302020202020"}
FIRMWARE_FIELDS = {"afi": 1, "frs": [int.from_bytes(b"1.0     ", "little")]}

ERROR = {0: "0100000000000000020003000400050006000000000000000700000000000000"}
ERROR_FIELDS = {"error_count": 1, "sqid": 2, "cid": 3, "status": 4, "location": 5, "lba": 6,
                "nsid": 7}

# struct nvme_dsm_range.
DSM_RANGE = "01000000020000000300000000000000"
DSM_RANGE_FIELDS = {"cattr": 1, "nlb": 2, "slba": 3}

# What NVME_CAP_* makes of 0x2028010007.
CAP = 0x20_2801_0007
CAP_FIELDS = {"mqes": 7, "cqr": 1, "to": 40, "css": 1, "mpsmin": 0}

# NVME_REG_*.
REGISTERS = {"CAP": 0x00, "VS": 0x08, "INTMS": 0x0C, "INTMC": 0x10, "CC": 0x14, "CSTS": 0x1C,
             "AQA": 0x24, "ASQ": 0x28, "ACQ": 0x30}

# NVME_SC_* with their status code type above.
STATUSES = {
    "INVALID_OPCODE": 0x001, "INVALID_FIELD": 0x002, "DATA_TRANSFER_ERROR": 0x004,
    "INTERNAL_ERROR": 0x006, "ABORT_REQUESTED": 0x007, "INVALID_NAMESPACE": 0x00B,
    "COMMAND_SEQUENCE_ERROR": 0x00C,
    "INVALID_PRP_OFFSET": 0x013, "LBA_OUT_OF_RANGE": 0x080, "COMPLETION_QUEUE_INVALID": 0x100,
    "INVALID_QUEUE_ID": 0x101, "INVALID_QUEUE_SIZE": 0x102, "ABORT_LIMIT_EXCEEDED": 0x103,
    "ASYNC_EVENT_LIMIT_EXCEEDED": 0x105, "INVALID_INTERRUPT_VECTOR": 0x108,
    "INVALID_LOG_PAGE": 0x109, "INVALID_QUEUE_DELETION": 0x10C, "FEATURE_NOT_SAVEABLE": 0x10D,
    "FEATURE_NOT_CHANGEABLE": 0x10E, "WRITE_TO_READ_ONLY": 0x182, "WRITE_FAULT": 0x280,
    "UNRECOVERED_READ_ERROR": 0x281}
