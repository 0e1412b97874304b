"""``offloadcard verilog``: the Verilog of a preset."""

from pathlib import Path

from .blocks import config_of, make_block
from .console import console, progress_bar
from .emit import to_verilog

__all__ = ["run"]


def run(*, preset, functions, block, out):
    """Write the Verilog of ``block`` to ``out``; return its path."""
    config = config_of(preset, functions)
    component = make_block(block, config)
    name = block.replace(".", "_")
    path = Path(out) if out else Path("build/verilog") / f"{name}_{config.name}.v"
    with progress_bar("verilog", None) as step:
        step(f"{block} of {config.name}")
        text = to_verilog(component, name=name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    console.print(f"{path}: {text.count(chr(10))} lines, module {name}, preset {config.name}, "
                  f"{config.functions} functions")
    return path
