"""The pace of the whole house at 512 bits."""

from dataclasses import replace

from offloadcard.config import MODEL
from offloadcard.nvme_emul.spec import Opcode

from .bench import Bench, Driver

WIDE = replace(MODEL, virtio_net_vfs=1, nvme_vfs=1, function_id_width=2, nvme_io_queues=2,
               nvme_queue_size=64)


def test_pace():
    """Cycles per command at 512 bits, the guest's memory 125 cycles away."""
    bench = Bench(WIDE, latency=125, store_latency=25)
    first, pace = {}, {}

    async def measure(ctx, driver, name, opcodes, octets, count):
        times = []
        for number in range(count):
            driver.put(1, opcodes[number % len(opcodes)], nsid=1, prp1=0x40000 + 4096 * number,
                       cdw10=number * octets // 512, cdw12=octets // 512 - 1)
        await driver.ring(ctx, 1)
        begin = bench.cycle
        while len(times) < count:
            if (cqe := driver.poll(1)) is None:
                await ctx.tick()
            else:
                assert cqe.status == 0
                times.append(bench.cycle - begin)
        await driver.acknowledge(ctx, 1)
        quarter = count // 4
        first[name] = times[0]
        pace[name] = (times[-1] - times[quarter]) / (count - 1 - quarter)

    async def test(ctx):
        await bench.volume(ctx, 1, 1, base=0, blocks=1000)
        driver = Driver(bench, 1)
        await driver.enable(ctx)
        await driver.create_queue(ctx, 1, sq_entries=64, cq_entries=64)
        await measure(ctx, driver, "read-4k", (Opcode.READ,), 4096, 8)
        await measure(ctx, driver, "write-4k", (Opcode.WRITE,), 4096, 8)
        await measure(ctx, driver, "mixed-4k", (Opcode.READ, Opcode.WRITE), 4096, 12)
        await measure(ctx, driver, "read-512", (Opcode.READ,), 512, 32)

    bench.run(test)
    # The first: its entry and, of a write, its data are read from the guest; the store's time;
    # the data's own beats; and at most 128 cycles of ours.
    assert first["read-4k"] <= 125 + 25 + 64 + 128
    assert first["write-4k"] <= 125 + 125 + 25 + 64 + 128
    assert pace["read-4k"] <= 65 and pace["write-4k"] <= 65
    assert pace["mixed-4k"] <= 40
    assert pace["read-512"] <= 10
