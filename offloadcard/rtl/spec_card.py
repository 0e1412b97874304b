"""The card as its processor and its wire see it: houses of the management port, the card's own
registers, beats of the wire.

The registers are those of house 0 (decision 0001, "Management"); each other house declares its
own map as ``MANAGEMENT`` in its ``spec.py``.
"""

# Ref: ieee-802.3-2022, 4.2.7 and 4.4.2 (frame sizes, interframe gap)

from amaranth.lib import data

from .regmap import Register, RegisterMap

__all__ = ["HOUSE_CARD", "HOUSE_PCIE", "HOUSE_VIRTIO_NET", "HOUSE_NVME", "HOUSE_GFT", "HOUSES",
           "HOUSE_SHIFT", "house_address", "CARD_ID", "CARD_VERSION", "FRAME_MIN", "FCS_OCTETS",
           "GAP_OCTETS", "wire_octets", "mac_beat", "Path", "Functions", "Flows", "Virtio", "Nvme",
           "MacControl", "MANAGEMENT", "identity"]

# Bits 19:16 of a management address choose the house.
HOUSE_CARD, HOUSE_PCIE, HOUSE_VIRTIO_NET, HOUSE_NVME, HOUSE_GFT = range(5)
HOUSES = 5
HOUSE_SHIFT = 16

CARD_ID = int.from_bytes(b"OFFLOADC", "little")
CARD_VERSION = 0x0001_0000  # major << 16 | minor

FRAME_MIN  = 60  # octets of a frame without FCS; shorter ones are runts
FCS_OCTETS = 4
GAP_OCTETS = 20  # 7 preamble, 1 start of frame, 12 interframe gap


def house_address(house, offset):
    """Management address of ``offset`` in ``house``; ``ValueError`` if either is out of range."""
    if house not in range(1 << (20 - HOUSE_SHIFT)):
        raise ValueError(f"`house` must be 0 to 15, not {house!r}")
    if offset not in range(0, 1 << HOUSE_SHIFT, 8):
        raise ValueError(f"`offset` must be a multiple of 8 below 65536, not {offset!r}")
    return house << HOUSE_SHIFT | offset


def wire_octets(length):
    """Octets that a frame of ``length`` octets (without FCS) takes of the line's time."""
    return max(length, FRAME_MIN) + FCS_OCTETS + GAP_OCTETS


def mac_beat(*, data_width):
    """One beat between the MAC and the wire: a frame without FCS.

    Octets are packed from lane 0, all beats but the last are full. ``valid_bytes`` counts the
    octets of this beat; ``error`` with ``last`` is a frame whose FCS was wrong or which was cut.
    """
    return data.StructLayout({
        "data":        data.ArrayLayout(8, data_width // 8),
        "valid_bytes": range(data_width // 8 + 1),
        "first":       1,
        "last":        1,
        "error":       1,
    })


class Path(data.Struct):
    """The card's data path."""
    data_width:        16
    clock_mhz:         16
    port_gbps:         16
    max_frame_octets:  16


class Functions(data.Struct):
    """The card's functions."""
    functions:         16
    first_net_vf:      16
    first_nvme_vf:     16
    function_id_width: 8
    _rsvd56:           8


class Flows(data.Struct):
    """The flow table."""
    gft_flows:                32
    gft_packet_buffer_octets: 32


class Virtio(data.Struct):
    """The network devices."""
    virtio_queue_size:  16
    virtio_queue_pairs: 16
    _rsvd32:            32


class Nvme(data.Struct):
    """The NVMe controllers."""
    nvme_io_queues:   16
    nvme_queue_size:  16
    nvme_mdts_octets: 32


class MacControl(data.Struct):
    """What the provider allows the port to do."""
    tx_enable: 1
    rx_enable: 1


_OURS = "ours"

MANAGEMENT = RegisterMap("card", (
    Register("ID",        0x000, 64, "ro", _OURS, doc="the octets \"OFFLOADC\""),
    Register("VERSION",   0x008, 32, "ro", _OURS, doc="of this map: major, minor (16 bits each)"),
    Register("PATH",      0x010, Path, "ro", _OURS, doc="width, clock, port of this card"),
    Register("FUNCTIONS", 0x018, Functions, "ro", _OURS, doc="how many functions, and which"),
    Register("FLOWS",     0x020, Flows, "ro", _OURS, doc="size of the flow table"),
    Register("VIRTIO",    0x028, Virtio, "ro", _OURS, doc="sizes of the network devices"),
    Register("NVME",      0x030, Nvme, "ro", _OURS, doc="sizes of the NVMe controllers"),
    Register("CYCLES",    0x038, 64, "ro", _OURS, doc="clocks since power-up"),
    Register("MAC_CONTROL",  0x040, MacControl, "rw", _OURS, reset=3,
             doc="bit 0 lets frames out, bit 1 lets them in"),
    Register("TX_FRAMES",    0x100, 64, "ro", _OURS, doc="frames sent, with errors or without"),
    Register("TX_OCTETS",    0x108, 64, "ro", _OURS, doc="octets sent, padding included, no FCS"),
    Register("TX_ERRORS",    0x110, 64, "ro", _OURS, doc="frames sent with a broken FCS"),
    Register("RX_FRAMES",    0x120, 64, "ro", _OURS, doc="frames handed to the card"),
    Register("RX_OCTETS",    0x128, 64, "ro", _OURS, doc="their octets, without FCS"),
    Register("RX_ERRORS",    0x130, 64, "ro", _OURS, doc="dropped: wrong FCS, cut, malformed"),
    Register("RX_RUNTS",     0x138, 64, "ro", _OURS, doc="dropped: under 60 octets"),
    Register("RX_OVERSIZE",  0x140, 64, "ro", _OURS, doc="dropped: over the maximum"),
    Register("RX_OVERRUNS",  0x148, 64, "ro", _OURS, doc="dropped: the buffer was full"),
    Register("RX_DISABLED",  0x150, 64, "ro", _OURS, doc="dropped: `rx_enable` was 0"),
), size=0x200)


def identity(config):
    """Values of the constant registers of a card of ``config``, by name, as integers."""
    def value(shape):
        fields = {name: getattr(config, name) for name, _ in data.Layout.cast(shape)
                  if not name.startswith("_")}
        return shape.const(fields).as_bits()

    return {"ID": CARD_ID, "VERSION": CARD_VERSION, "PATH": value(Path),
            "FUNCTIONS": value(Functions), "FLOWS": value(Flows), "VIRTIO": value(Virtio),
            "NVME": value(Nvme)}
