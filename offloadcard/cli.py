"""The command line. Every command is a file of ``offloadcard/commands``, imported when it runs."""

import sys
from functools import wraps

import click

from offloadcard.config import PRESETS

__all__ = ["main"]

_PRESET = click.option("--preset", default="model", show_default=True,
                       help=f"One of {', '.join(PRESETS)}.")
_FUNCTIONS = click.option("--functions", type=int, help="Another number of functions.")
_BLOCK = click.option("--block", default="card", show_default=True,
                      help="A block of the card, say gft.pipeline.")


def _clear_errors(function):
    """What the user can put right is one line and exit code 2; what we broke is a traceback."""
    @wraps(function)
    def wrapped(*arguments, **options):
        from offloadcard.commands.errors import CommandError
        try:
            return function(*arguments, **options)
        except (CommandError, OSError) as error:
            line = str(error)
            if isinstance(error, OSError) and error.strerror:
                line = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
            click.echo(f"offloadcard: {line}", err=True)
            sys.exit(2)
    return wrapped


def _ends(good):
    """Exit code 1 where the answer is no."""
    if not good:
        sys.exit(1)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="offloadcard")
def main():
    """An open, cycle-approximate, synthesisable model of a cloud offload card."""


@main.command()
@click.option("--pcap", help="Traffic that the tenants send.  [default: the committed capture]")
@click.option("--image", help="File-system image for the drive.  [default: made by mkfs.ext4]")
@click.option("--out", default="build/demo", show_default=True, help="Where the report goes.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--preset", default="small", show_default=True)
@click.option("--waves", is_flag=True, help="Record waveforms.")
@_clear_errors
def demo(**options):
    """Boot the card; two tenants and a drive; write a report of what happened."""
    from offloadcard.commands import demo as command
    _ends(command.run(**options))


@main.command()
@click.argument("scenarios", nargs=-1, metavar="[SCENARIO]...")
@click.option("--list", "list_only", is_flag=True, help="List the scenarios.")
@click.option("--all", "everything", is_flag=True,
              help="Sustained runs and interference too, not bursts only.")
@click.option("--preset", default="model", show_default=True)
@click.option("--link", default="gen3x16", show_default=True, help="PCIe generation and lanes.")
@click.option("--host-latency-ns", type=int,
              help="Latency of a read of host memory.  [default: 500]")
@click.option("--packets", type=int, help="Packets or operations to measure.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--json", "json_path", help="Write the records to this file.")
@click.option("--waves", help="Record waveforms into this file.")
@click.option("--sweep", "sweeps", multiple=True,
              help="A sweep instead of scenarios; again for more.")
@click.option("--out", default="build/sweep", show_default=True,
              help="Sweep: a file for each point; what is there is kept.")
@click.option("--workers", type=int, default=1, show_default=True,
              help="Sweep: simulations at once.")
@click.option("--scheduler", help="Sweep: address of a dask scheduler.  [default: processes here]")
@_clear_errors
def bench(**options):
    """Measure; print each figure beside its bound."""
    from offloadcard.commands import bench as command
    _ends(command.run(**options))


@main.command()
@click.option("--script", metavar="FILE", help="Run this in every guest.  [default: a shell]")
@click.option("--guests", type=int, help="How many.  [default: 1, or as the script says]")
@click.option("--cards", type=int, help="2: each guest its own, wire to wire.  [default: 1]")
@click.option("--preset", default="small", show_default=True)
@click.option("--kernel", default="6.1", show_default=True, metavar="VERSION",
              help="Of an installed linux-source package, or a User-Mode Linux program.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--mmio-ns", type=int, default=0, show_default=True,
              help="What a register access costs a guest's processor.")
@click.option("--interrupt-ns", type=int, default=0, show_default=True,
              help="What an interrupt costs it.")
@click.option("--waves", help="Record waveforms into this file.")
@click.option("--pcap", help="Record the wire's frames into this file.")
@click.option("--out", help="Where the guests leave files.  [default: below build/linux/runs]")
@click.option("--table", is_flag=True,
              help="Write the figures and timelines of docs/ from build/linux; no more.")
@_clear_errors
def linux(**options):
    """Boot a real Linux on the card; give a shell, or run a script and end with its exit code."""
    from offloadcard.commands import linux as command
    sys.exit(command.run(**options))


@main.command()
@click.option("--script", metavar="FILE", help="Run this in every guest.  [default: a shell]")
@click.option("--show", metavar="NAME", help="One of ours: drive, smp, bios, ipxe, hostile, ...")
@click.option("--cpus", type=int, help="Of each guest.  [default: 1, or as the script says]")
@click.option("--qemu", metavar="PATH",
              help="A QEMU of 10.1 or newer.  [default: the fetched one, or the machine's]")
@click.option("--preset", default="small", show_default=True)
@click.option("--fetch", is_flag=True,
              help="Get QEMU and a kernel by apt, unpack them below build/qemu; no more.")
@click.option("--pcap", help="Record the wire's frames into this file.")
@click.option("--out", help="Where the consoles go.  [default: below build/qemu/runs]")
@_clear_errors
def qemu(**options):
    """Boot guests of an unmodified QEMU on the card by vfio-user."""
    from offloadcard.commands import qemu as command
    sys.exit(command.run(**options))


@main.command()
@click.option("--tier", type=int, help="Up to this tier.  [default: all that the machine offers]")
@click.option("--repeats", type=int, default=5, show_default=True, help="Runs of each.")
@click.option("--seconds", type=float, default=2.0, show_default=True, help="Length of a run.")
@click.option("--json", "json_path", help="Write the report to this file.")
@_clear_errors
def baseline(**options):
    """Measure real software on this machine."""
    from offloadcard.commands import baseline as command
    _ends(command.run(**options))


@main.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--out", default="build/plots", show_default=True, help="Where the plots go.")
@_clear_errors
def plot(**options):
    """Draw what bench wrote."""
    from offloadcard.commands import plot as command
    command.run(**options)


@main.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--list", "list_only", is_flag=True, help="List the proofs.")
@_clear_errors
def prove(**options):
    """Prove isolation, last words and stream rules; refuse the mutants."""
    from offloadcard.commands import prove as command
    _ends(command.run(**options))


@main.command()
@_PRESET
@_FUNCTIONS
@_BLOCK
@click.option("-o", "--out", help="File to write.  [default: below build/verilog]")
@_clear_errors
def verilog(**options):
    """Write the Verilog of a preset."""
    from offloadcard.commands import verilog as command
    command.run(**options)


@main.command()
@_PRESET
@_FUNCTIONS
@_BLOCK
@click.option("--json", "json_path", help="Write the report to this file.")
@click.option("--route", is_flag=True, help="Place and route too (preset ecp5 only).")
@click.option("--seeds", type=int, default=1, show_default=True,
              help="Routings to try; the report gives the range.")
@click.option("--against", metavar="FILE",
              help="Record of another number of functions: fail if logic differs by over 5 %.")
@_clear_errors
def synth(**options):
    """Synthesise; report cells and levels of logic."""
    from offloadcard.commands import synth as command
    command.run(**options)


@main.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--write", is_flag=True, help="Write docs/registers.")
@click.option("--check", is_flag=True, help="Fail if docs/registers is not as it would be.")
@_clear_errors
def registers(**options):
    """Print the register maps."""
    from offloadcard.commands import registers as command
    command.run(**options)


@main.command()
@_clear_errors
def doctor():
    """Say what is installed, what is missing, and how to get it."""
    from offloadcard.commands import doctor as command
    _ends(command.run())


if __name__ == "__main__":
    main()
