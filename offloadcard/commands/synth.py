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


# What a stated number of functions is compared with, to find the memories that grow with it.
_FEW, _MANY = 16, 254


def _rtlil(name, config, *, pinned):
    """RTLIL of a block; ``pinned``: memories that grow with the functions are block memories."""
    rtlil = to_rtlil(make_block(name, config), name="top")
    if not pinned:
        return rtlil
    other = config.with_functions(_FEW if config.functions != _FEW else _MANY)
    return late("fpga.rows").pin_rows(rtlil, to_rtlil(make_block(name, other), name="top"))[0]


def _part(name, config, fpga, *, pinned, routes, step):
    """The record of one block."""
    step(f"{name}: RTLIL")
    rtlil = _rtlil(name, config, pinned=pinned)
    work = Path("build/synth") / f"{name.replace('.', '_')}_{config.name}_{config.functions}"
    record = fpga.report(rtlil, block=name, config=config, work=work, routes=routes, step=step)
    return {**record, "rows_pinned": pinned}


def _print(records, whole):
    table = Table("block", "LUT", "FF", "block RAM", "URAM", "levels", "MHz routed", box=None)
    for record in records if whole in records else (*records, whole):
        cells, routed = record["cells"], record["clock_mhz_routed"]
        span = f"{min(routed):.0f} to {max(routed):.0f}" if routed else "not routed"
        table.add_row(record["block"], str(cells["lut"]), str(cells["ff"]),
                      str(cells["block_ram"]), str(cells["ultra_ram"]),
                      str(record["lut_levels"]), span)
    console.print(table)


def _read(against):
    """The record in the file ``against``."""
    path = Path(against)
    if not path.exists():
        raise CommandError(f"{against} must be a record of synth, not missing")
    try:
        record = json.loads(path.read_text())
    except ValueError as error:
        raise CommandError(f"{against} must be a record of synth: {error}") from None
    if not isinstance(record, dict) or not {"cells", "functions"} <= set(record):
        raise CommandError(f"{against} must be a record of synth, and has no cells or functions")
    return record


def _compare(record, few):
    """Print what differs from the record ``few``; stop if logic does."""
    area = late("fpga.area")
    for number, part in enumerate(record.get("parts", [])):
        lut, ff = area.growth(few["parts"][number], part)
        console.print(f"{part['block']}: logic {lut:+.1%}, FF {ff:+.1%}", highlight=False)
    wrong = area.check(few, record)
    if wrong:
        raise CommandError("; ".join(wrong))
    lut, ff = area.growth(few, record)
    console.print(f"from {few['functions']} to {record['functions']} functions only memory "
                  f"differs: logic {lut:+.1%}, FF {ff:+.1%}", highlight=False)


def run(*, preset, functions, block, json_path, route, seeds, against=None):
    """Synthesise ``block``, the card part by part; print, and perhaps write, the record.

    Where ``functions`` is stated, memories with rows for functions are block memories, so that
    two counts compare logic with logic (:mod:`fpga.rows`).
    """
    config = config_of(preset, functions)
    pinned = functions is not None
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
    few   = _read(against) if against else None
    names = PARTS if block == "card" else (block,)
    records = []
    with progress_bar("synth", len(names)) as step:
        for name in names:
            try:
                records.append(_part(name, config, fpga, pinned=pinned,
                                     routes=seeds if route else 0,
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
    if few:
        _compare(whole, few)
    return whole
