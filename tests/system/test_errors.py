"""Faults, malformed TLPs, broken frames: felt by nobody but their cause."""

import pytest

from .runner import system

pytestmark = pytest.mark.system

KINDS = ["ur", "ca", "poison", "drop"]


@pytest.mark.parametrize("case", ["net_dma_faults", "drive_dma_faults"])
def test_dma_faults(case):
    # The completion timeout is short at TINY only.
    system("errors", case, kinds=KINDS)


def test_dma_faults_at_full_width():
    system("errors", "net_dma_faults", "drive_dma_faults", preset="model", kinds=KINDS[:3])


def test_error_messages():
    system("errors", "error_messages")


def test_malformed_tlps():
    system("errors", "malformed_tlps", preset="model")


@pytest.mark.parametrize("preset", ["tiny", "model"])
def test_broken_frames(preset):
    system("errors", "broken_wire", preset=preset, seed=2)
