"""Identify and log pages, composed word by word and written to the guest."""

# Ref: nvme-base-1.4c, 5.15.2 (Identify data structures), 5.14.1 (log pages)

from amaranth import *
from amaranth.lib import data, enum, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from offloadcard.rtl.buffer import Buffer
from offloadcard.rtl.ports import DmaWritePort

from . import spec_pages as pages
from .layouts import error_row, journal_row, volume_row
from .spec import PAGE_OCTETS, VOLUMES, Status

__all__ = ["PageKind", "PageWriter", "page_request"]



class PageKind(enum.Enum, shape=3):
    """What can be written."""
    CONTROLLER  = 0
    NAMESPACE   = 1
    LIST        = 2  # of active namespaces above `nsid`
    DESCRIPTORS = 3
    ERROR       = 4
    SMART       = 5
    FIRMWARE    = 6


# Where the constant words of a page lie in ROM: base and count of words.
_ROM = {PageKind.CONTROLLER: (0, 256), PageKind.NAMESPACE: (256, 64),
        PageKind.SMART: (320, 64), PageKind.FIRMWARE: (384, 64)}


def page_request(*, function_id_width):
    """Words ``first`` to ``first + words - 1`` of a page, to the memory that PRP1 and PRP2 name."""
    return data.StructLayout({
        "function_id": function_id_width,
        "kind":        PageKind,
        "nsid":        32,
        "first":       30,
        "words":       11,
        "prp1":        64,
        "prp2":        64,
    })


def rom(*, mdts):
    """The constant words: pages of function 0, without what its volumes say."""
    words = [0] * 512
    constant = {
        PageKind.CONTROLLER: pages.controller_page(0, mdts=mdts),
        PageKind.NAMESPACE:  pages.namespace_page(0, 0, blocks=0, blocks_4096=0, read_only=0),
        PageKind.SMART:      pages.smart_page(),
        PageKind.FIRMWARE:   pages.firmware_page(),
    }
    for kind, (base, count) in _ROM.items():
        for number in range(count):
            words[base + number] = int.from_bytes(constant[kind][4 * number:][:4], "little")
    return words


class PageWriter(wiring.Component):
    """Write a page, or a part of it, to the guest that asked; what lies behind its end is 0.

    Constant words come from ROM; the function's own (serial, SUBNQN, CNTLID, volumes, counters,
    errors) are put in as they pass.

    Timing
    ------
    One word of 4 octets per cycle; the status follows the last write's answer by 1 cycle.

    Parameters
    ----------
    function_id_width, data_width : int
        Widths in bits.
    mdts : int
        Identify Controller's MDTS.

    Members
    -------
    i : ``In(stream.Signature(page_request(...)))``
        What to write; taken when it is over.
    status : ``Out(11)``
        How it went, with the handshake of ``i``.
    writes : ``Out(DmaWritePort(...))``
        The guests.
    volume_address : ``Out(function_id_width + 2)``
        Volume to look up.
    volume : ``In(volume_row())``
        Its row, one cycle later.
    function_address, entry_address :
        Looks up what the function's commands did, and one of its error log's entries, in
        :class:`~offloadcard.nvme_emul.journal.Journal`.
    counters, entry : ``In(journal_row())``, ``In(error_row())``
        Those rows, one cycle later.
    """

    def __init__(self, *, function_id_width, data_width, mdts):
        self.function_id_width, self.data_width = function_id_width, data_width
        self.mdts = mdts
        super().__init__({
            "i":      In(stream.Signature(page_request(function_id_width=function_id_width))),
            "status": Out(11),
            "writes": Out(DmaWritePort(function_id_width=function_id_width, tag_width=1,
                                       data_width=data_width)),
            "volume_address": Out(function_id_width + 2),
            "volume": In(volume_row()),
            "function_address": Out(function_id_width),
            "entry_address":    Out(function_id_width + 2),
            "counters":         In(journal_row()),
            "entry":            In(error_row()),
        })

    def elaborate(self, platform):
        m = Module()

        p     = self.i.p
        lanes = self.data_width // 32

        # Which volumes are there: the list of active namespaces, and the row of the one named.
        scan    = Signal(range(VOLUMES + 1))
        active  = Signal(range(VOLUMES + 1))
        entries = [Signal(3, name=f"entry_{number}") for number in range(VOLUMES)]
        row     = Signal(volume_row())
        m.d.comb += self.volume_address.eq(Cat(scan[:2], p.function_id))

        # Words: read from ROM while the number moves on.
        m.submodules.rom = store = memory.Memory(shape=32, depth=512, init=rom(mdts=self.mdts))
        rom_r   = store.read_port()
        index   = Signal(31)   # of the word that ROM reads now
        index_r = Signal(31)   # of the word that is there now
        small   = Signal()     # its number is less than 1,024
        advance = Signal()
        inside  = Signal()     # ROM has it
        in_rom  = Signal()     # ROM has the word that it reads now
        reads   = Signal()     # all move on by one word
        prime   = Signal()
        m.d.comb += rom_r.en.eq(reads)
        with m.Switch(p.kind):
            for kind, (base, count) in _ROM.items():
                with m.Case(kind):
                    m.d.comb += [rom_r.addr.eq(base + index[:(count - 1).bit_length()]),
                                 in_rom.eq(index < count)]
        word, word_r = Signal(32), Signal(32)
        number_r = Signal(10)
        newest   = Signal(2)
        at       = Signal(2)  # entry of the word that comes next
        m.d.comb += [
            number_r.eq(index_r[:10]), self.function_address.eq(p.function_id),
            newest.eq(self.counters.errors[:2] - 1),
            at.eq(newest - Mux(reads, index[4:6], index_r[4:6])),
            self.entry_address.eq(Cat(at, p.function_id)),
        ]
        # Each kind's word rests in a register before one is chosen.
        words = {kind: Signal(32, name=f"word_{kind.name.lower()}") for kind in PageKind}
        self._controller(m, words[PageKind.CONTROLLER], rom_r.data, inside, number_r)
        self._namespace(m, words[PageKind.NAMESPACE], rom_r.data, inside, number_r, row)
        self._smart(m, words[PageKind.SMART], rom_r.data, inside, number_r)
        self._errors(m, words[PageKind.ERROR], small, number_r)
        m.d.comb += words[PageKind.FIRMWARE].eq(Mux(inside, rom_r.data, 0))
        for number, entry in enumerate(entries):
            with m.If(small & (number_r == number) & (number < active)):
                m.d.comb += words[PageKind.LIST].eq(entry)
        tail = pages.nguid(0, 0)[8:]
        for number, value in ((0, 0x1002),  # NIDT NGUID, NIDL 16
                              (1, Cat(p.nsid[:16], p.function_id)),
                              (3, int.from_bytes(tail[:4], "little")),
                              (4, int.from_bytes(tail[4:], "little"))):
            with m.If(small & (number_r == number)):
                m.d.comb += words[PageKind.DESCRIPTORS].eq(value)
        rested = {kind: Signal.like(value, name=f"{value.name}_r") for kind, value in words.items()}
        with m.If(reads):
            m.d.sync += [rested[kind].eq(value) for kind, value in words.items()]
        with m.Switch(p.kind):
            for kind, value in rested.items():
                with m.Case(kind):
                    m.d.comb += word.eq(value)

        # Beats: one segment up to the page's end at PRP1, the rest at PRP2.
        m.submodules.buffer = buffer = Buffer(self.writes.beats.payload.shape())
        wiring.connect(m, buffer.o, wiring.flipped(self.writes.beats))
        beat     = Signal(self.data_width)
        lane     = Signal(range(lanes))
        room     = Signal(11)   # words up to the page's end
        size     = Signal(11)   # words of this segment
        sent     = Signal(11)
        second   = Signal()
        more     = Signal()
        sooner, later = Signal(11), Signal(11)  # `size` of the first segment, of the second
        misplaced     = Signal()
        opened   = Signal()     # the beat offered is the segment's first
        full     = Signal()
        last     = Signal()
        failed   = Signal()
        answers  = Signal(2)
        segments = Signal(2)
        valid    = Signal()     # a word is there
        store_it = Signal()
        m.d.comb += [
            size.eq(Mux(second, later, sooner)),
            buffer.i.p.data.eq(beat), buffer.i.p.function_id.eq(p.function_id),
            buffer.i.p.address.eq(Mux(second, p.prp2, p.prp1)),
            buffer.i.p.length.eq(size << 2),
            buffer.i.p.first.eq(opened), buffer.i.p.last.eq(last), buffer.i.valid.eq(full),
            advance.eq(~full | buffer.i.ready),
            store_it.eq(valid & advance & (sent != size)),
            reads.eq(store_it | prime),
        ]
        with m.If(advance):
            m.d.sync += full.eq(0)
            with m.If(full):
                m.d.sync += opened.eq(0)
        with m.If(store_it):
            with m.Switch(lane):
                for number in range(lanes):
                    with m.Case(number):
                        m.d.sync += beat[32 * number:][:32].eq(word_r)
            m.d.sync += [
                lane.eq(lane + 1), sent.eq(sent + 1),
                full.eq((lane == lanes - 1) | (sent + 1 == size)), last.eq(sent + 1 == size),
            ]
        with m.If(reads):
            m.d.sync += [index.eq(index + 1), index_r.eq(index), word_r.eq(word),
                         small.eq(index[10:] == 0), inside.eq(in_rom)]
        with m.If(self.writes.answers.valid):
            m.d.sync += [answers.eq(answers + 1),
                         failed.eq(failed | self.writes.answers.p.error)]

        # Worked out, one from the other, while the volumes are looked at.
        m.d.sync += [
            room.eq((PAGE_OCTETS // 4) - p.prp1[2:12]), more.eq(p.words > room),
            sooner.eq(Mux(more, room, p.words)), later.eq(p.words - room),
            misplaced.eq((p.prp1[:2] != 0) | (more & (p.prp2[:12] != 0))),
        ]

        with m.FSM(name="write"):
            with m.State("IDLE"):
                m.d.sync += [scan.eq(0), active.eq(0), second.eq(0), sent.eq(0), lane.eq(0),
                             opened.eq(1), answers.eq(0), failed.eq(0), valid.eq(0),
                             index.eq(p.first)]
                with m.If(self.i.valid):
                    m.next = "SCAN"
            with m.State("SCAN"):
                # One look-up behind: the row of volume `scan - 1` is here.
                m.d.sync += scan.eq(scan + 1)
                with m.If((scan != 0) & self.volume.valid & (scan > p.nsid)):
                    m.d.sync += active.eq(active + 1)
                    with m.Switch(active):
                        for number, entry in enumerate(entries):
                            with m.Case(number):
                                m.d.sync += entry.eq(scan)
                with m.If((scan != 0) & (scan == p.nsid)):
                    m.d.sync += row.eq(self.volume)
                with m.If((p.nsid == 0) | (p.nsid > VOLUMES)):
                    m.d.sync += row.eq(0)
                with m.If(scan == VOLUMES):
                    m.next = "PRPS"
            with m.State("PRPS"):
                m.d.sync += segments.eq(1 + more)
                with m.If((p.kind == PageKind.DESCRIPTORS) & ~row.valid):
                    m.d.comb += [self.i.ready.eq(1), self.status.eq(Status.INVALID_NAMESPACE)]
                    m.next = "IDLE"
                with m.Elif(misplaced):
                    m.d.comb += [self.i.ready.eq(1), self.status.eq(Status.INVALID_PRP_OFFSET)]
                    m.next = "IDLE"
                with m.Else():
                    m.next = "PRIME"
            with m.State("PRIME"):
                m.d.comb += prime.eq(1)
                m.next = "PRIME-KIND"
            with m.State("PRIME-KIND"):
                m.d.comb += prime.eq(1)
                m.next = "PRIME-WORD"
            with m.State("PRIME-WORD"):
                m.d.comb += prime.eq(1)
                m.d.sync += valid.eq(1)
                m.next = "WORDS"
            with m.State("WORDS"):
                with m.If((sent == size) & advance):
                    m.d.sync += [second.eq(1), sent.eq(0), lane.eq(0), opened.eq(1)]
                    with m.If(second | ~more):
                        m.d.sync += valid.eq(0)
                        m.next = "ANSWERS"
            with m.State("ANSWERS"):
                with m.If(answers == segments):
                    m.d.comb += [self.i.ready.eq(1),
                                 self.status.eq(Mux(failed, Status.DATA_TRANSFER_ERROR, 0))]
                    m.next = "IDLE"

        return m

    def _hexadecimal(self, m, name):
        """Four ASCII digits of ``function_id``, the first in the lowest octet."""
        digits = []
        number = Signal(16, name=f"{name}_number")
        m.d.comb += number.eq(self.i.p.function_id)
        for place in reversed(range(4)):
            nibble = number[4 * place:][:4]
            digit  = Signal(8, name=f"{name}_{place}")
            m.d.comb += digit.eq(nibble + Mux(nibble > 9, ord("a") - 10, ord("0")))
            digits.append(digit)
        return Cat(*digits)

    def _controller(self, m, word, constant, inside, index):
        at_serial = (4 + pages.SERIAL.index("0000")) // 4
        at_subnqn = (768 + pages.SUBNQN.index("0000")) // 4
        digits = Signal(32)
        m.d.comb += [digits.eq(self._hexadecimal(m, "digit")),
                     word.eq(Mux(inside, constant, 0))]
        with m.Switch(index):
            with m.Case(at_serial, at_subnqn):
                m.d.comb += word.eq(digits)
            with m.Case(76 // 4):
                m.d.comb += word.eq(Cat(constant[:16], self.i.p.function_id))  # CNTLID
            with m.Case(2048 // 4):
                m.d.comb += word.eq(2500)  # power state 0: maximum power, 0.01 W

    def _namespace(self, m, word, constant, inside, index, row):
        m.d.comb += word.eq(Mux(inside & row.valid, constant, 0))
        with m.If(row.valid):
            with m.Switch(index):
                with m.Case(0, 2, 4):   # NSZE, NCAP, NUSE
                    m.d.comb += word.eq(row.blocks[:32])
                with m.Case(1, 3, 5):
                    m.d.comb += word.eq(row.blocks[32:])
                with m.Case(24 // 4):   # FLBAS
                    m.d.comb += word.eq(constant | (row.blocks_4096 << 16))
                with m.Case(96 // 4):   # NSATTR
                    m.d.comb += word.eq(constant | (row.read_only << 24))
                with m.Case(104 // 4):  # NGUID
                    m.d.comb += word.eq(Cat(self.i.p.nsid[:16], self.i.p.function_id))

    def _smart(self, m, word, constant, inside, index):
        """Counters whose fields are 16 octets each, 8 of which are ever used."""
        c = self.counters
        m.d.comb += word.eq(Mux(inside, constant, 0))
        with m.If(inside):
            with m.Switch(index):
                for at, value in ((32, c.read_units + (c.read_rest != 0)),
                                  (48, c.written_units + (c.written_rest != 0)),
                                  (64, c.reads), (80, c.writes), (176, c.errors)):
                    wide = Signal(64, name=f"smart_{at}")
                    m.d.comb += wide.eq(value)
                    with m.Case(at // 4):
                        m.d.comb += word.eq(wide[:32])
                    with m.Case(at // 4 + 1):
                        m.d.comb += word.eq(wide[32:])

    def _errors(self, m, word, small, index):
        """The error log, newest entry first."""
        e = self.entry
        with m.If(small & (index[4:] < self.counters.entries)):
            with m.Switch(index[:4]):
                for at, value in ((0, e.error_count), (2, Cat(e.qid, e.cid)),
                                  # Status as in a CQE, Do Not Retry; no parameter is blamed.
                                  (3, Cat(C(0, 1), e.status, C(0b1000, 4), C(0xFFFF, 16))),
                                  (4, e.lba[:32]), (5, e.lba[32:]), (6, e.nsid)):
                    with m.Case(at):
                        m.d.comb += word.eq(value)
