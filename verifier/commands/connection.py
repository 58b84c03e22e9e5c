"""What commands that talk to a service share: the connection, and a bar while they wait."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx

from ..errors import CouldNotCheck, UsageError
from ..terminal import say


def open_client(url: str) -> httpx.Client:
    """A client of the service at `url`; raises `UsageError` (``usage``) for what is no address."""
    try:
        return httpx.Client(base_url=url, timeout=30.0)
    except (httpx.InvalidURL, ValueError) as error:
        raise UsageError("usage", f"--url {url} is no address: {error}.") from error


@contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[[str, float], None]]:
    """A bar on a terminal, a line for each phase elsewhere; nothing if `quiet`."""
    if quiet:
        yield lambda _phase, _fraction: None
    elif sys.stderr.isatty():
        try:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
        except ImportError as error:
            raise CouldNotCheck(
                "native-missing", "The progress bar needs rich: pip install 'verinfer[client]'."
            ) from error
        columns = (
            TextColumn("{task.description:<12}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("sending", total=1.0)
            yield lambda phase, fraction: progress.update(task, description=phase, completed=fraction)
    else:
        yield _line_per_phase()


def _line_per_phase() -> Callable[[str, float], None]:
    last = ""

    def show(phase: str, fraction: float) -> None:
        nonlocal last
        if phase != last:
            last = phase
            say(f"  job: {phase} ({fraction:.0%})", err=True)

    return show
