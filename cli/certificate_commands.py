"""``kofn certificates``: a development CA on the command line."""

from __future__ import annotations

import signal
from pathlib import Path

import click

from cli import output
from cli.certificates import Authority
from cli.failure import Exit, Failure
from model.identity import Identity, IdentityError, Role, parse

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
    output.report(f"created {authority.certificate_file} and {authority.key_file}")


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
    output.report(f"issued {identity.uri} in {out}")


@certificates.command()
@click.argument("folders", metavar="[FOLDER]...", nargs=-1, type=click.Path(path_type=Path, file_okay=False))
@_directory
def renew(folders: tuple[Path, ...], directory: Path) -> None:
    """Renew cert.pem and key.pem in each FOLDER, under the same names; without one, wherever there is a cert.pem below DIR.

    Running servers use the new ones from their next connection on. Either all can be renewed, or none is.
    """
    folders = folders or tuple(sorted(path.parent for path in directory.rglob("cert.pem")))
    if not folders:
        raise Failure(f"there is no cert.pem below {directory}", "name the folders that hold them", Exit.NOT_FOUND)
    for folder, identity in zip(folders, Authority(directory).renew(folders), strict=True):
        output.report(f"renewed {identity.uri} in {folder}")


@certificates.command()
@click.argument("spiffe_id", metavar="SPIFFE_ID")
@click.option("--into", type=click.Path(path_type=Path, file_okay=False), required=True, help="Where to put cert.pem, key.pem and ca.pem.")
@click.option("--socket", envvar="SPIFFE_ENDPOINT_SOCKET", required=True, help="unix:///PATH.  [default: SPIFFE_ENDPOINT_SOCKET]")
@click.option("--once", is_flag=True, help="Return when the files are written for the first time.")
def fetch(spiffe_id: str, into: Path, socket: str, once: bool) -> None:
    """Keep the certificate of SPIFFE_ID, its key and its authorities in files, as a SPIFFE Workload API gives them.

    Stays and writes them anew whenever they are rotated, until SIGTERM or Ctrl-C. An update that cannot be used is reported; the files
    stay as they were.
    """
    wanted = _check(spiffe_id)
    try:
        from cli import svid  # noqa: PLC0415 - needs an optional extra
    except ImportError:
        raise Failure("the library for the Workload API is not installed", "run: pip install 'kofn[spiffe]'", Exit.USAGE) from None
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for context in svid.contexts(socket):
            try:
                end = svid.save(context, wanted, into)
            except Failure as failure:
                if once:
                    raise
                failure.show()
                continue
            output.report(f"wrote {wanted.uri}, valid until {end:%Y-%m-%dT%H:%M:%SZ}, to {into}")
            if once:
                return
    except KeyboardInterrupt:
        return


def _check(uri: str) -> Identity:
    try:
        return parse(uri)
    except IdentityError as error:
        raise Failure(f"no SPIFFE ID can be made of this: {error}", "choose another name", Exit.USAGE) from None
