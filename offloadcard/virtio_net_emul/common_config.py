"""The registers of every function: common configuration, device status, device configuration."""

# Ref: virtio-1.2, 2.1 (Device Status Field), 4.1.4.3 (Common Configuration Structure Layout),
#      5.1.4 (Device Configuration Layout)

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Queue
from ..rtl.ports import MmioPort
from .profile import CONTROL, RECEIVE, TRANSMIT, WAYS, choices, life_event, profile_row
from .register_reads import answer_reads
from .register_writes import take_writes
from .spec import NOTIFY_CFG_OFFSET, VIRTIO_MSI_NO_VECTOR
from .table import Table

__all__ = ["CommonConfig"]


class CommonConfig(wiring.Component):
    """Answer the guests' registers; own each function's status and each queue's set-up.

    Writes take one cycle each and are never stalled; each register's bytes are written as enabled,
    but sizes, vectors, enables and status, which are taken whole or not at all. Events from inside
    the card take a cycle in which no guest writes.

    Timing
    ------
    A write is done 1 cycle after it came; a read is answered after 5.

    Parameters
    ----------
    geometry : Geometry
        Sizes.

    Members
    -------
    mmio : ``In(MmioPort(...))``
        The guests.
    doorbells : ``Out(...).array(WAYS)``
        Queues that were notified: receive, transmit, control.
    starts : ``Out(stream).array(WAYS)``
        Queues to look at since their function came to DRIVER_OK.
    resets : ``Out(stream, always_ready)``
        Functions whose driver wrote 0 to the status.
    queue_resets : ``Out(stream, always_ready)``
        Queues whose driver wrote 1 to queue_reset.
    reset_queue : ``In``; reset_now : ``Out(1)``
        Address, and 1 cycle later whether that queue is being reset.
    events : ``In(stream(life_event))``
        From inside the card.
    interrupts : ``Out(stream)``
        Configuration interrupts.
    isr_function, isr_read, isr : interface to the ISR status
        ``isr_read`` for one cycle, ``isr`` 2 cycles later.
    queues, setups : addresses and rows of all ways
        What the driver set up, 1 cycle later.
    functions, alive : addresses and rows
        Whether a function may go on.
    receivers, receives : addresses and rows
        Whether a receive queue, and its function, may go on.
    choosers, chosen : addresses and rows
        What a function's driver chose.
    lives, status
        Status, resetting, stopping of the first reader's function; status of the fifth's.
    failed, failed_row : ``Out``
        A function came to NEEDS_RESET.
    profile_functions, profiles : addresses and rows
        What the provider gave a function.
    config_generation : ``In(8)``
        That of the function of the second profile.
    """

    def __init__(self, geometry):
        self.geometry = g = geometry
        self.interrupt = data.StructLayout({"function_id": g.id_width, "vector": 16})
        self.life = data.StructLayout({"status": 8, "resetting": 1, "stopping": 1})
        queue = unsigned(g.queue_bits)
        one   = data.StructLayout({"queue": g.queue_bits, "way": range(WAYS)})
        super().__init__({
            "mmio":       In(MmioPort(function_id_width=g.id_width)),
            "doorbells":  Out(stream.Signature(queue, always_ready=True)).array(WAYS),
            "starts":     Out(stream.Signature(queue)).array(WAYS),
            "resets":     Out(stream.Signature(range(g.functions), always_ready=True)),
            "queue_resets": Out(stream.Signature(one, always_ready=True)),
            "reset_queue": In(one),
            "reset_now":  Out(1),
            "events":     In(stream.Signature(life_event(g))),
            "interrupts": Out(stream.Signature(self.interrupt)),
            "isr_function": Out(g.row_bits),
            "isr_read":   Out(1),
            "isr":        In(8),
            "queues":     In(queue).array(WAYS),
            "setups":     Out(g.setup).array(WAYS),
            "functions":  In(g.row_bits).array(5),
            "alive":      Out(1).array(5),
            "receivers":  In(queue).array(2),
            "receives":   Out(1).array(2),
            "choosers":   In(g.row_bits).array(2),
            "chosen":     Out(choices).array(2),
            "lives":      Out(self.life),
            "status":     Out(8),
            "failed":     Out(1),
            "failed_row": Out(g.row_bits),
            "profile_functions": Out(g.row_bits).array(2),
            "profiles":   In(profile_row).array(2),
            "config_generation": In(8),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        depth = 1 << g.row_bits
        self.tables = tables = {}
        for name, width in (("device_feature_select", 32), ("driver_feature_select", 32),
                            ("driver_feature", 64), ("config_msix_vector", 16),
                            ("queue_select", 16)):
            tables[name] = Table(width, depth=depth, readers=2, granularity=8)
        tables["life"]    = Table(self.life, depth=depth, readers=4)
        tables["alive"]   = Table(1, depth=depth, readers=len(self.alive) + 2)
        tables["choices"] = Table(choices, depth=depth, readers=3 + WAYS + len(self.chosen))
        for way in range(WAYS):
            rows = depth if way == CONTROL else g.queues
            for name in ("desc", "driver", "device"):
                tables[f"{name}_{way}"] = Table(64, depth=rows, readers=2, granularity=8)
            for name, width, readers in (("size", 16, 2), ("vector", 16, 2), ("reset", 1, 2),
                                         ("enable", 1, 4 if way == RECEIVE else 2)):
                tables[f"{name}_{way}"] = Table(width, depth=rows, readers=readers)
        for name, table in tables.items():
            m.submodules[name] = table
        # Cycles in which an event may tell the driver something.
        self.tells = m.submodules.tells = tells = Queue(self.interrupt, depth=8)
        self.tells_room = Signal()
        m.d.comb += self.tells_room.eq(tells.level < 6)
        self._answer_inside(m)
        self._notify(m)
        take_writes(m, self)
        answer_reads(m, self)
        return m

    def _answer_inside(self, m):
        """Rows that other blocks ask for."""
        g, tables = self.geometry, self.tables

        def read(name, reader, address):
            m.d.comb += tables[name].addresses[reader].eq(address)
            return tables[name].rows[reader]

        for number, address in enumerate(self.functions):
            m.d.comb += self.alive[number].eq(read("alive", number, address))
        m.d.comb += [self.lives.eq(read("life", 2, self.functions[0])),
                     self.status.eq(read("life", 3, self.functions[4]).status)]
        for number, queue in enumerate(self.receivers):
            m.d.comb += self.receives[number].eq(
                read("alive", len(self.alive) + number, g.function_of(queue))
                & read(f"enable_{RECEIVE}", 2 + number, queue))
        for number, row in enumerate(self.choosers):
            m.d.comb += self.chosen[number].eq(read("choices", 3 + WAYS + number, row))
        asked = Signal(range(WAYS))
        m.d.sync += asked.eq(self.reset_queue.way)
        resets = []
        for way in range(WAYS):
            queue, setup = self.queues[way], self.setups[way]
            row = queue if way != CONTROL else g.function_of(queue)
            for name, base in (("desc", 0), ("driver", 0), ("device", 0), ("enable", 0),
                               ("size", g.size_max), ("vector", VIRTIO_MSI_NO_VECTOR)):
                m.d.comb += setup[name].eq(read(f"{name}_{way}", 0, row) ^ base)
            chosen = read("choices", 3 + way, g.function_of(queue))
            for name in g.ring_features.members:
                m.d.comb += setup.features[name].eq(chosen[name])
            ended = self.reset_queue.queue
            resets.append(read(f"reset_{way}", 0,
                               ended if way != CONTROL else g.function_of(ended)))
        m.d.comb += self.reset_now.eq(
            Mux(asked == CONTROL, resets[CONTROL], Mux(asked[0], resets[1], resets[0])))

    def _notify(self, m):
        """[virtio-1.2: 4.1.4.4] the address alone tells the queue."""
        g = self.geometry
        request = self.mmio.requests.p
        here = Signal()
        pair = request.offset[3:12]
        row  = g.row_of(request.function_id)
        m.d.comb += here.eq(self.mmio.requests.valid & request.write
                            & (request.offset[12:] == NOTIFY_CFG_OFFSET >> 12)
                            & (request.function_id < g.functions))
        for way in (RECEIVE, TRANSMIT):
            m.d.sync += [
                self.doorbells[way].valid.eq(here & request.byte_enable[4 * way]
                                             & (pair < g.pairs)),
                self.doorbells[way].payload.eq(Cat(pair[:g.pair_bits], row))]
        # The control queue's place depends on what was chosen: see `queue_of`.
        behind_all, behind_one, row_r = Signal(), Signal(), Signal(g.row_bits)
        table = self.tables["choices"]
        m.d.comb += table.addresses[2].eq(row)
        m.d.sync += [
            behind_all.eq(here & request.byte_enable[0] & (pair == g.pairs)),
            behind_one.eq(here & request.byte_enable[0] & (pair == 1)), row_r.eq(row)]
        chosen = table.rows[2]
        control = self.doorbells[CONTROL]
        m.d.sync += [
            control.valid.eq(chosen.ctrl_vq & Mux(chosen.mq, behind_all, behind_one)),
            control.payload.eq(Cat(Const(0, g.pair_bits), row_r))]
