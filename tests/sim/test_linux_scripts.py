"""What surrounds a Linux guest: its scripts' first lines, its kernel, its results, clear errors."""

import json
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from offloadcard.cli import main
from sim.linux import kernel, needs, table, walk
from sim.linux.script import ScriptError, octets_of, read

ROOT    = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "tests/thirdparty/linux").rglob("*.sh"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_says_what_it_shows(path):
    script = read(path)
    longest = 7200 if path.parent.name == "long" else 1800
    assert script.shows.endswith(".") and script.timeout <= longest
    network = {name for guest in script.functions for name in guest}
    assert set(script.networks) | set(script.drives) <= network
    subprocess.run(["bash", "-n", path], check=True)


def test_functions_drives_and_networks(tmp_path):
    path = tmp_path / "x.sh"
    path.write_text("# Shows: it.\n#: functions = net0 nvme0 | net1\n#: networks = net0=1 net1=2\n"
                    "#: drives = nvme0=4M\n#: joined = 1-2\n#: hostile = 1\n#: timeout = 7\n")
    script = read(path)
    assert script.functions == (("net0", "nvme0"), ("net1",))
    assert script.networks == {"net0": 1, "net1": 2}
    assert script.drives == {"nvme0": 4 << 20} and script.timeout == 7
    assert script.joined == ((1, 2),) and script.hostile == (1,)
    assert octets_of("3") == 3 and octets_of("2K") == 2048


@pytest.mark.parametrize("line,message", [
    ("functions = disk0", "pf0, pf1, netN or nvmeN, not 'disk0'"),
    ("functions = net0 | net0", "must belong to one guest"),
    ("functions = |", "must have 1 to 8 functions, not 0"),
    ("networks = net0", "must be name=value, not 'net0'"),
    ("drives = nvme0=4T", "a number with K, M or G, not '4T'"),
    ("joined = 1", "pairs of VNIs such as 1-2, not '1'"),
    ("timeout = soon", "a number of seconds, not 'soon'"),
    ("memory = 8M", "at least 64M, not '8M'"),
    ("memory = lots", "a number with K, M or G, not 'lots'"),
    ("hostile = me", "numbers from 0, not 'me'"),
    ("timeline = maybe", "yes or no, not 'maybe'"),
    ("colour = red", ("must be one of functions, networks, drives, joined, far, hostile, "
                      "fiend, mtu, refused, timeline, memory, timeout, cpus, boot, cards, "
                      "not 'colour'")),
    ("mtu = long", "an MTU must be 68 to 9000, not 'long'"),
    ("refused = all", "must be checksums, merged or both, not 'all'"),
    ("cards = 1 0", "a 0 or 1 for each guest, in order, not '1 0'"),
    ("boot = tape", "kernel, drive, network or os, not 'tape'"),
])
def test_a_wrong_line_is_named(tmp_path, line, message):
    path = tmp_path / "x.sh"
    path.write_text(f"# Shows: nothing.\n#: {line}\n")
    with pytest.raises(ScriptError) as error:
        read(path)
    assert message in str(error.value) and f"{path}:2:" in str(error.value)


@pytest.mark.parametrize("lines,message", [
    ("#: networks = net3=1", "'net3' must be a function of one of the guests"),
    ("#: drives = nvme2=4M", "'nvme2' must be a function of one of the guests"),
    ("#: far = net2", "'net2' must be a function of one of the guests"),
    ("#: far = nvme1", "far must be a netN, not 'nvme1'"),
    ("#: fiend = net1", "must belong to one guest, or to the fiend"),
    ("#: fiend = pf0", "functions must be netN or nvmeN"),
    ("#: hostile = 2", "must be one of 0 to 1, not 2"),
])
def test_words_that_do_not_agree_are_named(tmp_path, lines, message):
    path = tmp_path / "x.sh"
    path.write_text(f"#: functions = net0 | net1\n{lines}\n")
    with pytest.raises(ScriptError, match=message):
        read(path)


def call(*arguments):
    result = CliRunner().invoke(main, ["linux", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 2 and len(result.output.strip().splitlines()) == 1, result.output
    return result.output


def test_what_cannot_be_done_is_one_line(tmp_path, monkeypatch):
    smoke = ROOT / "tests/thirdparty/linux/smoke.sh"
    assert "--preset must be one of model" in call("--preset", "huge")
    assert "a shell needs a terminal" in call()
    assert "--guests must be 1 or 2, not 3" in call("--guests", 3)
    assert "--guests must be 2 as the script says" in call("--script", smoke, "--guests", 1)
    assert "--cards must be 1 as the script says" in call("--script", smoke, "--cards", 2)
    assert "--cards must be 1 or 2, not 3" in call("--cards", 3)
    assert "--guests must be 2 with two cards, not 1" in call("--cards", 2, "--guests", 1)
    assert "/nowhere/x.sh: No such file" in call("--script", "/nowhere/x.sh")
    assert "is no program" in call("--script", smoke, "--kernel", "/etc/passwd")
    assert "User-Mode Linux with CONFIG_UML_TIME_TRAVEL_SUPPORT=y" in call(
        "--script", smoke, "--kernel", "/bin/true")
    assert "--pcap must be a file in a folder that exists" in call(
        "--script", smoke, "--pcap", tmp_path / "none/x.pcap")
    assert "--waves must be a file in a folder that exists" in call(
        "--script", smoke, "--waves", tmp_path)
    script = tmp_path / "x.sh"
    script.write_bytes(b"\xff\xfe")
    assert "x.sh: must be a text file" in call("--script", script)
    script.write_text("#: functions = nvme7\n")
    assert "one of nvme0 to nvme6 at preset small, not 'nvme7'" in call("--script", script)
    monkeypatch.setattr(kernel, "SOURCES", tmp_path)
    monkeypatch.setattr(needs, "find", lambda name: None if name == "bison" else name)
    text = call("--script", smoke, "--kernel", "6.1")
    assert "apt install linux-source-6.1 bison" in text


def test_versions_come_from_the_packages(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel, "SOURCES", tmp_path)
    assert kernel.available() == []
    for name in ("linux-source-6.1.tar.xz", "linux-source-6.12.tar.xz", "linux-config-6.1"):
        (tmp_path / name).touch()
    assert kernel.available() == ["6.1", "6.12"]


def test_a_configuration_that_lost_a_word_is_refused(tmp_path):
    words = [line for line in kernel.FRAGMENT.read_text().splitlines()
             if line.startswith("CONFIG_") and not line.endswith("=n")]
    path = tmp_path / "config"
    path.write_text("\n".join(words))
    kernel._check(path)
    path.write_text("\n".join(word for word in words if "VIRTIO_UML" not in word))
    with pytest.raises(kernel.KernelError, match="CONFIG_VIRTIO_UML=y, which this kernel"):
        kernel._check(path)
    path.write_text("\n".join([*words, "CONFIG_IPV6=y"]))
    with pytest.raises(kernel.KernelError, match="CONFIG_IPV6=n"):
        kernel._check(path)


def test_the_table_stands_between_its_marks(tmp_path):
    document, results = tmp_path / "linux.md", tmp_path / "results.json"
    document.write_text(f"before\n{table._BEGIN}\nold\n{table._END}\nafter\n")
    results.write_text(json.dumps({"ping": {
        "code": 0, "preset": "small", "seed": 1, "commit": "abc", "virtual_s": 2.0, "wall_s": 8.0,
        "clocks": 1000, "figures": {"rtt": {"value": 11.0, "unit": "us"}}}}))
    assert table.write(document, results)
    text = document.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "| `ping` | small | 2.000 | 1000 | 8 | 4.0 | rtt 11 us |" in text
    assert not table.write(document, results)


def record(ns, kind, octets=0, address=0, fmt_type=0, who=9):
    return {"ns": ns, "kind": kind, "requester": who, "address": address, "octets": octets,
            "fmt_type": fmt_type}


BAR, MESSAGE = 1 << 46, 0xA_0000


def test_a_read_is_found_in_the_log():
    records = [
        record(0, "TLP_DOWN", 4, BAR + 0x14, 0x60), record(10, "TLP_DOWN", 4, BAR + 0x1008, 0x60),
        record(11, "DOORBELL", 0, BAR + 0x1008), record(20, "TLP_UP", 64, 0x1000),
        record(30, "TLP_DOWN", 64, 0, 0x4A), record(40, "TLP_UP", 2048, 0x2000, 0x40),
        record(41, "TLP_UP", 2048, 0x2800, 0x40), record(50, "TLP_UP", 16, 0x3000, 0x40),
        record(51, "TLP_UP", 4, MESSAGE, 0x40), record(52, "INTERRUPT", 0, MESSAGE),
        record(60, "TLP_DOWN", 4, BAR + 0x100C, 0x60), record(99, "TLP_UP", 64, 0x1000)]
    found = walk.read(walk.steps("nvme", records))
    assert [(step.ns, step.what, step.count) for step in found] == [
        (10, "doorbell: tail of SQ 1", 1), (20, "card reads the submission queue entry", 1),
        (30, "the host's answer", 1), (40, "card writes data", 2),
        (50, "card writes the completion queue entry", 1), (51, "MSI-X message", 1),
        (52, "interrupt", 1), (60, "doorbell: head of CQ 1", 1)]


def test_an_echo_is_found_in_the_log():
    def frame(ns, sender, receiver):
        return [record(ns, "TLP_DOWN", 4, BAR + 0x1004, 0x60, sender),
                record(ns + 1, "TLP_UP", 16, 0x1000, 0, sender),
                record(ns + 2, "TLP_UP", 98, 0x8200, 0x40, receiver),
                record(ns + 3, "TLP_UP", 4, 0x2240, 0x40, receiver),
                record(ns + 4, "INTERRUPT", 0, MESSAGE, 0, receiver)]
    records = frame(0, 1, 2) + frame(10, 2, 1) + frame(20, 1, 2) + frame(30, 2, 1)
    found = walk.ping(walk.steps("net", records))
    assert (found[0].ns, found[0].what) == (20, "notify: transmit queue 1")
    assert (found[-1].ns, found[-1].who) == (34, 1) and len(found) == 10
    assert [step.what for step in found[1:4]] == [
        "card reads descriptors", "card writes a frame", "card writes the used index"]
    assert "| 12 | guest 0 | card writes a frame | 98 |" in walk._table(found)
    with pytest.raises(ValueError, match="must hold an echo"):
        walk.ping(walk.steps("net", frame(0, 1, 2)))


@pytest.mark.parametrize("lines,message", [
    ("#: cards = 0 0 1", "must name one for each of 1 guests, not 3"),
    ("#: functions = net0 | net1\n#: cards = 0 1\n#: joined = 1-2", "must be without joined"),
])
def test_what_two_cards_are_without(tmp_path, lines, message):
    path = tmp_path / "x.sh"
    path.write_text(f"{lines}\n")
    with pytest.raises(ScriptError, match=message):
        read(path)


def test_every_script_has_a_testpoint():
    plan = (ROOT / "docs/testplan/linux.toml").read_text()
    for path in SCRIPTS:
        assert str(path.relative_to(ROOT)) in plan
