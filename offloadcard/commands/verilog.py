"""``offloadcard verilog``: the Verilog of a preset."""

from pathlib import Path

from .blocks import config_of, make_block
from .console import console, progress_bar
from .emit import to_verilog
from .errors import CommandError
from .flat import Flat

__all__ = ["run"]


def run(*, preset, functions, block, out):
    """Write the SystemVerilog of ``block`` to ``out``, its ports beside it; return its path."""
    config = config_of(preset, functions)
    if out and Path(out).suffix == ".md":
        raise CommandError(f"--out must not end in .md, where the ports go: {out}")
    component = Flat(make_block(block, config))
    name = block.replace(".", "_")
    path = Path(out) if out else Path("build/verilog") / f"{name}_{config.name}.sv"
    with progress_bar("verilog", None) as step:
        step(f"{block} of {config.name}")
        text = to_verilog(component, name=name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    page = path.with_suffix(".md")
    page.write_text(f"# Ports of {block}, preset {config.name}\n\n{component.markdown()}")
    console.print(f"{path}: {text.count(chr(10))} lines, module {name}, preset {config.name}, "
                  f"{config.functions} functions; its {len(component.ports)} ports: {page}")
    return path
