"""A keyed hash of the UFID: who does not know the seed cannot aim at a bucket."""

# Ref: Krawczyk, "LFSR-based Hashing and Authentication", CRYPTO 1994, 3 (Toeplitz construction)

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["KeyedHash", "expand", "toeplitz"]

TAPS   = (63, 62, 60, 59)         # of a maximal LFSR of 64 bits
SALT   = 0x243F_6A88_85A3_08D3    # pi's first digits: a seed of few ones is no sparse key
WARMUP = 512                      # cycles until every bit of the seed has spread


def expand(seed, bits):
    """The hash's key as the card expands it from ``seed``; bit 0 came in last."""
    state, key = seed ^ SALT or 1, 0
    for _ in range(bits + WARMUP):
        out = 0
        for tap in TAPS:
            out ^= state >> tap & 1
        state = (state << 1 | out) & (1 << 64) - 1
        key = (key << 1 | out) & (1 << bits) - 1
    return key


def toeplitz(key, value, *, bits):
    """Hash of ``value``: bit n is the parity of ``value`` under the key shifted by n."""
    return sum(((key >> n & value).bit_count() & 1) << n for n in range(bits))


class KeyedHash(wiring.Component):
    """Toeplitz hash of a value, its key expanded from a seed by an LFSR.

    Linear in the value, but any fixed difference of two values collides for one key in 2**bits
    only. That is against guests who do not see the hash; a stronger one fits the same place.

    Timing
    ------
    Latency 1 cycle, one value per cycle. ``ready`` falls with ``load`` for
    ``width + bits + 511`` cycles.

    Parameters
    ----------
    width : int
        Bits of the value.
    bits : int
        Bits of the hash.

    Members
    -------
    i : ``In(width)``
        The value.
    o : ``Out(bits)``
        Its hash.
    seed : ``In(64)``
        The seed; after reset the key is that of 0.
    load : ``In(1)``
        Expand the seed anew.
    ready : ``Out(1)``
        The key is expanded.
    """

    def __init__(self, *, width, bits):
        if width < 1 or bits < 1:
            raise ValueError(f"`width` and `bits` must be positive, not {width!r} and {bits!r}")
        self.width = width
        self.bits  = bits
        super().__init__({"i": In(width), "o": Out(bits), "seed": In(64), "load": In(1),
                          "ready": Out(1)})

    def elaborate(self, platform):
        m = Module()

        length = self.width + self.bits - 1
        key    = Signal(length, init=expand(0, length))
        state  = Signal(64)
        left   = Signal(range(length + WARMUP + 1))
        m.d.comb += self.ready.eq(left == 0)
        bit = Signal()
        m.d.comb += bit.eq(Cat(state[tap] for tap in TAPS).xor())
        with m.If(self.load):
            m.d.sync += [state.eq(Mux(self.seed == SALT, 1, self.seed ^ SALT)),
                         left.eq(length + WARMUP)]
        with m.Elif(left != 0):
            m.d.sync += [
                left.eq(left - 1),
                state.eq(Cat(bit, state[:-1])),
                key.eq(Cat(bit, key[:-1])),
            ]
        for n in range(self.bits):
            m.d.sync += self.o[n].eq((key[n:n + self.width] & self.i).xor())

        return m
