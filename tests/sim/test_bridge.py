"""The bridge of User-Mode Linux against the card, with guests made of paper."""

import json
import sys
from pathlib import Path

import pytest

from offloadcard.config import TINY
from sim.linux.run import GuestSpec, boot

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def kernel(tmp_path):
    """A program that stands for the kernel."""
    path = tmp_path / "kernel"
    path.write_text(f"#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m tests.sim.paper_guest "
                    "\"$@\"\n")
    path.chmod(0o755)
    return path


def play(kernel, *stories, **options):
    """One guest a story, with its functions; the report, and what each wrote down."""
    guests = [GuestSpec(functions=functions, append=[f"story={story}"],
                        console=kernel.parent / f"console{n}")
              for n, (story, functions) in enumerate(stories)]
    report = boot(TINY, kernel, guests, timeout_s=120, **options)
    logs = []
    for n, guest in enumerate(report["guests"]):
        said = (kernel.parent / f"console{n}").read_text()
        assert guest["code"] == 0, said
        logs.append(json.loads(said.splitlines()[-1]))
    return report, logs


@pytest.mark.system
def test_physical_functions(kernel):
    report, (log,) = play(kernel, ("physical_functions", ("pf0", "pf1")))
    assert log["serial"]
    # Five seconds of sleep cost the card nothing.
    assert report["virtual_ns"] > 5_000_000_000
    assert report["clocks"] < 200_000
    assert report["clocks"] * 4 + report["skipped_ns"] == pytest.approx(report["virtual_ns"],
                                                                        abs=2_000_000)


@pytest.mark.system
def test_a_guest_enables_its_own_vfs(kernel):
    play(kernel, ("own_virtual_functions", ("pf1", "nvme0", "nvme1")))


@pytest.mark.system
def test_two_guests_on_one_card(kernel):
    _, logs = play(kernel, ("lonely_virtual_function", ("nvme0",)),
                   ("lonely_virtual_function", ("nvme1",)))
    assert logs[0]["serial"] != logs[1]["serial"]


@pytest.mark.system
def test_the_same_again(kernel):
    story = ("lonely_virtual_function", ("nvme0",))
    first, _ = play(kernel, story)
    again, _ = play(kernel, story)
    later, _ = play(kernel, story, mmio_ns=2_000)
    assert first["trace"] == again["trace"] != later["trace"]
    assert first["virtual_ns"] == again["virtual_ns"] < later["virtual_ns"]


@pytest.mark.system
def test_an_interrupt_has_its_price(kernel):
    story = ("lonely_virtual_function", ("nvme0",))
    _, (free,) = play(kernel, story)
    _, (paid,) = play(kernel, story, interrupt_ns=3_000)
    assert paid["identify_ns"] - free["identify_ns"] == 3_000


