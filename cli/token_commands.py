"""``kofn token``: bearer tokens in the gateway's access file. A gateway sees each change with its next request."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from cli import files, output
from cli.access_file import AccessFile, known_as, new_token
from cli.failure import Exit, Failure
from cli.local_plan import Layout
from cli.settings import local_data
from model.callers import split_token

_access = click.option(
    "--access",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The gateway's access file.  [default: the local cluster's]",
)


@click.group()
def token() -> None:
    """Bearer tokens: who has one is its principal. The gateway's access file keeps digests only."""


@token.command()
@_access
@click.argument("principal")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="A new file for the token, mode 0600.  [default: stdout]")
def issue(access: Path | None, principal: str, out: Path | None) -> None:
    """Make a token for PRINCIPAL, who must be in the access file, and print it: this once, it is stored nowhere."""
    secret = new_token()
    if out is not None and out.exists():
        raise Failure(f"{out} exists already", "choose a place for a new file", Exit.CONFLICT)
    if out is None:
        with _issued(_file(access), secret, principal):
            output.show(secret, lost="the token was taken back")
        if sys.stdout.isatty():
            click.echo("kofn: whoever sees this screen can use the token; --out writes it to a file instead", err=True)
        return
    with _issued(_file(access), secret, principal):
        files.write(out, f"{secret}\n")


@token.command()
@_access
@click.argument("identifier", metavar="ID")
def revoke(access: Path | None, identifier: str) -> None:
    """Refuse the token ID from the next request on. ID is the part of a token between its first two underscores.

    Of a whole token only the ID is used, but others can read it in the command line as long as this runs.
    """
    parts = split_token(identifier.strip())
    identifier = identifier if parts is None else parts[0]
    _file(access).remove(identifier)
    click.echo(f"revoked {identifier}", err=True)


@token.command(name="list")
@_access
def list_tokens(access: Path | None) -> None:
    """Print every token's id and principal, separated by a tab, sorted."""
    for identifier, known in sorted(_file(access).tokens().items()):
        output.show(f"{identifier}\t{known.principal}")


@contextmanager
def _issued(file: AccessFile, secret: str, principal: str) -> Iterator[None]:
    """The token is in ``file``, and stays there only if the block, which hands it out, ends well."""
    identifier, known = known_as(secret, principal)
    file.add(identifier, known)
    try:
        yield
    except BaseException:
        try:
            file.remove(identifier)
        except Failure as failure:
            raise Failure(f"a token was issued that nobody has; {failure.what}", f"run: kofn token revoke {identifier}") from None
        raise


def _file(access: Path | None) -> AccessFile:
    """The access file named, or the local cluster's. Raises Failure (not found) where there is no local cluster."""
    if access is not None:
        return AccessFile(access)
    layout = Layout(local_data(os.environ).absolute())
    if not layout.access_file.exists():
        next_step = "run: kofn local start, or name the gateway's access file with --access"
        raise Failure(f"there is no cluster in {layout.directory}", next_step, Exit.NOT_FOUND)
    return AccessFile(layout.access_file)
