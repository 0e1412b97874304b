"""Guests of an unmodified QEMU on the card: each of ``sim/qemu/shows``."""

import pytest

from offloadcard.config import SMALL
from sim.build import card_simulator
from sim.linux.script import read
from sim.qemu import disk, program
from sim.qemu.run import missing, play, shows


@pytest.mark.thirdparty
@pytest.mark.parametrize("name", sorted(shows()))
def test_show(name, tmp_path):
    """The guests end well, and the card's monitors have found nothing."""
    script = read(shows()[name])
    if lacks := missing(script):
        pytest.skip("; ".join(lacks))
    card_simulator(SMALL)  # outside of the script's time
    outcome = play(script, SMALL)
    said = "\n".join(f"--- guest {n}\n{text[-4000:]}" for n, text in enumerate(outcome.consoles))
    assert outcome.codes == (0,) * len(script.functions), said
    assert outcome.report["counts"]["stray"] == 0
    if script.boot == "network":
        assert outcome.report["leased"] >= 2 and outcome.report["files_served"] >= 1
        assert "booted by network" in said
    if script.boot == "os":
        loaded, started = (outcome.consoles[0].index(text) for text in
                           ("GRUB boots from the card", "BOOT_IMAGE=/boot/vmlinuz"))
        assert loaded < started


@pytest.mark.thirdparty
def test_a_script_that_fails_is_seen(tmp_path):
    """The other side of the above: exit code 3 of a script, not 0."""
    path = tmp_path / "fails.sh"
    path.write_text("# Shows: nothing.\n#: functions = nvme0\n#: timeout = 300\nexit 3\n")
    script = read(path)
    if lacks := missing(script):
        pytest.skip("; ".join(lacks))
    assert play(script, SMALL, out=tmp_path / "out").codes == (3,)


@pytest.mark.thirdparty
def test_a_drive_that_boots_is_made_without_an_answer(tmp_path):
    """Its boot sector, its one partition, its files; a system that never ran is told apart."""
    if lacks := missing(read(shows()["os"])):
        pytest.skip("; ".join(lacks))
    path = tmp_path / "drive"
    disk.make(path, shows()["os"], tmp_path, append="GUEST=0")
    first = path.read_bytes()[:512]
    assert first[510:] == b"\x55\xaa" and first[446] == 0x80 and first[450] == 0x83
    found, wanted = disk.answer(path)
    assert found != wanted and len(wanted) == 64


@pytest.mark.thirdparty
def test_a_program_that_is_too_old_is_refused(tmp_path):
    old = tmp_path / "qemu"
    old.write_text("#!/bin/sh\necho QEMU emulator version 9.2.0\n")
    old.chmod(0o755)
    with pytest.raises(program.QemuError, match="must be 10.1 or newer, not 9.2; give --qemu"):
        program.program(old)
