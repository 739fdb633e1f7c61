"""``kofn certificates``: a development CA on the command line."""

from __future__ import annotations

from pathlib import Path

import click

from cli.certificates import Authority
from cli.failure import Exit, Failure
from model.identity import IdentityError, Role, parse

_directory = click.option(
    "--dir", "directory", type=click.Path(path_type=Path, file_okay=False), default=".", show_default=True, help="Where ca.pem, ca.key are."
)


@click.group()
def certificates() -> None:
    """A certificate authority for development; see docs/cli.md for what a real cluster needs."""


@certificates.command()
@_directory
@click.option("--trust-domain", default="kofn.local", show_default=True, help="The trust domain of every certificate it will issue.")
def init(directory: Path, trust_domain: str) -> None:
    """Create a development CA: ca.pem to hand out, ca.key to keep (mode 0600, not encrypted)."""
    _check(f"spiffe://{trust_domain}/node/any")
    authority = Authority(directory)
    authority.create(trust_domain)
    click.echo(f"created {authority.certificate_file} and {authority.key_file}")


@certificates.command()
@click.argument("role", type=click.Choice([role.value for role in Role]))
@click.argument("identifier", metavar="ID")
@_directory
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Where to put cert.pem and key.pem.  [default: DIR/ID]")
@click.option("--host", "hosts", multiple=True, help="DNS name or IP address it serves; may be repeated.  [default: localhost, 127.0.0.1]")
def issue(role: str, identifier: str, directory: Path, out: Path | None, hosts: tuple[str, ...]) -> None:
    """Issue a certificate for the gateway, node or client ID, with its SPIFFE ID as the only URI."""
    _check(f"spiffe://any/{role}/{identifier}")
    out = out or directory / identifier
    identity = Authority(directory).issue(Role(role), identifier, out, hosts or ("localhost", "127.0.0.1"))
    click.echo(f"issued {identity.uri} in {out}")


def _check(uri: str) -> None:
    try:
        parse(uri)
    except IdentityError as error:
        raise Failure(f"no SPIFFE ID can be made of this: {error}", "choose another name", Exit.USAGE) from None
