"""A card for the control plane without RTL: its registers in Python, its switch the oracle's.

It answers at once and its clock moves only when somebody waits, so ``asyncio.run`` is enough.
"""

from offloadcard.config import MODEL
from offloadcard.control.ports import CardPort, ManagementError
from offloadcard.gft import spec as gft
from offloadcard.nvme_emul import spec as nvme
from offloadcard.pcie import spec_config as pcie
from offloadcard.rtl import spec_card
from offloadcard.rtl.octets import pack, unpack
from offloadcard.virtio_net_emul import spec as virtio
from sim.models.switch import Switch

__all__ = ["ModelCard"]

RING = 8  # places for commands

MAPS = {spec_card.HOUSE_CARD: spec_card.MANAGEMENT, spec_card.HOUSE_PCIE: pcie.MANAGEMENT,
        spec_card.HOUSE_VIRTIO_NET: virtio.MANAGEMENT, spec_card.HOUSE_NVME: nvme.MANAGEMENT,
        spec_card.HOUSE_GFT: gft.MANAGEMENT}


class ModelCard(CardPort):
    """``broken`` names registers whose write is answered with an error. The engine needs
    ``engine_ns`` for a command, whose effect and completion come then; ``most`` counts how many
    were under way."""

    def __init__(self, config=MODEL, *, rows=None):
        self.switch   = Switch(rows=rows or config.gft_flows)
        self.config   = config
        self.time_ns  = 0
        self.broken   = set()
        self.writes   = []
        self.functions, self.volumes, self.meters, self.resets = {}, {}, {}, []
        self.injected = []
        self.epoch    = 0
        self.seen     = {}
        self._counted = {}
        self.when_idle = lambda: None
        self.engine_ns = 0
        self.most     = 0
        self._commands    = []  # (due, command, key, entry)
        self._completions = []
        self._values  = {(house, r.name): r.reset for house, m in MAPS.items() for r in m}
        for name, value in spec_card.identity(config).items():
            self._values[spec_card.HOUSE_CARD, name] = value
        self._values[spec_card.HOUSE_GFT, "FLOWS"] = len(self.switch.rows)
        self._values[spec_card.HOUSE_GFT, "ORDER_BUDGET"] = config.gft_order_budget

    # --- the port -------------------------------------------------------------------------------

    def now_ns(self):
        return self.time_ns

    async def sleep(self, ns):
        self.time_ns += ns

    async def receive(self, timeout_ns=None):
        self._execute()
        if self.switch.exceptions:
            return self.switch.exceptions.pop(0)
        self.when_idle()
        self.time_ns += timeout_ns or 0
        return None

    async def inject(self, octets):
        self._execute()
        self.injected.append((self.time_ns, octets))
        self.switch.inject(octets)

    def _registers(self, address, access):
        house = address >> spec_card.HOUSE_SHIFT
        offset = address & (1 << spec_card.HOUSE_SHIFT) - 1
        found = [r for r in MAPS.get(house, ()) if r.offset & ~7 == offset]
        if not any(r.access in access for r in found):
            raise ManagementError(address, "wo" in access)
        return house, found

    async def read(self, address):
        self.time_ns += 40
        self._execute()
        house, found = self._registers(address, ("ro", "rw"))
        return sum(self._read(house, r.name) << r.offset % 8 * 8 for r in found)

    async def write(self, address, data):
        self.time_ns += 40
        house, found = self._registers(address, ("rw", "wo"))
        for register in found:
            if register.name in self.broken:
                raise ManagementError(address, True)
            value = data >> register.offset % 8 * 8 & (1 << register.width) - 1
            self.writes.append((register.name, value))
            self._values[house, register.name] = value
            effect = getattr(self, f"_write_{house}_{register.name.lower()}", None)
            if effect:
                effect(value)

    def _get(self, house, name):
        return self._values[house, name]

    def _wide(self, prefix, count):
        return b"".join(self._get(4, f"{prefix}{n}").to_bytes(8, "little") for n in range(count))

    def _read(self, house, name):
        if house == 4 and name == "COMPLETION":
            return self._completions[0] if self._completions else 0
        if house == 4 and name == "STATUS":
            return (1 | RING - len(self._commands) << 8 | len(self._completions) << 16
                    | min(len(self.switch.events), 255) << 24)
        if house == 4 and name == "EVENT":
            events = self.switch.events
            return gft.Event.const({"valid": 1, **events[0]}).as_bits() if events else 0
        if house == 4 and name == "FLOW_PACKETS":
            return self.switch.packets[self._get(4, "FLOW")]
        return self._get(house, name)

    # --- effects, by house and register ---------------------------------------------------------

    def _write_4_command(self, value):
        self._execute()
        assert len(self._commands) < RING, "a command is lost where there is no room"
        begins = max([self.time_ns, *(due for due, *_ in self._commands)])
        self._commands.append((begins + self.engine_ns, gft.Command.from_bits(value),
                               self._wide("KEY", 6), self._wide("ENTRY", 8)))
        self.most = max(self.most, len(self._commands))
        self._execute()

    def _execute(self):
        while self._commands and self._commands[0][0] <= self.time_ns \
                and len(self._completions) < RING:
            self._command(*self._commands.pop(0)[1:])

    def _command(self, command, key, entry):
        handle = command.handle
        match command.opcode:
            case gft.Opcode.INSERT:
                status, handle = self.switch.insert(handle, key, entry)
                if status == gft.Status.OK:
                    self.seen[handle] = self.epoch
            case gft.Opcode.UPDATE:
                status = self.switch.update(handle, entry)
            case gft.Opcode.DELETE:
                status = self.switch.delete(handle)
            case gft.Opcode.SCAN | gft.Opcode.EXPIRE:
                self._stamp()
                idle = [n for n in range(handle, len(self.switch.rows)) if self.switch.rows[n]
                        and self.seen.get(n, 0) - command.epoch & 0x8000]
                status = gft.Status.OK if idle else gft.Status.NOT_FOUND
                handle = idle[0] if idle else 0
                if idle and command.opcode == gft.Opcode.EXPIRE:
                    self.switch.delete(handle)
            case _:
                status = gft.Status.BAD_OPCODE
        self._completions.append(gft.Completion.const(
            {"valid": 1, "status": status, "tag": command.tag, "handle": handle}).as_bits())

    def _stamp(self):
        """Rows that were met since the last time were met in this epoch."""
        for row, count in enumerate(self.switch.packets):
            if self._counted.get(row, 0) != count:
                self._counted[row], self.seen[row] = count, self.epoch

    def _write_4_epoch(self, value):
        self._stamp()
        self.epoch = value

    def _write_4_completion_pop(self, _):
        del self._completions[:1]  # none there: nothing happens

    def _write_4_event_pop(self, _):
        self.switch.events.pop(0)

    def _write_4_generation(self, value):
        row = gft.GenerationWrite.from_bits(value)
        self.switch.generations[row.function_id, row.layer_set] = row.current, row.hard

    def _write_4_template(self, row):
        self.switch.templates[row] = unpack(gft.Template, self._wide("TEMPLATE", 4))

    def _write_4_meter(self, row):
        self.meters[row] = (gft.MeterRate.from_bits(self._get(4, "METER_OCTETS")),
                            gft.MeterRate.from_bits(self._get(4, "METER_PACKETS")))

    def _write_2_command(self, _):
        self.functions[self._get(2, "FUNCTION")] = {
            name: self._get(2, name) for name in ("MAC", "MTU", "LINK", "FEATURES")}

    def _write_3_volume_store(self, _):
        index = nvme.VolumeIndex.from_bits(self._get(3, "VOLUME_INDEX"))
        flags = nvme.VolumeFlags.from_bits(self._get(3, "VOLUME_FLAGS"))
        self.volumes[index.function_id, index.nsid] = (
            self._get(3, "VOLUME_BASE"), self._get(3, "VOLUME_BLOCKS"), flags.valid)

    def _write_1_function_control(self, value):
        self.resets.append((self._get(1, "FUNCTION"), value))

    # --- what tests need -------------------------------------------------------------------------

    async def settle(self, slowpath):
        """Serve exceptions until none waits."""
        def idle():
            if not slowpath.waiting:
                slowpath.stop()
        self.when_idle = idle
        slowpath.resume()
        await slowpath.run()
        self.when_idle = lambda: None


def descriptor_of(packet):
    """Descriptor of an injected packet, and its frame."""
    head = unpack(gft.InjectDescriptor, packet[:64])
    return head, packet[64:64 + head.length]


def pack_exception(**fields):
    """An exception by hand."""
    frame = fields.pop("frame")
    return pack(gft.ExceptionDescriptor, {"length": len(frame), **fields}) + frame
