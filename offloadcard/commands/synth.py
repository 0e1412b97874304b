"""``offloadcard synth``: cells, levels of logic, and for ECP5 the routed clock."""

import json
from pathlib import Path

from rich.table import Table

from .blocks import config_of, make_block
from .console import console, progress_bar
from .emit import to_rtlil
from .errors import CommandError
from .late import late

__all__ = ["run"]


def run(*, preset, functions, block, json_path, route, seeds):
    """Synthesise ``block``; print, and perhaps write, the record."""
    config = config_of(preset, functions)
    fpga = late("fpga.report")
    tools = late("fpga.yosys")
    if route and fpga.FAMILY[preset] != "ecp5":
        raise CommandError("--route must be asked of a preset for ECP5: the open tools route no "
                           "UltraScale+")
    if seeds < 1:
        raise CommandError(f"--seeds must be at least 1, not {seeds}")
    component = make_block(block, config)
    work = Path("build/synth") / f"{block.replace('.', '_')}_{preset}_{config.functions}"
    with progress_bar("synth", None) as step:
        step(f"RTLIL of {block}")
        try:
            record = fpga.report(to_rtlil(component, name="top"), block=block, config=config,
                                 work=work, routes=seeds if route else 0, step=step)
        except tools.ToolError as error:
            raise CommandError(str(error)) from None
    table = Table("block", "preset", "functions", "LUT", "FF", "block RAM", "URAM", "LUT levels",
                  "MHz routed", box=None)
    cells, routed = record["cells"], record["clock_mhz_routed"]
    span = f"{min(routed):.0f} to {max(routed):.0f}" if routed else "not routed"
    table.add_row(block, preset, str(config.functions), str(cells["lut"]), str(cells["ff"]),
                  str(cells["block_ram"]), str(cells["ultra_ram"]), str(record["lut_levels"]),
                  span)
    console.print(table)
    console.print(f"for {record['family']}; {config.clock_mhz} MHz is the preset's stated clock, "
                  f"not a measured one", highlight=False)
    if json_path:
        path = Path(json_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=1) + "\n")
        console.print(f"{path} written", highlight=False)
    return record
