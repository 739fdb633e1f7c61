"""Standard output, and what to say when it cannot be written.

A pipe that is closed at its other end is no such case: it is left to click, which ends quietly.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from cli.failure import Failure

_ELSEWHERE = "make room, or send the output elsewhere"


def show(line: str, *, lost: str = _ELSEWHERE) -> None:
    """Print a line on stdout. Raises Failure, with ``lost`` as what to do next, where it cannot be written."""
    with _writing(lost):
        click.echo(line)


def report(done: str) -> None:
    """Print a line that says what was done. Raises Failure, which says it too, where it cannot be written."""
    show(done, lost=f"it was done all the same: {done}")


def send(content: bytes) -> None:
    """Write exactly ``content`` to stdout. Raises Failure where it cannot be written."""
    with _writing(_ELSEWHERE):
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


def replace_closed_streams() -> None:
    """Put a stream that refuses with EBADF in the place of each standard stream that is closed.

    Without it Python has None there, and the next file to be opened gets the number of the stream.
    """
    for name, mode, flags in (("stdin", "r", os.O_WRONLY), ("stdout", "w", os.O_RDONLY), ("stderr", "w", os.O_WRONLY)):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.open(os.devnull, flags), mode))  # noqa: SIM115 - as long as the process


@contextmanager
def _writing(lost: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard()
        raise Failure(f"cannot write the output: {error.strerror}", lost) from None


def _discard() -> None:
    """Let what is still in stdout's buffer go nowhere: Python would try to write it once more at its end, and complain."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
