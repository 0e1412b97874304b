"""Act 4: a file system goes to the drive by one driver and comes back by another."""

import hashlib
from pathlib import Path

from sim.host.nvme_driver import NvmeDriver

from ..image import check_image, hashes_inside, read_image


async def play(stage):
    act = stage.open("drive", "A file system, written by one driver, read by another")
    octets = read_image(stage.arguments["image"])
    writer, bus = stage.drive, stage.bus
    start = bus.now_ns()
    await _in_parts(stage, act, len(octets), 0.0, lambda at, size: writer.write(
        1, at // 512, octets[at:at + size], chunk=64 * 1024, depth=8))
    await writer.flush(1)
    act.fact("written", len(octets) / (bus.now_ns() - start), "GB/s, 64 KiB commands, 8 deep")
    act.equal("what lies in the card's DRAM is the image", _digest(stage.rig.volume(writer, 1)),
              _digest(octets))
    await writer.stop()
    # The guest reboots: its function is reset, another driver finds the drive.
    await writer.function.flr()
    await writer.function.enable()
    reader = NvmeDriver(writer.function, io_queues=2, entries=32, interrupts=False)
    await reader.start()
    act.equal("after the reset the drive is the same", reader.namespaces, writer.namespaces)
    back, start = {}, bus.now_ns()

    async def fetch(at, size):
        back[at] = await reader.read(1, at // 512, size, chunk=16 * 1024, queue=2, offset=2052)
    await _in_parts(stage, act, len(octets), 0.5, fetch)
    act.fact("read back", len(octets) / (bus.now_ns() - start),
             "GB/s, 16 KiB commands at page offset 2052")
    await reader.stop()
    octets_back = b"".join(back[at] for at in sorted(back))
    path = Path(stage.out) / "drive.ext4"
    path.write_bytes(octets_back)
    act.equal("SHA-256 of the image that came back", _digest(octets_back), _digest(octets))
    clean, said = check_image(path)
    act.check("e2fsck -fn finds the file system clean", clean, said)
    expected = stage.arguments["image_hashes"]
    if expected:
        act.equal("every file inside has its SHA-256", hashes_inside(path, stage.out / "files"),
                  expected)
    act.say(f"An ext4 image of {len(octets) >> 20} MiB made by mkfs.ext4 is written through the "
            "NVMe controller. Then the guest reboots (Function Level Reset); another driver, with "
            "other queues, polling, other command sizes and unaligned buffers, reads it back. "
            f"e2fsck says: {said}")


async def _in_parts(stage, act, length, begun, work):
    """Do ``work(at, size)`` over the image, telling how far it is."""
    part = 512 * 1024
    for at in range(0, length, part):
        await work(at, min(part, length - at))
        stage.tell(act.title, begun + (at + part) / length / 2)


def _digest(octets):
    return hashlib.sha256(octets).hexdigest()
