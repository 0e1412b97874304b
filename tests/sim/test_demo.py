"""The demo's own parts: what it reads, what it refuses, how it records and draws."""

import pytest

from sim.bridge.ethernet import PcapError, write_pcap
from sim.demo.command import CAPTURE
from sim.demo.image import InputError, check_image, hashes_inside, make_image, read_image
from sim.demo.record import Act, CheckFailed
from sim.demo.report import timeline_svg, write_report
from sim.demo.tenants import stations_of, steps_of
from sim.traffic import Member, udp

RED, BLUE = Member("02000a010002", "10.1.0.2"), Member("02000a010003", "10.1.0.3")


def test_the_capture_has_two_tenants():
    stations, frames = stations_of(CAPTURE)
    assert [s.mac.hex() for s in stations] == ["02000a010002", "02000a010003"]
    steps = steps_of(stations, frames)
    fates = [step.fate for step in steps]
    assert len(steps) == len(frames) and set(fates) == {"passes", "denied", "asked", "stays"}
    assert fates.count("passes") > 70


def test_replies_pass_and_strangers_do_not(tmp_path):
    path = tmp_path / "small.pcap"
    write_pcap(path, enumerate([udp(RED, BLUE, b"question"),
                                udp(BLUE, RED, b"answer", source_port=5000, destination_port=4000),
                                udp(BLUE, RED, b"not asked for", destination_port=9)]))
    stations, frames = stations_of(path)
    assert [s.fate for s in steps_of(stations, frames)] == ["passes", "passes", "denied"]


def test_broken_captures_are_refused_in_one_line(tmp_path):
    broken = tmp_path / "broken.pcap"
    broken.write_bytes(CAPTURE.read_bytes()[:1000])
    lonely = tmp_path / "lonely.pcap"
    write_pcap(lonely, [(0, udp(RED, BLUE, b"alone"))])
    for path, error in ((broken, PcapError), (tmp_path / "absent.pcap", PcapError),
                        (lonely, InputError)):
        with pytest.raises(error) as seen:
            stations_of(path)
        assert "\n" not in str(seen.value) and path.name in str(seen.value)


def test_an_image_is_made_checked_and_refused(tmp_path):
    path, hashes = make_image(tmp_path)
    assert len(read_image(path)) == 4 << 20
    clean, said = check_image(path)
    assert clean and "files" in said
    assert hashes_inside(path, tmp_path / "out") == hashes
    damaged = bytearray(path.read_bytes())
    damaged[0x438] ^= 0xFF
    for name, octets in (("no-magic.ext4", bytes(damaged)), ("short.ext4", bytes(100)),
                         ("odd.ext4", bytes(damaged[:-1]))):
        (tmp_path / name).write_bytes(octets)
        with pytest.raises(InputError) as seen:
            read_image(tmp_path / name)
        assert "\n" not in str(seen.value) and name in str(seen.value)
    with pytest.raises(InputError, match="readable"):
        read_image(tmp_path / "absent.ext4")


def test_a_slip_is_named():
    act = Act("name", "title")
    act.equal("lists", [1, 2], [1, 2])
    with pytest.raises(CheckFailed, match="item 1 must be 3, not 2"):
        act.equal("lists", [1, 2], [1, 3])
    with pytest.raises(CheckFailed, match="3 must be seen, not 2"):
        act.equal("lists", [1, 2], [1, 2, 3])
    with pytest.raises(CheckFailed, match="seen: 7"):
        act.check("a thing", False, 7)


def test_the_report_stands_alone(tmp_path):
    act = Act("one", "An act")
    act.say("A <story>.")
    act.fact("frames", 7, "frames")
    act.check("it holds", True, 7)
    act.plot("octets", {"red": ([0, 1], [0, 2])}, xlabel="µs", ylabel="kB")
    steps = [{"ns": 5.0, "where": "guest", "what": "doorbell"},
             {"ns": 900.0, "where": "wire", "what": "frame"}]
    write_report({"config": {"preset": "tiny"}, "seed": 1, "commit": "abc", "timeline": steps,
                  "acts": [act.as_dict()], "sim": {"cycles": 1000, "wall_s": 1.0}},
                 tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 2 and "A &lt;story&gt;." in page and "895 ns" in page
    assert "895 ns" in (tmp_path / "packet.svg").read_text()
    assert "src=" not in page and "http://" not in page.replace("http://www.w3.org", "")
    assert timeline_svg([]) == ""
