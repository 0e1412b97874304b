"""A root complex in Python for unit tests: checks requests, cuts and mixes completions."""

import random

from offloadcard.pcie import spec
from offloadcard.rtl.octets import pack

__all__ = ["Completer", "completion", "octet_at", "parse_request", "beats_of"]


def octet_at(address):
    """What the model's memory holds at ``address``."""
    return (address * 0x9E3779B1 >> 7) & 0xFF


def header_bits(view):
    """A header field of a beat, or four DWs, as one number."""
    return sum(int(view[n]) << 32 * n for n in range(4))


def parse_request(beat_header):
    """Fields of a memory request, with ``address`` whole and ``write``."""
    bits  = header_bits(beat_header)
    short = spec.MemoryRequest3Dw.from_bits(bits)
    assert short["type"] == spec.Type.MEMORY
    four = short.fmt in (spec.Fmt.FOUR_DW, spec.Fmt.FOUR_DW_DATA)
    long = spec.MemoryRequest.from_bits(bits)
    if four:
        assert long.address_high, "below 4 GiB the header must have three DWs"
        address = long.address_high << 32 | long.address_low << 2
    else:
        address = short.address_low << 2
    out = {"write": short.fmt >= 2, "address": address, "tag": short.tag,
           "requester_id": short.requester_id, "length_dw": short["length"] or 1024,
           "first_be": short.first_be, "last_be": short.last_be}
    assert out["length_dw"] * 4 + (address & 0xFFF) <= 4096, "crosses 4 KiB"
    if out["length_dw"] == 1:
        assert not out["last_be"] and out["first_be"]
    else:
        assert out["first_be"] and out["last_be"]
        if out["length_dw"] > 2:  # enables are contiguous where more than a QW is asked for
            assert out["first_be"] in (0xF, 0xE, 0xC, 0x8)
            assert out["last_be"] in (0xF, 0x7, 0x3, 0x1)
    return out


def span(request):
    """First octet and number of octets that the byte enables ask for."""
    first = (request["first_be"] & -request["first_be"]).bit_length() - 1
    last  = request["last_be"] if request["length_dw"] > 1 else request["first_be"]
    end   = (request["length_dw"] - 1) * 4 + last.bit_length()
    return request["address"] + first, end - first


def beats_of(header, octets, data_width):
    """A TLP as payloads of a ``tlp_beat`` stream."""
    lanes = data_width // 8
    words = [header >> 32 * n & 0xFFFF_FFFF for n in range(4)]
    count = max(1, (len(octets) + lanes - 1) // lanes)
    for n in range(count):
        piece = octets[n * lanes:(n + 1) * lanes].ljust(lanes, b"\xa5")
        yield {"header": words, "data": list(piece), "first": n == 0, "last": n == count - 1,
               "error": 0}


def completion(*, requester_id, tag, status=0, byte_count=4, lower=0, octets=None, ep=0):
    """Header and padded payload of a completion; without ``octets`` it carries no data."""
    fields = {"type": spec.Type.COMPLETION, "fmt": spec.Fmt.THREE_DW, "status": status,
              "requester_id": requester_id, "tag": tag, "byte_count": byte_count & 0xFFF,
              "lower_address": lower & 0x7F, "ep": ep}
    data = b""
    if octets is not None:
        data = b"\x5a" * (lower & 3) + octets
        data += b"\x5a" * (-len(data) % 4)
        fields.update(fmt=spec.Fmt.THREE_DW_DATA, length=len(data) // 4)
    raw = pack(spec.Completion, fields, swap=4)
    return sum(int.from_bytes(raw[n:n + 4], "big") << 8 * n for n in range(0, 16, 4)), data


class Completer:
    """Takes MRd headers, gives back completions in an order and cut of its own.

    ``fate(request)`` names what becomes of a request: "ok", "ur", "ca", "poison", "drop", "count",
    "lower".
    """

    def __init__(self, *, seed, read_max, rcb=64, fate=lambda request: "ok"):
        self.random = random.Random(seed)
        self.read_max = read_max
        self.rcb = rcb
        self.fate = fate
        self.open = {}   # tag: list of completions still to be sent, in order
        self.seen = []

    def request(self, beat_header):
        """A read arrives; it is checked and remembered."""
        request = parse_request(beat_header)
        assert not request["write"]
        assert request["length_dw"] * 4 <= self.read_max, "longer than MRRS"
        tag = request["tag"]
        assert tag not in self.open, f"tag {tag} lent twice"
        self.seen.append(request)
        fate = self.fate(request)
        ids = {"requester_id": request["requester_id"], "tag": tag}
        start, length = span(request)
        if fate == "drop":
            return
        if fate in ("ur", "ca"):
            self.open[tag] = [completion(**ids, status=1 if fate == "ur" else 4,
                                         byte_count=length, lower=start)]
            return
        parts, at = [], start
        while at < start + length:
            end = start + length
            cuts = range((at // self.rcb + 1) * self.rcb, end, self.rcb)
            end = self.random.choice([*cuts, end])
            part = bytes(octet_at(n) for n in range(at, end))
            parts.append(completion(
                **ids, byte_count=start + length - at + (fate == "count"),
                lower=at + 4 * (fate == "lower"), octets=part, ep=fate == "poison"))
            at = end
            if fate in ("count", "lower"):
                break
        self.open[tag] = parts

    def next(self):
        """A completion of any open tag, or ``None``."""
        if not self.open:
            return None
        tag = self.random.choice(sorted(self.open))
        part = self.open[tag].pop(0)
        if not self.open[tag]:
            del self.open[tag]
        return part
