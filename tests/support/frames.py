"""Frames as beats of the card's packet streams and of the wire, and back."""

__all__ = ["packet_beats", "wire_beats", "collect"]


def _cut(octets, lanes):
    return [octets[n:n + lanes] for n in range(0, max(len(octets), 1), lanes)]


def packet_beats(octets, *, lanes, error=False, filler=0xEE, **meta):
    """Beats of one packet; lanes beyond its end hold ``filler``."""
    cuts = _cut(octets, lanes)
    return [{"data": [*cut, *[filler] * (lanes - len(cut))],
             "meta": {"length": len(octets), **meta},
             "first": number == 0, "last": number == len(cuts) - 1,
             "error": error and number == len(cuts) - 1}
            for number, cut in enumerate(cuts)]


def wire_beats(octets, *, lanes, error=False):
    """Beats of one frame on the wire."""
    cuts = _cut(octets, lanes)
    return [{"data": [*cut, *[0] * (lanes - len(cut))], "valid_bytes": len(cut),
             "first": number == 0, "last": number == len(cuts) - 1,
             "error": error and number == len(cuts) - 1}
            for number, cut in enumerate(cuts)]


def collect(beats):
    """Frames of beats of either kind, as ``[(octets, error)]``; asserts that they are well formed.

    A packet's length is its ``meta.length``; a wire frame's is the sum of ``valid_bytes``.
    """
    frames, octets = [], None
    for beat in beats:
        assert bool(beat.first) == (octets is None), "first exactly where a frame begins"
        octets = octets or b""
        lanes = bytes(beat.data)
        if hasattr(beat, "meta"):
            count = min(len(lanes), beat.meta.length - len(octets))
        else:
            count = beat.valid_bytes
        octets += lanes[:count]
        assert beat.last or count == len(lanes), "all beats but the last are full"
        if beat.last:
            if hasattr(beat, "meta"):
                assert len(octets) == beat.meta.length
            frames.append((octets, bool(beat.error)))
            octets = None
    assert octets is None, "the last frame ends"
    return frames
