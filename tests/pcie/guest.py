"""A guest's side of the front for unit tests: TLPs in, completions and accesses out."""

from amaranth.sim import Simulator

from offloadcard.pcie.spec import (
    Completion,
    ConfigRequest,
    Fmt,
    MemoryRequest,
    MemoryRequest3Dw,
    Type,
)

__all__ = ["Guest", "simulate"]


def simulate(dut, *processes, background=()):
    """Run ``processes`` to their ends beside the ``background`` ones."""
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for process in processes:
        simulator.add_testbench(process)
    for process in background:
        simulator.add_testbench(process, background=True)
    simulator.run()


def header_words(shape, fields):
    """The four DWs of a header."""
    raw = shape.const(fields).as_bits()
    return [raw >> 32 * n & 0xFFFF_FFFF for n in range(4)]


def split_access(address, length):
    """DWs, first_be and last_be of ``length`` octets at ``address``."""
    first = address & 3
    words = (first + length + 3) // 4
    lanes = ((1 << length) - 1) << first
    if words == 1:
        return words, lanes & 15, 0
    return words, lanes & 15, (lanes >> 4 * (words - 1)) & 15


class Guest:
    """Requests over the TLP streams of a ``Front`` or a ``Target``; each is one ``await``.

    ``completions`` is filled by :meth:`collect`, which runs in the background: dictionaries with
    ``tag``, ``status``, ``data`` (of the DWs that came, little-endian) and the other fields.
    """

    def __init__(self, dut, *, data_width):
        self.dut = dut
        self.lanes = data_width // 8
        self.tag = 0
        self.completions = {}
        self.spurious = []
        self.open = set()

    def next_tag(self):
        """A tag that no open request bears."""
        self.tag = (self.tag + 1) % 256
        assert self.tag not in self.open
        return self.tag

    async def send(self, ctx, shape, fields, payload=b"", *, error=0):
        """One TLP, in as many beats as it takes."""
        words = header_words(shape, fields)
        stream = self.dut.requests
        beats = [payload[n:n + self.lanes] for n in range(0, len(payload), self.lanes)] or [b""]
        for number, octets in enumerate(beats):
            last = number == len(beats) - 1
            ctx.set(stream.p.header, words)
            ctx.set(stream.p.data, list(octets.ljust(self.lanes, b"\0")))
            ctx.set(stream.p.first, number == 0)
            ctx.set(stream.p.last, last)
            ctx.set(stream.p.error, error and last)
            ctx.set(stream.valid, 1)
            await ctx.tick()
        ctx.set(stream.valid, 0)

    async def write(self, ctx, address, octets, **fields):
        """A posted memory write."""
        words, first_be, last_be = split_access(address, len(octets))
        payload = bytes(address & 3) + octets
        payload = payload.ljust(4 * words, b"\0")
        await self.send(ctx, *self._memory(address, True, length=words, first_be=first_be,
                                           last_be=last_be, **fields), payload)

    def _memory(self, address, write, **fields):
        if address >> 32:
            return MemoryRequest, {
                "fmt": Fmt.FOUR_DW_DATA if write else Fmt.FOUR_DW, "type": Type.MEMORY,
                "address_high": address >> 32, "address_low": (address & 0xFFFF_FFFF) >> 2,
                **fields}
        return MemoryRequest3Dw, {
            "fmt": Fmt.THREE_DW_DATA if write else Fmt.THREE_DW, "type": Type.MEMORY,
            "address_low": address >> 2, **fields}

    async def ask(self, ctx, shape, fields, payload=b""):
        """Send a non-posted request and wait for its completion."""
        tag = self.next_tag()
        self.open.add(tag)
        await self.send(ctx, shape, {"tag": tag, "requester_id": 0x0018, **fields}, payload)
        for _ in range(3000):
            if tag in self.completions:
                self.open.discard(tag)
                return self.completions.pop(tag)
            await ctx.tick()
        raise AssertionError(f"no completion came for tag {tag} of {fields}")

    async def read(self, ctx, address, length, **fields):
        """A memory read; its completion."""
        words, first_be, last_be = split_access(address, length) if length else (1, 0, 0)
        return await self.ask(ctx, *self._memory(
            address, False, **{"length": words, "first_be": first_be, "last_be": last_be,
                               **fields}))

    async def read_octets(self, ctx, address, length):
        """The octets of a successful memory read."""
        answer = await self.read(ctx, address, length)
        assert answer["status"] == 0, answer
        return answer["data"][address & 3:][:length]

    async def config(self, ctx, bdf, offset, value=None, *, size=4, type1=False, **fields):
        """A configuration request, a write if ``value`` is given; its completion."""
        lanes = ((1 << size) - 1) << (offset & 3)
        write = value is not None
        payload = (value << 8 * (offset & 3)).to_bytes(4, "little") if write else b""
        return await self.ask(ctx, ConfigRequest, {
            "fmt": Fmt.THREE_DW_DATA if write else Fmt.THREE_DW,
            "type": Type.CONFIG_1 if type1 else Type.CONFIG_0, "length": 1, "first_be": lanes,
            "register": offset >> 2, "completer_id": bdf, **fields}, payload)

    async def config_read(self, ctx, bdf, offset, size=4, **fields):
        """Value of a configuration register; its completion must be successful."""
        answer = await self.config(ctx, bdf, offset, size=size, **fields)
        assert answer["status"] == 0, answer
        return int.from_bytes(answer["data"], "little") >> 8 * (offset & 3) & (1 << 8 * size) - 1

    async def config_write(self, ctx, bdf, offset, value, size=4, **fields):
        """Write a configuration register; its completion must be successful."""
        answer = await self.config(ctx, bdf, offset, value, size=size, **fields)
        assert answer["status"] == 0, answer

    async def config_writes(self, ctx, writes):
        """Configuration writes ``(bdf, offset, value, size)`` sent without waiting in between."""
        tags = []
        for bdf, offset, value, size in writes:
            while len(self.open) >= 30:
                await ctx.tick()
                self.open -= set(self.completions)
            tag = self.next_tag()
            tags.append(tag)
            self.open.add(tag)
            await self.send(ctx, ConfigRequest, {
                "fmt": Fmt.THREE_DW_DATA, "type": Type.CONFIG_0, "length": 1, "tag": tag,
                "first_be": ((1 << size) - 1) << (offset & 3), "register": offset >> 2,
                "completer_id": bdf}, (value << 8 * (offset & 3)).to_bytes(4, "little"))
        while not self.completions.keys() >= set(tags):
            await ctx.tick()
        for tag in tags:
            assert self.completions.pop(tag)["status"] == 0
            self.open.discard(tag)

    async def collect(self, ctx):
        """Take completions for ever."""
        stream = self.dut.completions
        ctx.set(stream.ready, 1)
        while True:
            *_, valid, payload = await ctx.tick().sample(stream.valid, stream.payload)
            if valid:
                raw = sum(word << 32 * n for n, word in enumerate(payload.header))
                fields = Completion.from_bits(raw)
                octets = bytes(payload.data)[:4 * fields.length]
                answer = {name: getattr(fields, name) for name in (
                    "status", "byte_count", "lower_address", "completer_id", "requester_id",
                    "tag", "type", "fmt", "length", "tc", "attr")}
                assert payload.first and payload.last
                if fields.tag in self.completions:
                    self.spurious.append(answer)
                self.completions[fields.tag] = {**answer, "data": octets}
