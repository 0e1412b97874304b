"""The router behind the wire, on frames alone."""

from sim.linux.fabric import BEHIND, VTEP, Router
from sim.traffic import Member, from_wire, to_wire, udp

ONE, OTHER = Member("02000000000a", "10.0.0.10"), Member("02000000000b", "10.0.0.11")


class Wire:
    """An Env that only listens."""

    def listen_to_wire(self, on_frame):
        self.on_frame = on_frame


def test_a_frame_comes_back_in_the_other_network():
    router = Router(Wire(), None, [(100, 200)])
    frame = udp(ONE, OTHER, b"by the wire")
    assert router.answer(to_wire(frame, 100, VTEP)) == from_wire(frame, 200, VTEP)
    assert router.answer(to_wire(frame, 200, VTEP)) == from_wire(frame, 100, VTEP)


def test_what_is_for_nobody_ends_there():
    wire = Wire()
    router = Router(wire, None, [(100, 200)])
    frame = udp(ONE, OTHER, b"lost")
    for octets in (to_wire(frame, 300, VTEP), to_wire(frame, 100, "192.0.2.77"), frame, b"short"):
        wire.on_frame(1_000, octets, False)
    wire.on_frame(1_000, to_wire(frame, 100, VTEP), True)
    assert router.refused == 5 and len(router.frames) == 5 and not router.under_way


def test_a_tunnel_end_behind_the_wire_gets_whole_frames():
    """Outer header and all, in a tunnel of its own; what it makes goes out as it made it."""
    router = Router(Wire(), None, [], behind=999)
    frame = udp(ONE, OTHER, b"to Linux's own tunnel")
    sent = to_wire(frame, 100, VTEP)
    assert router.answer(sent) == from_wire(sent, 999, BEHIND)
    made = from_wire(frame, 100, VTEP)
    assert router.answer(to_wire(made, 999, BEHIND)) == made
    assert router.answer(to_wire(frame, 100, "192.0.2.77")) is None
