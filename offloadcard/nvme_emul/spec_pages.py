"""Identify and log pages: structures by the standard's names, and what the card says in them."""

# Ref: nvme-base-1.4c, 5.15.2 (Identify data structures), 5.14.1 (Get Log Page)

from amaranth.lib import data

from offloadcard.rtl.octets import pack, size_of

from .spec import ACL, AERL, VERSION, VOLUMES, status_field

__all__ = ["PowerState", "IdentifyController", "LbaFormat", "IdentifyNamespace",
           "NamespaceDescriptor", "ErrorEntry", "SmartLog", "FirmwareSlotLog", "IEEE_OUI",
           "SERIAL", "SUBNQN", "subnqn", "serial", "nguid", "controller_page", "namespace_page",
           "smart_page", "error_entry", "firmware_page", "ERROR_ENTRIES", "VENDOR_ID"]

VENDOR_ID     = 0x1B96     # ours to choose; matches no driver's quirk table with our device id
IEEE_OUI      = 0x02_4F43  # locally administered
SERIAL        = "OFFLOADCARD-0000    "                       # digits 12 to 15: function_id
SUBNQN        = "nqn.2024-01.org.offloadcard:nvme-tenant-0000"  # last four: function_id
ERROR_ENTRIES = 4
MODEL_NUMBER  = "OffloadCard NVMe".ljust(40)
ONCS_COMPARE            = 1 << 0
ONCS_DATASET_MANAGEMENT = 1 << 2
ONCS_WRITE_ZEROES       = 1 << 3
FIRMWARE      = "1.0".ljust(8)

assert SERIAL.index("0000") % 4 == 0 and SUBNQN.index("0000") % 4 == 0


class PowerState(data.Struct):
    """Power state descriptor; 32 octets."""
    mp:    16
    _rest: 240


class IdentifyController(data.Struct):
    """Identify Controller data structure; 4,096 octets."""
    vid:        16
    ssvid:      16
    sn:         data.ArrayLayout(8, 20)
    mn:         data.ArrayLayout(8, 40)
    fr:         data.ArrayLayout(8, 8)
    rab:        8
    ieee:       24
    cmic:       8
    mdts:       8
    cntlid:     16
    ver:        32
    rtd3r:      32
    rtd3e:      32
    oaes:       32
    ctratt:     32
    rrls:       16
    _rsvd102:   72
    cntrltype:  8
    fguid:      128
    crdt:       data.ArrayLayout(16, 3)
    _rsvd134:   976
    oacs:       16
    acl:        8
    aerl:       8
    frmw:       8
    lpa:        8
    elpe:       8
    npss:       8
    avscc:      8
    apsta:      8
    wctemp:     16
    cctemp:     16
    mtfa:       16
    hmpre:      32
    hmmin:      32
    tnvmcap:    128
    unvmcap:    128
    rpmbs:      32
    edstt:      16
    dsto:       8
    fwug:       8
    kas:        16
    hctma:      16
    mntmt:      16
    mxtmt:      16
    sanicap:    32
    hmminds:    32
    hmmaxd:     16
    nsetidmax:  16
    endgidmax:  16
    anatt:      8
    anacap:     8
    anagrpmax:  32
    nanagrpid:  32
    pels:       32
    _rsvd356:   1248
    sqes:       8
    cqes:       8
    maxcmd:     16
    nn:         32
    oncs:       16
    fuses:      16
    fna:        8
    vwc:        8
    awun:       16
    awupf:      16
    nvscc:      8
    nwpc:       8
    acwu:       16
    _rsvd534:   16
    sgls:       32
    mnan:       32
    _rsvd544:   1792
    subnqn:     data.ArrayLayout(8, 256)
    _rsvd1024:  8192
    psd:        data.ArrayLayout(PowerState, 32)
    _vendor:    8192


class LbaFormat(data.Struct):
    """LBA format; 4 octets."""
    ms:    16
    lbads: 8
    rp:    2
    _rsvd: 6


class IdentifyNamespace(data.Struct):
    """Identify Namespace data structure; 4,096 octets."""
    nsze:     64
    ncap:     64
    nuse:     64
    nsfeat:   8
    nlbaf:    8
    flbas:    8
    mc:       8
    dpc:      8
    dps:      8
    nmic:     8
    rescap:   8
    fpi:      8
    dlfeat:   8
    nawun:    16
    nawupf:   16
    nacwu:    16
    nabsn:    16
    nabo:     16
    nabspf:   16
    noiob:    16
    nvmcap:   128
    npwg:     16
    npwa:     16
    npdg:     16
    npda:     16
    nows:     16
    _rsvd74:  144
    anagrpid: 32
    _rsvd96:  24
    nsattr:   8
    nvmsetid: 16
    endgid:   16
    nguid:    data.ArrayLayout(8, 16)
    eui64:    data.ArrayLayout(8, 8)
    lbaf:     data.ArrayLayout(LbaFormat, 16)
    _rsvd192: 1536
    _vendor:  29696


class NamespaceDescriptor(data.Struct):
    """Namespace identification descriptor with an NGUID; 20 octets."""
    nidt:  8
    nidl:  8
    _rsvd: 16
    nid:   data.ArrayLayout(8, 16)


class ErrorEntry(data.Struct):
    """Error information log entry; 64 octets."""
    error_count: 64
    sqid:        16
    cid:         16
    status:      16
    location:    16
    lba:         64
    nsid:        32
    _rest:       288


class SmartLog(data.Struct):
    """SMART / health information; 512 octets."""
    critical_warning:   8
    temperature:        16
    avail_spare:        8
    spare_thresh:       8
    percent_used:       8
    egcws:              8
    _rsvd7:             200
    data_units_read:    128
    data_units_written: 128
    host_reads:         128
    host_writes:        128
    ctrl_busy_time:     128
    power_cycles:       128
    power_on_hours:     128
    unsafe_shutdowns:   128
    media_errors:       128
    num_err_log_entries: 128
    _rest:              2560


class FirmwareSlotLog(data.Struct):
    """Firmware slot information; 512 octets."""
    afi:   8
    _rsvd: 56
    frs:   data.ArrayLayout(64, 7)
    _rest: 3584


assert size_of(IdentifyController) == 4096
assert size_of(IdentifyNamespace) == 4096
assert size_of(NamespaceDescriptor) == 20
assert size_of(ErrorEntry) == 64
assert size_of(SmartLog) == 512
assert size_of(FirmwareSlotLog) == 512


def serial(function_id):
    """Serial number of a function, 20 characters."""
    return SERIAL.replace("0000", f"{function_id:04x}")


def subnqn(function_id):
    """NVM subsystem qualified name of a function."""
    return SUBNQN[:-4] + f"{function_id:04x}"


def nguid(function_id, nsid):
    """NGUID of a namespace, 16 octets: function and NSID, then our OUI, never all zero."""
    return (bytes((nsid, 0)) + function_id.to_bytes(2, "little") + bytes(4)
            + IEEE_OUI.to_bytes(3, "big") + b"\0NVMe")


def controller_page(function_id, *, mdts):
    """What Identify Controller returns; ``mdts`` in powers of two of 4,096 octets."""
    def octets(text, size):
        return list(text.encode().ljust(size, b"\0"))

    return pack(IdentifyController, {
        "vid": VENDOR_ID, "ssvid": VENDOR_ID, "sn": octets(serial(function_id), 20),
        "mn": octets(MODEL_NUMBER, 40), "fr": octets(FIRMWARE, 8), "rab": 3, "ieee": IEEE_OUI,
        "mdts": mdts, "cntlid": function_id, "ver": VERSION, "rtd3r": 1_000_000,
        "rtd3e": 1_000_000, "cntrltype": 1, "acl": ACL, "aerl": AERL,
        "frmw": 0x03,  # slot 1 only, read only
        "lpa": 0x04,   # extended data: NUMDU and offsets
        "elpe": ERROR_ENTRIES - 1, "wctemp": 343, "cctemp": 353, "sqes": 0x66, "cqes": 0x44,
        "nn": VOLUMES, "oncs": ONCS_COMPARE | ONCS_DATASET_MANAGEMENT | ONCS_WRITE_ZEROES, "vwc": 1,
        "subnqn": octets(subnqn(function_id), 256), "psd": [{"mp": 2500}],
    })


def namespace_page(function_id, nsid, *, blocks, blocks_4096, read_only):
    """What Identify Namespace returns for a volume."""
    return pack(IdentifyNamespace, {
        "nsze": blocks, "ncap": blocks, "nuse": blocks, "nsfeat": 0, "nlbaf": 1,
        "flbas": int(blocks_4096),
        "dlfeat": 9,   # deallocated blocks read 0; Write Zeroes knows the Deallocate bit
        "nsattr": int(read_only),
        "nguid": list(nguid(function_id, nsid)),
        "lbaf": [{"lbads": 9}, {"lbads": 12}],
    })


def smart_page(**counters):
    """The SMART log of a drive without wear; ``counters`` by their fields' names."""
    return pack(SmartLog, {"temperature": 310, "avail_spare": 100, "spare_thresh": 10,
                           "power_cycles": 1, **counters})


def error_entry(*, error_count, sqid, cid, status, lba, nsid):
    """An entry of the error log; ``status`` is SCT and SC."""
    return pack(ErrorEntry, {
        "error_count": error_count, "sqid": sqid, "cid": cid,
        "status": status_field(status) << 1, "location": 0xFFFF, "lba": lba, "nsid": nsid})


def firmware_page():
    """The firmware slot log."""
    return pack(FirmwareSlotLog, {
        "afi": 1, "frs": [int.from_bytes(FIRMWARE.encode(), "little")]})
