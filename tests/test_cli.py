"""The command line: what works says so, what cannot is one clear line and exit code 2."""

import json

import pytest
from click.testing import CliRunner

from offloadcard.cli import main
from offloadcard.commands import doctor, prove, registers
from offloadcard.config import MODEL, PRESETS
from offloadcard.rtl.spec_card import MANAGEMENT
from sim.bridge.ethernet import write_pcap


def call(*arguments):
    """Exit code and output of a command."""
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_help_names_every_command():
    code, text = call("--help")
    assert code == 0
    for name in ("demo", "bench", "plot", "prove", "verilog", "synth", "registers", "qemu",
                 "doctor"):
        assert name in text
        assert call(name, "--help")[0] == 0


@pytest.mark.parametrize("arguments,message", [
    (("verilog", "--preset", "huge"), "--preset must be one of model, small, ecp5, tiny"),
    (("verilog", "--block", "gpu"), "--block must be one of card, pcie.endpoint"),
    (("verilog", "--functions", "2"), "--functions must be at least 4, not 2"),
    (("synth", "--preset", "model", "--route"), "--route must be asked of a preset for ECP5"),
    (("synth", "--preset", "ecp5", "--block", "rtl.mac", "--seeds", "0"),
     "--seeds must be at least 1, not 0"),
    (("synth", "--preset", "ecp5", "--route"), "--route must be asked of one block"),
    (("synth", "--block", "gpu"), "--block must be one of card"),
    (("bench", "nothing"), "`scenario` must be one that `--list` names, not 'nothing'"),
    (("bench", "net-tx-46"), "not 'net-tx-46' (near: net-tx-64"),
    (("bench", "gft-64", "--preset", "huge"), "`preset` must be one of model"),
    (("qemu", "--show", "nothing"), "--show must be one of bios, crash, drive"),
    (("qemu", "--show", "drive", "--qemu", "/bin/true"), "--qemu must be a QEMU, and"),
    (("qemu", "--show", "drive", "--cpus", "0"), "--cpus must be at least 1, not 0"),
    (("qemu", "--script", "tests/thirdparty/linux/sriov.sh"), "has virtual functions"),
    (("plot", "/nowhere/x.json"), "/nowhere/x.json"),
    (("registers", "nothing"), "NAME must be one of card, pcie"),
    (("demo", "--pcap", "/nowhere/x.pcap"), "/nowhere/x.pcap: No such file or directory"),
    (("demo", "--preset", "huge"), "--preset must be one of model, small, ecp5, tiny"),
    (("verilog", "--preset", "ecp5", "--block", "rtl.mac", "-o", "mac.md"),
     "--out must not end in .md, where the ports go"),
    (("synth", "--preset", "ecp5", "--block", "rtl.mac", "--against", "/nowhere/x.json"),
     "/nowhere/x.json must be a record of synth, not missing"),
    (("synth", "--preset", "ecp5", "--block", "rtl.mac", "--against", "README.md"),
     "README.md must be a record of synth"),
])
def test_what_cannot_be_done_is_one_line_and_code_2(arguments, message):
    code, text = call(*arguments)
    assert code == 2 and message in text
    assert len(text.strip().splitlines()) == 1 and "Traceback" not in text


def test_a_broken_capture_is_one_line_and_code_2(tmp_path):
    path = tmp_path / "cut.pcap"
    write_pcap(path, [(0, bytes(60))])
    path.write_bytes(path.read_bytes()[:50])
    code, text = call("demo", "--pcap", path)
    assert code == 2 and "record 1 is cut at octet 50" in text
    assert len(text.strip().splitlines()) == 1


def test_verilog_of_a_block(tmp_path):
    out = tmp_path / "mac.v"
    code, text = call("verilog", "--preset", "ecp5", "--block", "rtl.mac", "-o", out)
    assert code == 0 and "preset ecp5, 4 functions" in text.replace("\n", " ")
    assert "module rtl_mac(" in out.read_text()


def test_the_pages_of_registers_are_as_the_maps_are():
    code, text = call("registers", "--check")
    assert code == 0, text
    assert "RX_RUNTS" in call("registers", "card")[1]
    assert MANAGEMENT in registers.maps_of("card")


def test_doctor_tells_what_is_missing(monkeypatch):
    code, text = call("doctor")
    assert "amaranth" in text and "0.5.10" in text
    need = doctor.Need("program", "no-such-program", "nothing", "apt install nothing")
    assert doctor.examine([need]) == [(need, None)]
    monkeypatch.setattr(doctor, "examine", lambda: [(need, None)])
    code, text = call("doctor")
    assert code == 1 and "get it by:  apt install nothing" in text


def test_proofs_are_chosen_by_name():
    found = prove.collect(["test_packet_queue"])
    assert len(found) == 2 and all("test_packet_queue.py::" in test for test in found)
    proofs = [prove.Proof(test, "PASSED", 0.0) for test in found]
    assert [proof.is_mutant for proof in proofs] == [False, True]
    assert proofs[0].house == "rtl" and proofs[0].name == "only_what_was_committed_leaves"
    code, text = call("prove", "nothing_of_that_name")
    assert code == 2 and "NAME must be part of a proof's name" in text


def test_presets_are_what_the_commands_offer():
    assert list(PRESETS) == ["model", "small", "ecp5", "tiny"]
    assert json.loads(json.dumps(MODEL.functions)) == 254
