"""Progress on stderr: one moving line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console


@contextmanager
def progress(first: str) -> Iterator[Callable[[str], None]]:
    """A function to call with each new step."""
    if not sys.stderr.isatty():
        click.echo(first, err=True)
        yield lambda line: click.echo(line, err=True)
        return
    with Console(stderr=True).status(first) as status:
        yield status.update
