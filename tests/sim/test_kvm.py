"""The guest that measures exits: its octets, its controls, and its counts where there is KVM."""

import os
import shutil
import subprocess

import pytest

from sim.software import kvm
from sim.software.measure import Skip

LISTING = {
    "none": ["nop"], "port": ["out %al,$0x10"],
    "memory": ["mov %al,0x8000"], "doorbell": ["mov %al,0x8000"],
}


@pytest.mark.parametrize("kind", kvm.KINDS)
def test_a_second_witness_reads_the_guest_as_it_is_meant(kind, tmp_path):
    if not shutil.which("objdump"):
        pytest.skip("objdump is not installed: apt install binutils")
    path = tmp_path / "code"
    path.write_bytes(kvm.code(kind, 20_000))
    text = subprocess.run(["objdump", "-D", "-b", "binary", "-m", "i386:x86-64", str(path)],
                          capture_output=True, text=True, check=True).stdout
    rows = [" ".join(row.split("\t")[-1].split()) for row in text.splitlines() if "\t" in row]
    assert rows == ["mov $0x4e20,%ecx", *LISTING[kind], "dec %ecx", "jne 0x5", "hlt"]


def test_rounds_fit_a_register():
    for rounds in (0, 1 << 32):
        with pytest.raises(ValueError, match="`rounds`"):
            kvm.code("port", rounds)


def test_a_run_counts_only_with_the_exits_of_its_loop():
    assert kvm.counted("port", 5, "100 7 5 0 0 0\n") == (100, 7)
    assert kvm.counted("doorbell", 5, "100 7 0 0 5 0\n") == (100, 7)
    for line in ("100 7 4 0 0 0", "100 7 5 1 0 0", "100 7 5 0 0 1", "100 7 0 0 5 0"):
        with pytest.raises(Skip, match="5 rounds counted"):
            kvm.counted("port", 5, line)


def test_a_figure_needs_a_loop_that_is_far_faster_without_exits():
    assert kvm.cost(1_001_000, 1_000, 1_000) == 1_000
    with pytest.raises(Skip, match="interprets a guest here: 1700 ns"):
        kvm.cost(10_000_000, 1_700_000, 1_000)
    with pytest.raises(Skip, match="not seen"):
        kvm.cost(30_000, 10_000, 1_000)


def test_without_kvm_or_gcc_it_is_a_gap_with_its_reason(tmp_path, monkeypatch):
    program = tmp_path / "kvm"
    program.write_text("#!/bin/sh\necho 'kvm: /dev/kvm: No such file or directory' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(kvm, "made", lambda folder: program)
    with pytest.raises(Skip, match="/dev/kvm: No such file"):
        kvm.measure()
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Skip, match="gcc is not installed"):
        kvm.measure()


@pytest.mark.parametrize("kind", kvm.KINDS)
def test_a_guest_leaves_as_often_as_its_loop_goes_round(kind, tmp_path):
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("there is no /dev/kvm that may be opened")
    try:
        program = kvm.made(tmp_path)
    except Skip as gap:
        pytest.skip(str(gap))
    run, _ = kvm.once(program, kind, 500)
    assert run > 0
