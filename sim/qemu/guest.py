"""What a guest of QEMU boots from: the distribution's kernel, and a file system of ours."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from sim.linux import needs

from .program import GUEST, QemuError, kernel

__all__ = ["MODULES", "archive", "closure", "initrd", "plant"]

_HERE = Path(__file__).resolve().parent
MODULES = ("virtio_pci", "virtio_net", "nvme")
_TOOLS = ("ethtool",)
_LIBRARY = re.compile(r"(/\S+)")


def _name(path):
    return path.name.split(".")[0].replace("-", "_")


def closure(folder, wanted=MODULES):
    """Files of modules, each behind those that it depends on; what is built in is left out.

    ``folder`` is ``/lib/modules/VERSION`` of a kernel; dependencies are read from the modules.
    """
    files = {_name(path): path for path in Path(folder).rglob("*.ko")}
    order = []

    def visit(name):
        path = files.get(name.replace("-", "_"))
        if path is None or path in order:
            return
        found = re.search(rb"\0depends=([^\0]*)\0", path.read_bytes())
        for other in (found.group(1).decode().split(",") if found else ()):
            visit(other)
        order.append(path)

    for name in wanted:
        visit(name)
    return order


def _copy_program(tree, name):
    """A program of the host with the libraries that it is linked to."""
    path = needs.find(name)
    listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
    for one in (path, *(Path(found) for found in _LIBRARY.findall(listed))):
        place = tree / str(one).lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(one, place)
    target = tree / "bin" / name
    if not target.exists():
        target.symlink_to(path)


def initrd(script, path, work, *, modules=MODULES):
    """Write a cpio archive with busybox, ``modules``, our words and ``script`` to ``path``."""
    packages = needs.missing(GUEST)
    if packages:
        raise QemuError(f"a guest needs packages that are missing; get them by: apt install "
                        f"{' '.join(packages)}")
    _, folder = kernel()
    tree = Path(work) / "tree"
    plant(tree, script, closure(folder, modules))
    archive(tree, path)
    shutil.rmtree(tree)


def plant(tree, script, files):
    """Fill a folder with all that a guest runs from; ``files`` are modules, in their order."""
    for name in ("bin", "proc", "sys", "dev", "tmp", "lib/card"):
        (tree / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", tree / "bin/busybox")
    for tool in _TOOLS:
        _copy_program(tree, tool)
    for module in files:
        shutil.copy(module, tree / "lib/card" / module.name)
    (tree / "lib/card/order").write_text("".join(f"{module.name}\n" for module in files))
    for name in ("init", "job"):
        shutil.copy(_HERE / f"{name}.sh", tree / name)
    (tree / "init").chmod(0o755)
    (tree / "script").write_text(Path(script).read_text())


def archive(tree, path):
    """The folder as a cpio archive."""
    names = sorted(str(p.relative_to(tree)) for p in tree.rglob("*"))
    with open(path, "wb") as out:
        subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=tree, stdout=out, check=True,
                       input="\n".join(names).encode(), stderr=subprocess.DEVNULL,
                       env={**os.environ, "LC_ALL": "C"})

