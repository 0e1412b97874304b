"""``offloadcard synth``: cells, levels of logic, and for ECP5 the routed clock."""

import json
from pathlib import Path

from rich.table import Table

from .blocks import BLOCKS, PARTS, config_of, make_block
from .console import console, progress_bar
from .emit import to_rtlil
from .errors import CommandError
from .late import late

__all__ = ["run"]


def _part(name, config, fpga, *, routes, step):
    """The record of one block."""
    step(f"{name}: RTLIL")
    rtlil = to_rtlil(make_block(name, config), name="top")
    work = Path("build/synth") / f"{name.replace('.', '_')}_{config.name}_{config.functions}"
    return fpga.report(rtlil, block=name, config=config, work=work, routes=routes, step=step)


def _print(records, whole):
    table = Table("block", "LUT", "FF", "block RAM", "URAM", "levels", "MHz routed", box=None)
    for record in records if whole in records else (*records, whole):
        cells, routed = record["cells"], record["clock_mhz_routed"]
        span = f"{min(routed):.0f} to {max(routed):.0f}" if routed else "not routed"
        table.add_row(record["block"], str(cells["lut"]), str(cells["ff"]),
                      str(cells["block_ram"]), str(cells["ultra_ram"]),
                      str(record["lut_levels"]), span)
    console.print(table)


def run(*, preset, functions, block, json_path, route, seeds):
    """Synthesise ``block``, the card part by part; print, and perhaps write, the record."""
    config = config_of(preset, functions)
    fpga, tools = late("fpga.report"), late("fpga.yosys")
    if route and fpga.FAMILY[preset] != "ecp5":
        raise CommandError("--route must be asked of a preset for ECP5: the open tools route no "
                           "UltraScale+")
    if route and block == "card":
        raise CommandError("--route must be asked of one block: the card is synthesised in parts")
    if seeds < 1:
        raise CommandError(f"--seeds must be at least 1, not {seeds}")
    if block not in BLOCKS:
        raise CommandError(f"--block must be one of {', '.join(BLOCKS)}, not {block}")
    names = PARTS if block == "card" else (block,)
    records = []
    with progress_bar("synth", len(names)) as step:
        for name in names:
            try:
                records.append(_part(name, config, fpga, routes=seeds if route else 0,
                                     step=lambda text: step(text, 0)))
            except tools.ToolError as error:
                raise CommandError(str(error)) from None
            step(name)
    whole = fpga.total(records, block=block) if block == "card" else records[0]
    _print(records, whole)
    console.print(f"preset {config.name}, {config.functions} functions, for {whole['family']}; "
                  f"{config.clock_mhz} MHz is the preset's stated clock, not a measured one",
                  highlight=False)
    if json_path:
        path = Path(json_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(whole, indent=1) + "\n")
        console.print(f"{path} written", highlight=False)
    return whole
