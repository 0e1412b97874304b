"""A file system made by strangers' tools, to send through a drive and have checked afterwards."""

import hashlib
import random
import shutil
import subprocess
from pathlib import Path

__all__ = ["InputError", "check_image", "hashes_inside", "make_image", "read_image"]

BLOCK = 4096
MAGIC_AT, MAGIC = 0x438, b"\x53\xEF"  # of ext2, ext3 and ext4
SBIN = "/usr/sbin:/sbin:/usr/local/sbin"


class InputError(ValueError):
    """A file that was given cannot be used; the message is one line for a person."""


def _tool(name):
    found = shutil.which(name) or shutil.which(name, path=SBIN)
    if found is None:
        raise InputError(f"{name} must be installed: apt install e2fsprogs")
    return found


def make_image(folder, *, size=4 << 20, seed=1):
    """An ext4 image with some files in ``folder``; its path, and SHA-256 of every file by name."""
    folder = Path(folder)
    root, path = folder / "files", folder / "source.ext4"
    shutil.rmtree(root, ignore_errors=True)
    (root / "letters").mkdir(parents=True)
    source = random.Random(seed)
    hashes = {}
    for name, length in (("letters/one.bin", 300_000), ("letters/two.bin", 70_001),
                         ("small.bin", 17), ("zeros.bin", 100_000)):
        octets = bytes(length) if name == "zeros.bin" else source.randbytes(length)
        (root / name).write_bytes(octets)
        hashes[name] = hashlib.sha256(octets).hexdigest()
    path.unlink(missing_ok=True)
    done = subprocess.run(
        [_tool("mkfs.ext4"), "-q", "-F", "-b", str(BLOCK), "-d", str(root), "-E",
         f"root_owner=0:0,hash_seed={'0' * 8}-0000-0000-0000-{seed:012d}", "-U",
         f"{'0' * 8}-0000-4000-8000-{seed:012d}", str(path), str(size // BLOCK)],
        capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"mkfs.ext4 must make the image, not fail: {done.stderr.strip()[-200:]}")
    return path, hashes


def read_image(path):
    """Octets of an ext4 image; InputError in one line where it cannot be one."""
    path = Path(path)
    try:
        octets = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: must be a readable image, not {error.strerror}") from error
    if len(octets) < 64 * 1024 or len(octets) % BLOCK:
        raise InputError(f"{path}: must be a whole number of {BLOCK}-octet blocks, "
                         f"not {len(octets)} octets")
    if octets[MAGIC_AT:MAGIC_AT + 2] != MAGIC:
        raise InputError(f"{path}: must hold an ext2, ext3 or ext4 file system")
    return octets


def check_image(path):
    """(clean, last line of e2fsck) for an image; nothing is repaired."""
    path = Path(path)
    done = subprocess.run([_tool("e2fsck"), "-f", "-n", path.name], cwd=path.parent,
                          capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    return done.returncode == 0, lines[-1] if lines else ""


def hashes_inside(path, folder):
    """SHA-256 by name of every file in an image, taken out by ``debugfs``."""
    folder = Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    subprocess.run([_tool("debugfs"), "-R", f"rdump / {folder}", str(path)],
                   capture_output=True, check=True)
    return {str(found.relative_to(folder)): hashlib.sha256(found.read_bytes()).hexdigest()
            for found in sorted(folder.rglob("*")) if found.is_file()}
