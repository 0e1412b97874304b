"""A drive with an operating system on it: boot loader, kernel, and the root that it runs from.

GRUB's first sector and its core, one partition, ext4 in it; all made without being root. The core
knows where its configuration lies, which names kernel and initial ramdisk on the same partition;
the ramdisk has the modules for drive and file system, mounts the partition, and hands over to it.
"""

# Ref: grub-2.06, docs/grub.texi (Images: boot.img, diskboot.img, core.img)

import hashlib
import os
import shutil
import struct
import subprocess
from pathlib import Path

from sim.linux import needs

from . import program
from .guest import MODULES, archive, closure, plant

__all__ = ["NEEDS", "answer", "make"]

_GRUB = Path("/usr/lib/grub/i386-pc")
NEEDS = (*program.GUEST, needs.Need(str(_GRUB / "boot.img"), "grub-pc-bin"),
         needs.Need("grub-mkimage", "grub-common"), needs.Need("mke2fs", "e2fsprogs"),
         needs.Need("debugfs", "e2fsprogs"))
_SECTOR, _FIRST = 512, 2048            # the partition's first sector
_OCTETS, _CODE = 48 << 20, 440         # of the drive; of the boot sector's program
_LOADER = ("biosdisk", "part_msdos", "ext2", "normal", "configfile", "linux", "serial",
           "terminal", "echo")
_BEFORE_ROOT = ("nvme", "ext4")        # modules; crc32c is ext4's, by a name that it asks for
_BY_NAME = ("crc32c_generic",)
_INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t devtmpfs devtmpfs /dev
while read -r module; do insmod "/lib/card/$module"; done < /lib/card/order
until [ -e /dev/nvme0n1p1 ]; do usleep 50000; done
mount -t ext4 /dev/nvme0n1p1 /root
umount /proc /dev
exec switch_root /root /init
"""
_PROOF = 1 << 20


def _call(*words, **options):
    done = subprocess.run([str(word) for word in words], capture_output=True, check=False,
                          **options)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["?"]
        raise program.QemuError(f"{Path(words[0]).name} failed: {said[-1]}")
    return done.stdout


def _copy_modules(tree, files):
    place = tree / "lib/card"
    place.mkdir(parents=True, exist_ok=True)
    for module in files:
        shutil.copy(module, place / module.name)
    (place / "order").write_text("".join(f"{module.name}\n" for module in files))


def _ramdisk(path, work, files):
    """What is there before the root is."""
    tree = work / "ramdisk"
    for name in ("bin", "proc", "dev", "root"):
        (tree / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", tree / "bin/busybox")
    _copy_modules(tree, files)
    (tree / "init").write_text(_INIT)
    (tree / "init").chmod(0o755)
    archive(tree, path)


def _loader(work):
    """Sectors from the drive's first on: the boot sector's program, and the core behind it."""
    early = work / "early.cfg"
    early.write_text("set prefix=(hd0,msdos1)/boot/grub\nset root=(hd0,msdos1)\n")
    core = work / "core.img"
    _call(needs.find("grub-mkimage"), "-d", _GRUB, "-O", "i386-pc", "-o", core, "-c", early,
          "-p", "(hd0,msdos1)/boot/grub", *_LOADER)
    boot = (_GRUB / "boot.img").read_bytes()
    # A table of one partition: active, Linux; places by head and cylinder are not used.
    entry = struct.pack("<B3sB3sII", 0x80, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", _FIRST,
                        _OCTETS // _SECTOR - _FIRST)
    first = boot[:_CODE] + b"card\0\0" + entry.ljust(64, b"\0") + b"\x55\xaa"
    octets = first + core.read_bytes()
    if len(first) != _SECTOR or len(octets) > _FIRST * _SECTOR:
        raise program.QemuError(f"GRUB's core must fit before sector {_FIRST}")
    return octets


def make(path, script, work, *, append):
    """Write the drive to ``path``.

    Parameters
    ----------
    path : Path
    script : Path
        What runs once the system is up.
    work : Path
        Folder for what lies between.
    append : str
        Words for the kernel.
    """
    packages = needs.missing(NEEDS)
    if packages:
        raise program.QemuError(f"a drive that boots needs packages that are missing; get them "
                                f"by: apt install {' '.join(packages)}")
    image, folder = program.kernel()
    work = Path(work) / f"{Path(path).name}.work"
    tree = work / "root"
    early = closure(folder, (*_BY_NAME, *_BEFORE_ROOT))
    plant(tree, script, [one for one in closure(folder, MODULES) if one not in early])
    (tree / "boot/grub").mkdir(parents=True)
    shutil.copy(image, tree / "boot/vmlinuz")
    _ramdisk(tree / "boot/ramdisk", work, early)
    (tree / "boot/grub/grub.cfg").write_text(
        "serial --unit=0 --speed=115200\nterminal_output serial\necho GRUB boots from the card\n"
        f"linux /boot/vmlinuz {append}\ninitrd /boot/ramdisk\nboot\n")
    (tree / "proof").write_bytes(os.urandom(_PROOF))
    part = work / "part"
    _call(needs.find("mke2fs"), "-q", "-t", "ext4", "-E", "root_owner=0:0", "-d", tree, part,
          f"{(_OCTETS - _FIRST * _SECTOR) >> 10}k")
    with open(path, "wb") as out:
        out.write(_loader(work))
        out.seek(_FIRST * _SECTOR)
        out.write(part.read_bytes())
    shutil.rmtree(work)


def answer(path):
    """``(what the system wrote to /answer, what it should have)``: the hash of /proof."""
    def read(name):
        return _call(needs.find("debugfs"), "-R", f"cat {name}",
                     f"{path}?offset={_FIRST * _SECTOR}")
    return (read("/answer").decode(errors="replace").strip(),
            hashlib.sha256(read("/proof")).hexdigest())
