"""Frames of the tests, decoded by scapy as an outside witness."""

import logging

from sim.traffic import Member, from_wire, only, to_wire, udp

RED_1, RED_2 = Member("02000a010002", "10.1.0.2"), Member("02000a010003", "10.1.0.3")


def scapy(octets):
    logging.getLogger("scapy").setLevel(logging.ERROR)
    from scapy.layers.l2 import Ether
    from scapy.layers.vxlan import VXLAN
    assert VXLAN  # its import binds UDP port 4789
    return Ether(octets)


def test_a_frame_is_what_it_says():
    octets = udp(RED_1, RED_2, b"hello")
    frame = scapy(octets)
    assert (frame.src, frame.dst) == ("02:00:0a:01:00:02", "02:00:0a:01:00:03")
    assert (frame["IP"].src, frame["IP"].dst, frame["UDP"].dport) == ("10.1.0.2", "10.1.0.3", 5000)
    # scapy computes the same checksums where ours are deleted.
    again = frame.copy()
    del again["IP"].chksum, again["UDP"].chksum
    assert bytes(again) == octets


def test_a_tunnel_goes_out_and_comes_in():
    frame = udp(RED_1, RED_2, bytes(100))
    out, back = scapy(to_wire(frame, 5001, "192.0.2.9")), scapy(from_wire(frame, 5001, "192.0.2.9"))
    assert (out["IP"].src, out["IP"].dst, out["VXLAN"].vni) == ("192.0.2.1", "192.0.2.9", 5001)
    assert (back["IP"].src, back["IP"].dst, back["VXLAN"].vni) == ("192.0.2.9", "192.0.2.1", 5001)
    assert bytes(out["VXLAN"].payload) == bytes(back["VXLAN"].payload) == frame
    only([bytes(out)], [to_wire(frame, 5001, "192.0.2.9")])
