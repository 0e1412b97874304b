"""A stranger reads our configuration space: pciutils' lspci decodes the image."""

import shutil
import subprocess

import pytest

from tests.golden.pcie_config import LSPCI
from tests.pcie.world import World


@pytest.mark.thirdparty
@pytest.mark.skipif(shutil.which("lspci") is None,
                    reason="lspci must be installed: apt-get install pciutils")
def test_lspci_understands_every_kind(tmp_path):
    world = World()
    functions = {}

    async def host(ctx):
        await world.enumerate(ctx)
        for function in LSPCI:
            octets = b""
            for offset in range(0, 0x200, 4):
                value = await world.guest.config_read(ctx, 0x100 | function, offset)
                octets += value.to_bytes(4, "little")
            functions[function] = octets.ljust(4096, b"\0")
    world.run(host)

    for function, octets in functions.items():
        dump = tmp_path / f"function{function}"
        lines = [f"{n:02x}: {octets[n:n + 16].hex(' ')}" for n in range(0, 4096, 16)]
        dump.write_text(f"01:00.{function} Device\n" + "\n".join(lines) + "\n")
        text = subprocess.run(["lspci", "-F", str(dump), "-vvv"], check=True, text=True,
                              capture_output=True).stdout
        for line in LSPCI[function]:
            assert line in text, f"function {function} lacks {line!r}:\n{text}"
        assert "<chain looped>" not in text and "<access denied>" not in text
