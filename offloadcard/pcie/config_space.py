"""The configuration spaces of all functions, and the function table behind them."""

# Ref: pcie-5.0, 2.3.1.1 (Data Return for Configuration Requests; CRS), 7.5 (registers)
# Ref: sriov-1.1, 3.4 (VF configuration space); virtio-1.2, 4.1.4.9 (PCI configuration access)

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.ports import ManagementPort
from . import spec_config as spec
from . import transactions as words
from .config_map import FLAG_ABSENT, FLAG_CLOSED, SLOTS, VIRTIO_PCI_DATA, ConfigMap, Slot
from .config_provider import Provider
from .config_resolve import Resolver, kind_of
from .config_row import fresh_row, judge_error, log_error, state_of, window_data, window_of
from .config_settings import ConfigSettings
from .functions import error_event, error_message, function_row, settings
from .transactions import RESET_ALL, RESET_FAMILY, RESET_FUNCTION, RESET_VFS

__all__ = ["ConfigSpace"]

_DEVICE_DW = (spec.PCIE + 8) // 4
_FLR = 15  # [pcie-5.0: 7.5.3.4] Initiate Function Level Reset in Device Control


class ConfigSpace(wiring.Component):
    """Answers configuration requests of every function, and tells the others of its changes.

    A function's state is one row of memory; what never changes is a ROM per kind of function. One
    visit to a row at a time (request, error, closing, opening, provider), so that each has a
    single writer and a bounded end.

    Timing
    ------
    A read is answered 5 cycles after it came; a write 8, or when the last DMA that its old row let
    through has left; an access through virtio's window takes as long as a register read.
    Power-up: a cycle per function.

    Parameters
    ----------
    config : CardConfig
        The card.

    Members
    -------
    requests : ``In(stream.Signature(config_request()))``
        Configuration requests.
    completions : ``Out(stream.Signature(completion()))``
        One for each.
    rows, settings, pending_function, pending, passing, link_up, management, messages
        As in :class:`offloadcard.pcie.front.Front`.
    errors : ``In(stream.Signature(error_event(...)))``
        Errors to be logged.
    counters : ``In(data.ArrayLayout(32, 5))``
        The target's counters, in the order of ``spec_config.MANAGEMENT``.
    accesses : ``Out(stream.Signature(access_request(...)))``
        Register accesses of virtio functions, one at a time.
    access_replies : ``In(stream.Signature(access_reply(), always_ready=True))``
        The end of each.
    resets : ``Out(stream.Signature(reset_request(...), always_ready=True))``
        Ends asked for.
    closings : ``In(stream.Signature(function_id_width))``
        Close this function; when taken, its row has gone out as not alive.
    openings : ``In(stream.Signature(opening(...)))``
        Begin this function anew.
    walking : ``In(2)``
        Virtual functions of that physical one are still to be closed.
    """

    resolver = Resolver  # a proof takes one that knows every function
    _OWN = True  # a proof's mutant writes into one row for all

    def __init__(self, config):
        self.config = config
        ids = {"function_id_width": config.function_id_width}
        self.ids = ids
        super().__init__({
            "requests":         In(stream.Signature(words.config_request())),
            "completions":      Out(stream.Signature(words.completion())),
            "rows":             Out(stream.Signature(function_row(**ids), always_ready=True)),
            "settings":         Out(settings(**ids)),
            "errors":           In(stream.Signature(error_event(**ids))),
            "messages":         Out(stream.Signature(error_message(**ids), always_ready=True)),
            "counters":         In(data.ArrayLayout(32, 5)),
            "pending_function": Out(config.function_id_width),
            "pending":          In(1),
            "passing":          In(1),
            "link_up":          In(1),
            "management":       In(ManagementPort()),
            "accesses":         Out(stream.Signature(words.access_request(**ids))),
            "access_replies":   In(stream.Signature(words.access_reply(), always_ready=True)),
            "resets":           Out(stream.Signature(words.reset_request(**ids),
                                                    always_ready=True)),
            "closings":         In(stream.Signature(config.function_id_width)),
            "openings":         In(stream.Signature(words.opening(**ids))),
            "walking":          In(2),
        })

    def elaborate(self, platform):
        m = Module()

        config = self.config
        images = ConfigMap(config)
        m.submodules.shared = shared = ConfigSettings(config)
        m.d.comb += [self.settings.eq(shared.settings), shared.walking.eq(self.walking)]

        # --- memories ---------------------------------------------------------------------------
        row_shape = data.ArrayLayout(32, SLOTS)
        m.submodules.rows_memory = rows = memory.Memory(shape=row_shape, depth=config.functions,
                                                        init=[])
        row_w = rows.write_port(granularity=1)
        row_r = rows.read_port()
        m.submodules.rom = rom = memory.Memory(
            shape=ConfigMap.ROM, depth=spec.KINDS * spec.SPACE_DW, init=images.rom())
        rom_r = rom.read_port()

        # --- the visit --------------------------------------------------------------------------
        request   = Signal(words.config_request())
        function  = Signal(config.function_id_width)
        kind      = kind_of(m, config, function)
        family    = Signal()
        m.d.comb += family.eq(kind[0])
        sticky    = Signal()
        error     = Signal(error_event(**self.ids))
        exists, closed, absent = Signal(), Signal(), Signal()
        flags     = row_r.data[Slot.FLAGS]
        m.d.comb += [
            closed.eq(flags[FLAG_CLOSED] | self.walking.bit_select(family, 1) & kind[1]),
            absent.eq(flags[FLAG_ABSENT]),
            row_r.addr.eq(function),
            row_w.addr.eq(function if self._OWN else 0),
            rom_r.addr.eq(Cat(request.register[:7], kind)),
            self.pending_function.eq(function),
        ]
        m.submodules.resolver = resolver = self.resolver(config)
        m.d.comb += [resolver.bdf.eq(request.bdf), resolver.type1.eq(request.type1),
                     resolver.settings.eq(self.settings)]
        m.submodules.provider = provider = Provider(config)
        wiring.connect(m, wiring.flipped(self.management), provider.port)
        m.d.comb += [provider.counters.eq(self.counters), provider.settings.eq(self.settings),
                     provider.link_up.eq(self.link_up)]

        # What a DW shows.
        old, new, shown, lanes = Signal(32), Signal(32), Signal(32), Signal(32)
        status   = Signal(3)
        rom_word = Signal(ConfigMap.ROM)
        high     = Signal()  # no image there
        m.d.comb += [lanes.eq(Cat(bit.replicate(8) for bit in request.byte_enable)),
                     high.eq(request.register[7:].any())]
        slot_value = Signal(32)
        with m.Switch(rom_r.data.slot):
            for slot in range(SLOTS - 1):
                with m.Case(slot):
                    m.d.comb += slot_value.eq(row_r.data[slot])
        set_bits, clear_bits = Signal(32), Signal(32)
        m.d.comb += [
            set_bits.eq(request.data & lanes & rom_word.writable),
            clear_bits.eq((lanes & rom_word.writable) | (request.data & lanes & rom_word.clear)),
            new.eq((old & ~clear_bits) | set_bits),
        ]
        is_pm, is_device, starts_flr = Signal(), Signal(), Signal()
        m.d.comb += [
            is_pm.eq(request.register == (spec.PM + 4) // 4),
            is_device.eq(request.register == _DEVICE_DW),
            starts_flr.eq(is_device & request.byte_enable[1] & request.data[_FLR]),
        ]
        m.d.comb += [shared.register.eq(request.register), shared.data.eq(request.data),
                     shared.mask.eq(lanes), shared.family.eq(function[0])]

        is_window = Signal()  # virtio's `pci_cfg_data`
        m.d.comb += is_window.eq((request.register == VIRTIO_PCI_DATA // 4) & ~family)
        window_ok = window_of(m, row_r.data, request, self.accesses.p)
        reply     = window_data(m, row_r.data, self.access_replies.p.data)
        state     = state_of(m, row_r.data, kind)
        alive     = Signal()
        m.d.comb += [self.accesses.p.function_id.eq(function),
                     alive.eq(~state.closed & ~state.absent)]

        fresh = fresh_row(m, images, row_r.data, kind, sticky)
        rules   = Signal.like(shared.rules[0])
        m.d.sync += rules.eq(shared.rules[family])
        verdict = judge_error(m, error, rules)

        def send_completion(with_data):
            return [
                self.completions.valid.eq(1),
                self.completions.p.transaction.eq(request.transaction),
                self.completions.p.completer_id.eq(request.bdf),
                self.completions.p.status.eq(status),
                self.completions.p.length_dw.eq(with_data),
                self.completions.p.byte_count.eq(4),
                self.completions.p.lower_address.eq(0),
                self.completions.p.data.eq(shown),
            ]

        def close(m):
            """Close the function of this visit and its registers."""
            m.d.comb += [row_w.data[Slot.FLAGS].eq(flags | 1 << FLAG_CLOSED),
                         row_w.en[Slot.FLAGS].eq(1)]
            with m.If(~kind[1]):
                m.d.comb += shared.reset.eq(1 << function[0])

        # The link's end is a reset of all, said to the lifecycle when there is time for it.
        link_r    = Signal()
        went_down = Signal()
        m.d.sync += link_r.eq(self.link_up)
        m.d.comb += shared.cold.eq(link_r & ~self.link_up)
        with m.If(shared.vfs_ended.any()):
            # Only one is written at a time.
            m.d.comb += [self.resets.valid.eq(1), self.resets.p.scope.eq(RESET_VFS),
                         self.resets.p.function_id.eq(shared.vfs_ended[1])]

        owed, turn = Signal(), Signal()  # a write's completion; the last visit was an error's
        with m.FSM():
            with m.State("POWER-UP"):
                m.d.comb += [
                    row_w.data.eq(fresh),
                    row_w.en.eq(-1),
                    self.rows.valid.eq(1),
                    self.rows.p.function_id.eq(function),
                    self.rows.p.alive.eq(1),
                    self.rows.p.memory.eq(kind[1]),
                ]
                m.d.sync += function.eq(function + 1)
                with m.If(function == config.functions - 1):
                    m.next = "IDLE"

            with m.State("IDLE"):
                m.d.sync += [error.eq(self.errors.payload), request.eq(self.requests.payload)]
                with m.If(went_down):
                    m.d.comb += [self.resets.valid.eq(1), self.resets.p.scope.eq(RESET_ALL)]
                    m.d.sync += went_down.eq(0)
                with m.Elif(self.closings.valid):
                    m.d.sync += function.eq(self.closings.payload)
                    m.next = "READ-CLOSE"
                with m.Elif(self.openings.valid):
                    m.d.sync += [function.eq(self.openings.p.function_id),
                                 sticky.eq(self.openings.p.sticky)]
                    m.next = "READ-OPEN"
                with m.Elif(self.errors.valid & ~(turn & self.requests.valid)):
                    m.d.comb += self.errors.ready.eq(1)
                    m.d.sync += [function.eq(self.errors.p.function_id), turn.eq(1)]
                    m.next = "READ-ERROR"
                with m.Elif(provider.visit):
                    m.d.sync += function.eq(provider.function)
                    m.next = "READ-PROVIDER"
                with m.Elif(self.requests.valid):
                    m.d.comb += self.requests.ready.eq(1)
                    m.d.sync += turn.eq(0)
                    m.next = "RESOLVE"

            for name in ("CLOSE", "OPEN", "ERROR", "PROVIDER"):
                with m.State(f"READ-{name}"):
                    m.next = name if name != "ERROR" else "JUDGE"
            with m.State("JUDGE"):
                m.next = "ERROR"
            with m.State("CLOSE"):
                close(m)
                m.next = "TELL-CLOSED"
            with m.State("TELL-CLOSED"):
                m.d.comb += [self.rows.valid.eq(1), self.rows.p.function_id.eq(function),
                             self.closings.ready.eq(1)]
                m.next = "IDLE"
            with m.State("OPEN"):
                m.d.comb += [row_w.data.eq(fresh), row_w.en.eq(-1), self.openings.ready.eq(1)]
                m.next = "REREAD"

            with m.State("ERROR"):
                log_error(m, row_r.data, row_w, error, verdict, self.messages,
                          silent=closed | absent)
                m.next = "IDLE"

            with m.State("PROVIDER"):
                m.d.comb += [provider.done.eq(1), provider.state.eq(state)]
                with m.If(provider.control_write):
                    m.d.comb += [
                        row_w.data[Slot.FLAGS].eq(
                            Cat(flags[FLAG_CLOSED] | provider.ends, ~provider.control.present)),
                        row_w.en[Slot.FLAGS].eq(1),
                    ]
                    with m.If(provider.ends & ~flags[FLAG_CLOSED]):
                        m.d.comb += [
                            self.resets.valid.eq(1),
                            self.resets.p.function_id.eq(function),
                            self.resets.p.scope.eq(RESET_FUNCTION),
                        ]
                m.next = "REREAD"

            with m.State("RESOLVE"):
                # [pcie-5.0: 2.2.6.2] the bus number is captured from each Type 0 write.
                m.d.comb += [shared.bus.eq(request.bdf[8:]),
                             shared.bus_write.eq(request.write & ~request.type1)]
                m.d.sync += [function.eq(resolver.function_id), exists.eq(resolver.exists)]
                m.next = "READ"
            with m.State("READ"):
                m.next = "SELECT"
            with m.State("SELECT"):
                pending_bit = Signal(32)
                m.d.comb += pending_bit.eq(Mux(is_device & self.pending, 1 << 21, 0))
                m.d.sync += [
                    rom_word.eq(rom_r.data),
                    old.eq(Mux(rom_r.data.in_row, slot_value, 0)),
                    shown.eq(Mux(high, 0, rom_r.data.constant
                                 | Mux(rom_r.data.in_row, slot_value, 0)
                                 | Mux(rom_r.data.in_pf, shared.value, 0) | pending_bit)),
                    status.eq(words.SC),
                ]
                m.next = "WRITE"
                with m.If(is_window & ~high & window_ok & ~closed):
                    m.next = "ACCESS"
                with m.If(~exists | absent | (request.write & request.poisoned)):
                    m.d.sync += status.eq(words.UR)
                    m.next = "REFUSE"
                with m.Elif(closed):
                    m.d.sync += status.eq(words.CRS)
                    m.next = "REFUSE"
            with m.State("REFUSE"):
                m.d.comb += send_completion(0)
                with m.If(self.completions.ready):
                    m.next = "IDLE"

            with m.State("ACCESS"):
                m.d.comb += self.accesses.valid.eq(1)
                with m.If(self.accesses.ready):
                    m.next = "ACCESS-END"
            with m.State("ACCESS-END"):
                with m.If(self.access_replies.valid):
                    m.d.sync += shown.eq(reply)
                    m.next = "COMPLETE"

            with m.State("WRITE"):
                m.next = "COMPLETE"
                # The gates learn of it first, so that nothing begins after the completion.
                with m.If(request.write):
                    m.d.sync += owed.eq(1)
                    m.next = "REREAD"
                with m.If(request.write & ~high):
                    with m.If(rom_word.in_row):
                        with m.Switch(rom_word.slot):
                            for slot in range(SLOTS - 1):
                                with m.Case(slot):
                                    m.d.comb += row_w.en[slot].eq(1)
                        for slot in range(SLOTS - 1):
                            m.d.comb += row_w.data[slot].eq(new)
                        # [pcie-5.0: 7.5.2.2] an unsupported power state is discarded.
                        with m.If(is_pm & (new[0] != new[1])):
                            m.d.comb += row_w.en.eq(0)
                        with m.If(starts_flr):
                            close(m)
                            m.d.comb += [
                                self.resets.valid.eq(1),
                                self.resets.p.function_id.eq(function),
                                self.resets.p.scope.eq(Mux(kind[1], RESET_FUNCTION,
                                                           RESET_FAMILY)),
                            ]
                    with m.If(rom_word.in_pf):
                        m.d.comb += shared.write.eq(1 << function[0])
            with m.State("COMPLETE"):
                m.d.comb += send_completion(~request.write)
                with m.If(self.completions.ready):
                    m.next = "IDLE"

            with m.State("REREAD"):
                m.next = "TELL"
            with m.State("TELL"):
                m.d.comb += [
                    self.rows.valid.eq(1),
                    self.rows.p.function_id.eq(function),
                    self.rows.p.alive.eq(alive),
                    self.rows.p.bus_master.eq(state.bus_master & alive),
                    self.rows.p.memory.eq(state.memory & alive),
                    self.rows.p.msix_enable.eq(state.msix_enable),
                    self.rows.p.msix_mask.eq(state.msix_mask),
                ]
                m.d.comb += [
                    shared.told.eq(Mux(kind[1], 0, 1 << function[0])),
                    shared.told_memory.eq(state.memory & alive),
                    shared.told_device.eq(row_r.data[Slot.DEVICE]),
                    shared.told_device_2.eq(row_r.data[Slot.DEVICE_2]),
                    *(shared.told_rules[name].eq(row_r.data[Slot[name.upper()]])
                      for name in shared.told_rules.shape().members),
                ]
                m.next = "IDLE"
                with m.If(owed):
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                # Writes that were accepted before are counted: the completion goes behind them.
                m.d.sync += owed.eq(0)
                with m.If(~self.passing):
                    m.next = "COMPLETE"

        with m.If(link_r & ~self.link_up):
            m.d.sync += went_down.eq(1)

        return m
