"""The page of the ECP5: shares of the device, clocks of what was routed, and whether it fits."""

import json

from fpga.ecp5 import DEVICE, DOCS, page


def record(block, *, lut=8364, clocks=(), parts=None):
    found = {"block": block, "preset": "ecp5", "functions": 4, "data_width": 64, "commit": "0",
             "cells": {"lut": lut, "ff": 0, "block_ram": 104}, "lut_levels": 7,
             "clock_mhz_stated": 100, "clock_mhz_routed": list(clocks)}
    return {**found, "parts": parts} if parts else found


def test_shares_and_clocks():
    card = record("card", parts=[record("rtl.mac"), record("gft.pipeline")])
    text = page(card, [record("rtl.mac", clocks=(120.4, 99.6))])
    assert "| rtl.mac | 8,364 (10%) | 0 (0%) | 104 (50%) | 7 | 100 to 120 |" in text
    assert "| gft.pipeline | 8,364 (10%) | 0 (0%) | 104 (50%) | 7 | not routed |" in text
    assert "does not fit" not in text


def test_what_does_not_fit_is_said():
    card = record("card", lut=DEVICE["lut"] + 1, parts=[record("rtl.mac")])
    assert "does not fit" in page(card)


def test_the_page_is_as_its_records_are():
    card, *routed = json.loads((DOCS / "ecp5.json").read_text())
    assert (DOCS / "ecp5.md").read_text() == page(card, routed)
