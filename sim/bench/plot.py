"""Pictures of records and baselines, for papers and slides: PNG and SVG."""

import json
from pathlib import Path

from . import pictures, pictures_run
from .canvas import drawing, save

__all__ = ["plot", "load", "load_baseline"]

PICTURES = {**pictures.PICTURES, **pictures_run.PICTURES}


def _read(files):
    for path in files:
        try:
            yield path, json.loads(Path(path).read_text())
        except (OSError, ValueError) as wrong:
            raise ValueError(f"{path} must be a file of records: {wrong}") from wrong


def load(files):
    """Records of all files; a baseline's are none. ``ValueError`` names the file that is broken."""
    records = []
    for _, found in _read(files):
        if isinstance(found, list):
            records += found
        elif "results" not in found:
            records.append(found)
    return records


def load_baseline(files):
    """The last baseline report among the files, or an empty one."""
    reports = [found for _, found in _read(files)
               if isinstance(found, dict) and "results" in found]
    return reports[-1] if reports else {}


def plot(files, out):
    """Draw whatever the records and baselines in ``files`` allow into ``out``; the paths."""
    records, baseline, out = load(files), load_baseline(files), Path(out)
    out.mkdir(parents=True, exist_ok=True)
    written = []
    with drawing():
        for name, draw in PICTURES.items():
            figure = draw(records, baseline)
            if figure is not None:
                written += save(figure, out, name)
    if not written:
        raise ValueError("`files` must hold records or a baseline that can be drawn")
    return written
