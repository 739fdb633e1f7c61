"""``kofn audit``: check the gateway's audit log, offline and without the gateway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from cli import output
from cli.failure import Exit, Failure
from model.audit import GENESIS, ChainError, Head, before, follow


@click.group()
def audit() -> None:
    """The gateway's audit log; see docs/access.md for its format."""


@audit.command()
@click.argument("paths", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
def verify(paths: tuple[Path, ...]) -> None:
    """Check that no line of these files was changed, moved or taken out, and that they are one chain, in whatever order they are named.

    Prints the first and last line's number, and the last one's hash: note that elsewhere, as only against it does a log show that its
    end was cut off or that all of it was made anew. Exits with 1 for a log that is not intact.
    """
    ordered = sorted(paths, key=_first_number)
    start, head = _start(ordered[0]), None
    for path in ordered:
        head = _follow(path, start if head is None else head)
    assert head is not None
    output.show(f"intact: lines {start.seq + 1} to {head.seq}, hash {head.hash}")
    if start != GENESIS:
        click.echo(f"kofn: line 1 to {start.seq} are in files that were not named", err=True)


def _follow(path: Path, head: Head) -> Head:
    """The head at the end of ``path``. Raises Failure for the first line that does not follow."""
    for number, line in enumerate(_lines(path), 1):
        try:
            head = follow(head, line)
        except ChainError as error:
            raise Failure(f"{path}, line {number}: {error}", "the log is not intact from here on", Exit.FAILED) from None
    return head


def _first_number(path: Path) -> int:
    return _start(path).seq


def _start(path: Path) -> Head:
    """What the first line of ``path`` follows."""
    for line in _lines(path):
        try:
            return before(line)
        except ChainError as error:
            raise Failure(f"{path}, line 1: {error}", "the log is not intact from here on", Exit.FAILED) from None
    raise Failure(f"{path} is empty", "leave it out", Exit.USAGE)


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from file
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}", "name the files of an audit log", Exit.USAGE) from None
