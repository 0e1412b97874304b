"""The one console, and a progress bar for whatever takes longer than a moment."""

from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

__all__ = ["console", "progress_bar"]

console = Console()


@contextmanager
def progress_bar(title, total):
    """Give ``step(text, count=1)``, which moves the bar; ``total`` may be ``None``: unknown."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=total)

        def step(text, count=1):
            progress.update(task, advance=count, description=f"{title}: {text}")

        yield step
