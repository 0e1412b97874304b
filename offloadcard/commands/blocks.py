"""Blocks of the card that can be emitted and synthesised alone, and the whole."""

from importlib import import_module

from offloadcard.config import PRESETS

from .errors import CommandError

__all__ = ["BLOCKS", "PARTS", "config_of", "make_block"]

BLOCKS = {
    "card":              ("offloadcard.card", "Card"),
    "pcie.endpoint":     ("offloadcard.pcie.endpoint", "Endpoint"),
    "virtio_net.device": ("offloadcard.virtio_net_emul.device", "Device"),
    "nvme.controller":   ("offloadcard.nvme_emul.controller", "Controller"),
    "gft.pipeline":      ("offloadcard.gft.pipeline", "Pipeline"),
    "rtl.mac":           ("offloadcard.rtl.mac", "Mac"),
    "rtl.management":    ("offloadcard.rtl.management", "ManagementSteer"),
}

# What the card is wired of.
PARTS = tuple(name for name in BLOCKS if name != "card")


def config_of(preset, functions=None):
    """The configuration of a preset, perhaps with another number of functions."""
    if preset not in PRESETS:
        raise CommandError(f"--preset must be one of {', '.join(PRESETS)}, not {preset}")
    config = PRESETS[preset]
    if functions is None:
        return config
    if functions < 4:
        raise CommandError(f"--functions must be at least 4, not {functions}")
    try:
        return config.with_functions(functions)
    except ValueError as error:
        raise CommandError(str(error)) from None


def make_block(name, config):
    """The component of that name."""
    if name not in BLOCKS:
        raise CommandError(f"--block must be one of {', '.join(BLOCKS)}, not {name}")
    module, kind = BLOCKS[name]
    return getattr(import_module(module), kind)(config)
