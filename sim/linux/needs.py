"""What a Linux guest needs of the machine: programs and files, and Debian's packages for them."""

import shutil
from pathlib import Path
from typing import NamedTuple

__all__ = ["Need", "KERNEL", "GUEST", "find", "missing"]

# Debian keeps tools of the administrator where only root's PATH looks.
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


class Need(NamedTuple):
    """A program, or a file if ``name`` begins with a slash, and the package that brings it."""
    name:    str
    package: str


KERNEL = (Need("gcc", "gcc"), Need("make", "make"), Need("flex", "flex"), Need("bison", "bison"),
          Need("bc", "bc"), Need("xz", "xz-utils"), Need("perl", "perl"),
          Need("setarch", "util-linux"))

GUEST = (Need("lspci", "pciutils"), Need("nvme", "nvme-cli"), Need("fio", "fio"),
         Need("iperf3", "iperf3"), Need("ethtool", "ethtool"), Need("mkfs.ext4", "e2fsprogs"),
         Need("ping", "iputils-ping"), Need("ip", "iproute2"), Need("insmod", "kmod"))


def find(name):
    """Where it stands, or ``None``."""
    if name.startswith("/"):
        return name if Path(name).exists() else None
    return shutil.which(name) or shutil.which(name, path=SBIN)


def missing(needs):
    """The packages that are not there, each once, in the order of ``needs``."""
    return list(dict.fromkeys(need.package for need in needs if find(need.name) is None))
