"""PageWriter: every page, word for word, wherever the guest wants it."""

import pytest
from amaranth.sim import Simulator

from offloadcard.nvme_emul.pages import PageKind, PageWriter
from offloadcard.nvme_emul.spec import Status
from offloadcard.nvme_emul.spec_pages import (
    controller_page,
    error_entry,
    firmware_page,
    namespace_page,
    smart_page,
)
from tests.support.streams import Stalls

VOLUME = {"valid": 1, "read_only": 1, "blocks_4096": 1, "base": 0, "blocks": (7 << 32) + 1000}
NGUID  = namespace_page(0x2A5, 2, blocks=1, blocks_4096=0, read_only=0)[104:120]
COUNTERS = {"read_units": 7, "read_rest": 1, "written_units": 9, "written_rest": 0,
            "reads": (3 << 32) + 5, "writes": 6, "errors": 0x10203, "entries": 3}
# In the ring of four rows: the newest is the 0x10203rd, in row 2; row 3 is not valid.
ERRORS = [{"error_count": 0x10201 + n,
           "sqid": n, "cid": 0x100 + n, "status": 0x181 + n, "lba": (n << 40) + 5, "nsid": n + 1}
          for n in range(4)]
PAGES  = {
    PageKind.CONTROLLER:  controller_page(0x2A5, mdts=5),
    PageKind.NAMESPACE:   namespace_page(0x2A5, 2, blocks=(7 << 32) + 1000, blocks_4096=1,
                                         read_only=1),
    PageKind.LIST:        b"\2\0\0\0\4".ljust(4096, b"\0"),
    PageKind.DESCRIPTORS: (b"\x02\x10\0\0" + NGUID).ljust(4096, b"\0"),
    PageKind.ERROR:       b"".join(error_entry(**ERRORS[n])
                                   for n in (2, 1, 0)).ljust(4096, b"\0"),
    PageKind.SMART:       smart_page(
        data_units_read=8, data_units_written=9, host_reads=(3 << 32) + 5, host_writes=6,
        num_err_log_entries=0x10203).ljust(4096, b"\0"),
    PageKind.FIRMWARE:    firmware_page().ljust(4096, b"\0"),
}


def written(requests, *, data_width, stall=0.0, error=False):
    """Status of each request, and what it wrote: octets by address."""
    dut = PageWriter(function_id_width=10, data_width=data_width, mdts=5)
    found = []
    stalls = Stalls(3, stall)

    async def requester(ctx):
        for fields in requests:
            memory.clear()
            ctx.set(dut.i.payload, {"function_id": 0x2A5, "nsid": 2, "first": 0, **fields})
            ctx.set(dut.i.valid, 1)
            taken = False
            while not taken:
                *_, taken, status = await ctx.tick().sample(dut.i.ready, dut.status)
            ctx.set(dut.i.valid, 0)
            found.append((status, dict(memory)))

    memory = {}

    async def guest(ctx):
        at, answer = None, 0
        while True:
            ready = not stalls()
            ctx.set(dut.writes.beats.ready, ready)
            ctx.set(dut.writes.answers.valid, answer)
            ctx.set(dut.writes.answers.p.error, error)
            answer = 0
            *_, valid, payload = await ctx.tick().sample(dut.writes.beats.valid,
                                                         dut.writes.beats.payload)
            if not (valid and ready):
                continue
            assert payload.function_id == 0x2A5
            if payload.first:
                at = 0
            octets = payload.data.as_bits() if hasattr(payload.data, "as_bits") else 0
            octets = octets.to_bytes(data_width // 8, "little")[:payload.length - at]
            for index, octet in enumerate(octets):
                memory[payload.address + at + index] = octet
            at += len(octets)
            assert payload.last == (at == payload.length)
            answer = payload.last

    async def volumes(ctx):
        while True:
            *_, address = await ctx.tick().sample(dut.volume_address)
            row = VOLUME if address in (0x2A5 << 2 | 1, 0x2A5 << 2 | 3) else {"valid": 0}
            ctx.set(dut.volume, row)

    async def journal(ctx):
        while True:
            *_, function_id, at = await ctx.tick().sample(dut.function_address, dut.entry_address)
            ctx.set(dut.counters, COUNTERS if function_id == 0x2A5 else {})
            row = {{"sqid": "qid"}.get(name, name): value
                   for name, value in ERRORS[at & 3].items()}
            ctx.set(dut.entry, row if at >> 2 == 0x2A5 else {})

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(requester)
    simulator.add_testbench(guest, background=True)
    simulator.add_testbench(volumes, background=True)
    simulator.add_testbench(journal, background=True)
    simulator.run()
    return found


@pytest.mark.parametrize("data_width", [64, 512])
def test_every_page(data_width):
    """Whole pages on one page of the guest's, then a part across two."""
    requests, want = [], []
    for kind, page in PAGES.items():
        nsid = 0 if kind == PageKind.LIST else 2
        requests.append({"kind": kind, "nsid": nsid, "words": 1024 if kind == 0 else 160,
                         "prp1": 0x40000})
        length = 4 * requests[-1]["words"]
        want.append((0, {0x40000 + n: page[n] for n in range(length)}))
        requests.append({"kind": kind, "nsid": nsid, "words": 23, "first": 3, "prp1": 0x40FDC,
                         "prp2": 0x50000})
        part = page[12:12 + 92]
        want.append((0, {**{0x40FDC + n: part[n] for n in range(36)},
                         **{0x50000 + n: part[36 + n] for n in range(56)}}))
    assert written(requests, data_width=data_width, stall=0.2) == want


def test_refusals():
    """Misplaced PRPs and absent namespaces write nothing; a refused write is told."""
    base = {"kind": PageKind.CONTROLLER, "words": 32, "prp1": 0x40000}
    found = written([{**base, "prp1": 0x40001}, {**base, "prp1": 0x40FFC, "prp2": 0x50004},
                     {**base, "kind": PageKind.DESCRIPTORS, "nsid": 1}], data_width=64)
    assert found == [(Status.INVALID_PRP_OFFSET, {}), (Status.INVALID_PRP_OFFSET, {}),
                     (Status.INVALID_NAMESPACE, {})]
    (status, _), = written([base], data_width=64, error=True)
    assert status == Status.DATA_TRANSFER_ERROR
