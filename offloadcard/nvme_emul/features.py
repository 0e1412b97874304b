"""Get and Set Features: values per function, in memory."""

# Ref: nvme-base-1.4c, 5.9 (Get Features), 5.21 (Set Features)

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from .spec import Feature, Status

__all__ = ["Features"]

_DEFAULTS = {Feature.TEMPERATURE_THRESHOLD: 343, Feature.VOLATILE_WRITE_CACHE: 1}
_MASKS = {
    Feature.ARBITRATION:           0xFFFF_FF07,
    Feature.POWER_MANAGEMENT:      0x0000_00FF,
    Feature.TEMPERATURE_THRESHOLD: 0x0000_FFFF,
    Feature.ERROR_RECOVERY:        0x0000_FFFF,
    Feature.VOLATILE_WRITE_CACHE:  0x0000_0001,
    Feature.INTERRUPT_COALESCING:  0x0000_FFFF,
    Feature.WRITE_ATOMICITY:       0x0000_0001,
    Feature.ASYNC_EVENT_CONFIG:    0x0000_FFFF,
}
_UNDER = 3  # row of the lower temperature threshold; no feature has this identifier


class Features(wiring.Component):
    """Answer one Get or Set Features command.

    A row holds the difference from the default, so that a cleared row is the default.

    Timing
    ------
    ``status`` and ``result`` belong to the inputs of two cycles before; a set is stored in the
    cycle of ``store``.

    Parameters
    ----------
    function_id_width : int
        Width in bits.
    io_queues : int
        I/O queues a function has.

    Members
    -------
    function_id, cdw10, cdw11, set : ``In``
        The command; held until its end.
    queues_exist : ``In(1)``
        The function has I/O queues already.
    status : ``Out(11)``
        How the command ends.
    result : ``Out(32)``
        CQE dword 0.
    store : ``In(1)``
        End of a Set Features without an error.
    clear : ``In(1)``
        Clear row ``clear_row`` of ``function_id``.
    clear_row : ``In(4)``
        Number of the row.
    """

    def __init__(self, *, function_id_width, io_queues):
        self.function_id_width = function_id_width
        self.io_queues = io_queues
        super().__init__({
            "function_id":  In(function_id_width),
            "cdw10":        In(32),
            "cdw11":        In(32),
            "set":          In(1),
            "queues_exist": In(1),
            "status":       Out(11),
            "result":       Out(32),
            "store":        In(1),
            "clear":        In(1),
            "clear_row":    In(4),
        })

    def elaborate(self, platform):
        m = Module()

        m.submodules.rows = rows = memory.Memory(
            shape=32, depth=16 << self.function_id_width, init=[])
        rows_w = rows.write_port()
        rows_r = rows.read_port(transparent_for=(rows_w,))

        identifier = self.cdw10[:8]
        under      = Signal()
        row        = Signal(4)
        default, mask = Signal(32), Signal(32)
        m.d.comb += [
            under.eq((identifier == Feature.TEMPERATURE_THRESHOLD) & self.cdw11[20]),
            row.eq(Mux(under, _UNDER, identifier[:4])),
            rows_r.addr.eq(Cat(row, self.function_id)),
            rows_w.addr.eq(Cat(Mux(self.clear, self.clear_row, row), self.function_id)),
            rows_w.data.eq(Mux(self.clear, 0, (self.cdw11 & mask) ^ default)),
            rows_w.en.eq(self.clear | (self.store & self.set & (mask != 0))),
        ]
        with m.Switch(identifier):
            for feature, bits in _MASKS.items():
                with m.Case(feature):
                    m.d.comb += [mask.eq(bits), default.eq(_DEFAULTS.get(feature, 0))]
        with m.If(under):
            m.d.comb += default.eq(0)

        result, status = Signal(32), Signal(11)
        m.d.sync += [self.result.eq(result), self.status.eq(status)]
        m.d.comb += result.eq(Mux(self.set, 0, rows_r.data ^ default))
        with m.Switch(identifier):
            with m.Case(*_MASKS):
                with m.If((identifier == Feature.TEMPERATURE_THRESHOLD)
                          & ((self.cdw11[16:20] != 0) | self.cdw11[21])):
                    m.d.comb += status.eq(Status.INVALID_FIELD)  # no other sensor
                with m.If((identifier == Feature.POWER_MANAGEMENT) & self.set
                          & (self.cdw11[:5] != 0)):
                    m.d.comb += status.eq(Status.INVALID_FIELD)  # one power state
            with m.Case(Feature.NUMBER_OF_QUEUES):
                m.d.comb += result.eq((self.io_queues - 1) * 0x10001)
                with m.If(self.set & (self.cdw11[:16].all() | self.cdw11[16:].all())):
                    m.d.comb += status.eq(Status.INVALID_FIELD)
                with m.Elif(self.set & self.queues_exist):
                    m.d.comb += status.eq(Status.COMMAND_SEQUENCE_ERROR)
            with m.Case(Feature.INTERRUPT_VECTOR_CONFIG):
                m.d.comb += result.eq(Mux(self.set, 0, self.cdw11[:16]))
                with m.If(self.cdw11[:16] > self.io_queues):
                    m.d.comb += status.eq(Status.INVALID_FIELD)
            with m.Default():
                m.d.comb += status.eq(Status.INVALID_FIELD)
        with m.If(self.set & self.cdw10[31]):
            m.d.comb += status.eq(Status.FEATURE_NOT_SAVEABLE)
        with m.Elif(~self.set & (self.cdw10[8:11] != 0)):
            m.d.comb += status.eq(Status.INVALID_FIELD)  # no select

        return m
