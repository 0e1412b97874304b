"""``offloadcard demo``: the story itself is in ``sim/demo``."""

from offloadcard.config import PRESETS

from .errors import CommandError
from .late import late

__all__ = ["run"]


def run(*, pcap, image, out, seed, preset, waves):
    """Tell the story; ``True`` if every act held."""
    if preset not in PRESETS:
        raise CommandError(f"--preset must be one of {', '.join(PRESETS)}, not {preset}")
    if pcap is not None:
        bridge = late("sim.bridge.ethernet")
        try:
            bridge.read_pcap(pcap)
        except bridge.PcapError as error:
            raise CommandError(str(error)) from None
    command, build = late("sim.demo.command"), late("sim.build")
    try:
        return bool(command.run(pcap=pcap, image=image, out=out, seed=seed, preset=preset,
                                waves=waves))
    except (ValueError, build.BuildError) as error:
        raise CommandError(str(error)) from None
