"""The registers that only physical functions have: BARs and what rules their virtual functions."""

# Ref: pcie-5.0, 7.5.1.2.1 (Base Address Registers)
# Ref: sriov-1.1, 3.3 (SR-IOV Extended Capability)

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from . import spec_config as spec

__all__ = ["PfRegisters"]

_CACHE_LINE, _BAR0, _BAR0_UPPER, _BAR2, _BAR2_UPPER = (n // 4 for n in range(0x0C, 0x20, 4))
_LINK = (spec.PCIE + 0x10) // 4
(_CONTROL, _NUM_VFS, _FIRST, _PAGE_SIZE, _VF_BAR0, _VF_BAR0_UPPER, _VF_BAR2, _VF_BAR2_UPPER) = (
    (spec.SRIOV + n) // 4 for n in (0x08, 0x10, 0x14, 0x20, 0x24, 0x28, 0x2C, 0x30))


class PfRegisters(wiring.Component):
    """What software sets in one physical function beside its row.

    Timing
    ------
    A read takes 1 cycle; a write is seen in the outputs in the next, a page size in the one after.
    ``register`` rests for a cycle before a write: what ``value`` shows then stays where the mask
    is clear.

    Parameters
    ----------
    total_vfs : int
        Virtual functions that can be enabled.
    first_vf_offset : int
        First VF Offset with ARI; without, it reads 256 more.
    has_ari : bool
        The function has the bit ARI Capable Hierarchy: the first one only.
    function_id_width : int
        Width of the number of virtual functions.

    Members
    -------
    register : ``In(7)``
        DW of configuration space.
    write, mask, data : ``In(1)``, ``In(32)``, ``In(32)``
        Write the bits of ``mask``.
    value : ``Out(32)``
        What the DW shows, beside its constant part; zero where none of ours is.
    reset, cold : ``In(1)``
        Reset; ``cold`` also what outlives a function-level reset.
    ari : ``In(1)``
        ARI Capable Hierarchy of the first function.
    vfs_locked : ``In(1)``
        Virtual functions of another physical one are enabled: ARI cannot change.
    bar0, bar2, vf_bar0, vf_bar2 : ``Out(48)``
        Address bits 63:16.
    vf_enable, vf_memory, ari_hierarchy : ``Out(1)``
        VF Enable; VF MSE under it; the bit ARI Capable Hierarchy.
    num_vfs : ``Out(function_id_width)``
        NumVFs.
    aperture : ``Out(3)``
        A VF BAR takes 64 KiB << 2 * aperture: as much as a page of the system, if that is larger.
    vfs_ended : ``Out(1)``
        VF Enable went from one to zero by a write in the cycle before.
    """

    def __init__(self, *, total_vfs, first_vf_offset, has_ari, function_id_width):
        if total_vfs < 1:
            raise ValueError(f"`total_vfs` must be at least 1, not {total_vfs!r}")
        self.total_vfs, self.first_vf_offset, self.has_ari = total_vfs, first_vf_offset, has_ari
        super().__init__({
            "register": In(7), "write": In(1), "mask": In(32), "data": In(32), "value": Out(32),
            "reset": In(1), "cold": In(1), "ari": In(1), "vfs_locked": In(1),
            "bar0": Out(48), "bar2": Out(48), "vf_bar0": Out(48), "vf_bar2": Out(48),
            "vf_enable": Out(1), "vf_memory": Out(1), "ari_hierarchy": Out(1),
            "num_vfs": Out(function_id_width), "aperture": Out(3), "vfs_ended": Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        cache_line, link = Signal(8), Signal(16)
        vf_mse    = Signal()
        page_size = Signal(11, init=1)
        num_vfs   = Signal(16)
        size_mask = Signal(32)  # of a VF BAR: bits below the aperture read zero
        m.d.comb += [
            self.vf_memory.eq(self.vf_enable & vf_mse),
            self.num_vfs.eq(num_vfs),
            size_mask.eq(0xFFFF_0000),
        ]
        # [sriov-1.1: 3.3.13] one page size is set; the BAR has at least that alignment.
        for bit, aperture in ((6, 1), (8, 2), (10, 3)):
            with m.If(page_size[bit]):
                m.d.comb += [
                    self.aperture.eq(aperture),
                    size_mask.eq(0xFFFF_FFFF & -(spec.BAR_OCTETS << 2 * aperture)),
                ]

        merged = Signal(32)
        present = Signal(32)
        m.d.comb += merged.eq((self.value & ~self.mask) | (self.data & self.mask))

        asked, asking = Signal(32), Signal()  # a page size, compared in the next cycle
        m.d.sync += [asked.eq(merged), asking.eq(0)]

        pairs = ((_BAR0, _BAR0_UPPER, self.bar0, 0xFFFF_0000),
                 (_BAR2, _BAR2_UPPER, self.bar2, 0xFFFF_0000),
                 (_VF_BAR0, _VF_BAR0_UPPER, self.vf_bar0, size_mask),
                 (_VF_BAR2, _VF_BAR2_UPPER, self.vf_bar2, size_mask))
        with m.Switch(self.register):
            for lower, upper, bar, mask in pairs:
                with m.Case(lower):
                    m.d.comb += present.eq(Cat(Const(0, 16), bar[:16]) & mask)
                    with m.If(self.write):
                        m.d.sync += bar[:16].eq((merged & mask)[16:])
                with m.Case(upper):
                    m.d.comb += present.eq(bar[16:])
                    with m.If(self.write):
                        m.d.sync += bar[16:].eq(merged)
            with m.Case(_CACHE_LINE):
                m.d.comb += present.eq(cache_line)
                with m.If(self.write):
                    m.d.sync += cache_line.eq(merged)
            with m.Case(_LINK):
                m.d.comb += present.eq(link)
                with m.If(self.write):
                    m.d.sync += link.eq(merged & 0x00CB)
            with m.Case(_CONTROL):
                m.d.comb += present.eq(Cat(self.vf_enable, Const(0, 2), vf_mse,
                                           self.ari_hierarchy))
                with m.If(self.write):
                    m.d.sync += [self.vf_enable.eq(merged[0]), vf_mse.eq(merged[3])]
                    if self.has_ari:
                        with m.If(~self.vf_enable & ~self.vfs_locked):
                            m.d.sync += self.ari_hierarchy.eq(merged[4])
            with m.Case(_NUM_VFS):
                m.d.comb += present.eq(num_vfs)
                # [sriov-1.1: 3.3.7] not to be changed while VF Enable is set, nor over TotalVFs.
                with m.If(self.write & ~self.vf_enable & (merged[:16] <= self.total_vfs)):
                    m.d.sync += num_vfs.eq(merged)
            with m.Case(_FIRST):
                m.d.comb += present.eq(Mux(self.ari, self.first_vf_offset,
                                           self.first_vf_offset + 256))
            with m.Case(_PAGE_SIZE):
                m.d.comb += present.eq(page_size)
                m.d.sync += asking.eq(self.write & ~self.vf_enable)
        for bit in range(11):
            if spec.SUPPORTED_PAGE_SIZES >> bit & 1:
                with m.If(asking & (asked == 1 << bit)):
                    m.d.sync += page_size.eq(1 << bit)

        m.d.sync += [
            self.value.eq(present),
            self.vfs_ended.eq(self.write & (self.register == _CONTROL) & self.vf_enable
                              & ~merged[0]),
        ]
        with m.If(self.reset | self.cold):
            m.d.sync += [
                *(bar.eq(0) for _, _, bar, _ in pairs),
                cache_line.eq(0), self.vf_enable.eq(0), vf_mse.eq(0), num_vfs.eq(0),
                page_size.eq(1), asking.eq(0), self.vfs_ended.eq(0),
            ]
        with m.If(self.cold):
            # [pcie-5.0: 6.6.2] link control and, for the sake of the other physical function's
            # virtual ones, ARI Capable Hierarchy outlive a function-level reset.
            m.d.sync += [link.eq(0), self.ari_hierarchy.eq(0)]

        return m
