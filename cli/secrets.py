"""``kofn create``, ``update``, ``get``, ``delete``: one secret at a time. A value never comes from the command line."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import click

from cli import output
from cli.failure import Exit, Failure
from cli.session import Name, client, idempotency_key
from model.errors import InvalidRequest
from model.version import parse_time

_MAX_VALUE_BYTES = 1024 * 1024

_INPUT_HELP = """\b
The value is read from
  a hidden prompt, asked twice, when stdin is a terminal;
  stdin otherwise, without one newline at its end if there is one (--exact keeps it);
  the file given with --file, byte for byte.
A value that is not UTF-8 is sent as base64 and comes back as the same bytes."""

_file = click.option("--file", "path", type=click.Path(path_type=Path, dir_okay=False), help="Read the value from a file, byte for byte.")
_exact = click.option("--exact", is_flag=True, help="Keep a newline at the end of stdin.")


@click.command(help=f"Create the secret NAME; refused if it exists.\n\n{_INPUT_HELP}")
@click.argument("name", type=Name())
@_file
@_exact
@idempotency_key
def create(name: str, path: Path | None, exact: bool, key: str | None) -> None:
    answer = client().write("POST", "/secrets", {"name": name, **_encoded(_value(path, exact=exact))}, key=key)
    output.report(f"created {name}, version {answer['version']}")


@click.command(help=f"Give the secret NAME a new version.\n\n{_INPUT_HELP}")
@click.argument("name", type=Name())
@_file
@_exact
@click.option("--if-match", type=click.IntRange(min=1), metavar="N", help="Only if version N is the latest.")
@idempotency_key
def update(name: str, path: Path | None, exact: bool, if_match: int | None, key: str | None) -> None:
    answer = client().write("PUT", f"/secrets/{name}", _encoded(_value(path, exact=exact)), key=key, if_match=if_match)
    output.report(f"updated {name}, version {answer['version']}")


@click.command()
@click.argument("name", type=Name())
@click.option("--version", type=click.IntRange(min=1), metavar="N", help="Version N instead of the latest.")
@click.option("--at", metavar="TIME", help="The version that was valid at TIME (RFC 3339, such as 2026-01-31T12:00:00Z).")
@click.option("--json", "as_json", is_flag=True, help="The whole answer instead of the bare value.")
def get(name: str, version: int | None, at: str | None, as_json: bool) -> None:
    """Print the value of the secret NAME.

    The bytes are exactly those stored; a newline is added only for a terminal.
    """
    if version is not None and at is not None:
        raise Failure("--version and --at exclude each other", "choose one", Exit.USAGE)
    if at is not None:
        _check_time(at)
    params = {key: str(value) for key, value in (("version", version), ("at", at)) if value is not None}
    answer = client().read(f"/secrets/{name}", params)
    if as_json:
        output.show(json.dumps(answer, indent=2))
        return
    output.send(_decoded(answer) + (b"\n" if sys.stdout.isatty() else b""))


@click.command()
@click.argument("name", type=Name())
@click.option("--yes", is_flag=True, help="Do not ask.")
@idempotency_key
def delete(name: str, yes: bool, key: str | None) -> None:
    """Erase the secret NAME with all its versions, for good.

    It is done once so many shares are erased that the rest cannot rebuild any version. Without a terminal nothing is asked, with or
    without --yes.
    """
    if not yes and sys.stdin.isatty():
        click.confirm(f"Erase {name} with all its versions?", abort=True, err=True)
    client().write("DELETE", f"/secrets/{name}", key=key)
    output.report(f"deleted {name}")


def _check_time(text: str) -> None:
    try:
        parse_time(text)
    except InvalidRequest:
        raise Failure("--at is not a time", "write it like 2026-01-31T12:00:00Z or 2026-01-31T13:00:00+01:00", Exit.REFUSED) from None


def _value(path: Path | None, *, exact: bool) -> bytes:
    """The value by the rules of ``_INPUT_HELP``. Raises Failure for an unreadable file or more than 1 MiB."""
    if path is not None:
        if exact:
            raise Failure("--exact is for stdin", "leave it out: --file is exact anyway", Exit.USAGE)
        try:
            with path.open("rb") as file:
                value = file.read(_MAX_VALUE_BYTES + 2)
        except OSError as error:
            raise Failure(f"cannot read {path}: {error.strerror}", "name a readable file", Exit.USAGE) from None
    elif sys.stdin.isatty():
        prompted: str = click.prompt("Value", hide_input=True, confirmation_prompt="Once more", err=True)
        value = prompted.encode("utf-8", "surrogateescape")
    else:
        try:
            value = sys.stdin.buffer.read(_MAX_VALUE_BYTES + 2)
        except OSError as error:
            raise Failure(f"cannot read the value from stdin: {error.strerror}", "pipe it in, or use --file", Exit.USAGE) from None
        if not exact and value.endswith(b"\n"):
            value = value[:-1]
    if len(value) > _MAX_VALUE_BYTES:
        raise Failure("the value is larger than 1 MiB", "keep large data elsewhere, encrypted, and its key here", Exit.REFUSED)
    return value


def _encoded(value: bytes) -> dict[str, str]:
    try:
        return {"value": value.decode("utf-8")}
    except UnicodeDecodeError:
        return {"value": base64.b64encode(value).decode("ascii"), "encoding": "base64"}


def _decoded(answer: dict[str, Any]) -> bytes:
    value = str(answer["value"])
    return base64.b64decode(value) if answer["encoding"] == "base64" else value.encode("utf-8")
