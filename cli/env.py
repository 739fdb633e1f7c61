"""``kofn env process`` and ``kofn env encrypt``: a .env file against the vault, all or nothing, written atomically."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from cli import files
from cli.client import Problem
from cli.dotenv_file import DotenvFile, located, unreadable
from cli.failure import Exit, Failure
from cli.session import Prefix, client, idempotency_key
from model import dotenv
from model.errors import KofnError


def _output(default: str) -> Callable[[Any], Any]:
    text = f"Where to write; - is stdout. A file is replaced atomically, mode 0600.  [default: {default}]"
    return click.option("-o", "--output", metavar="OUT", help=text)


_path = click.argument("path", metavar="FILE", type=click.Path(path_type=Path))


@click.group()
def env() -> None:
    """Process .env files: replace references by values, or values by references."""


@env.command()
@_path
@click.option("--no-expand", is_flag=True, help="Leave each secret(NAME) as it is; only carry out each enc(NAME, value).")
@_output("stdout")
@idempotency_key
def process(path: Path, no_expand: bool, output: str | None, key: str | None) -> None:
    """Replace each secret(NAME) in FILE by its value, and carry out each enc(NAME, value), which becomes secret(NAME).

    All or nothing: with one bad reference nothing is written and nothing created, and every bad one is named.
    """
    source = DotenvFile.read(path)
    target = None if output is None or output == "-" else Path(output)
    try:
        _send(target, {"content": source.content, "expand": not no_expand}, key, creates=bool(source.parsed.encryptions))
    except Problem as problem:
        raise located(problem, [source]) from None


@env.command()
@_path
@click.option("--prefix", type=Prefix(), default="", help="What to put before KEY to make the secret's name, such as app/.")
@click.option("--key", "keys", metavar="KEY", multiple=True, help="Only this variable; may be repeated.  [default: all]")
@_output("FILE itself")
@idempotency_key
def encrypt(path: Path, prefix: str, keys: tuple[str, ...], output: str | None, key: str | None) -> None:
    """Move the plain values of FILE into the vault: KEY=value becomes KEY=secret(PREFIX+KEY).

    Comments, order and existing references stay as they are. A name that exists already is refused; then nothing is created.
    """
    source = DotenvFile.read(path)
    try:
        plan = dotenv.encrypt_plan(source.content, prefix, keys or None)
    except KofnError as error:
        raise unreadable(path, error) from None
    if not plan.values:
        raise Failure(f"{path} has no plain value to encrypt", "nothing was changed", Exit.OK)
    target = None if output == "-" else Path(output) if output is not None else path
    body = {"content": plan.content, "values": plan.values, "expand": False}
    try:
        answer = _send(target, body, key, creates=True)
    except Problem as problem:
        taken = [f"{path}:{each.line}: {each.key}" for each in source.parsed.assignments if prefix + each.key in problem.names]
        raise located(problem, [source], taken) from None
    for name in answer["created"]:
        click.echo(f"created {name}", err=target is None)


def _send(target: Path | None, body: dict[str, Any], key: str | None, *, creates: bool) -> dict[str, Any]:
    """POST to /env and put the resulting file at ``target`` (stdout for None), which is opened before anything is sent."""
    with nullcontext(sys.stdout.buffer) if target is None else files.replacing(target) as out:
        answer = client().write("POST", "/env", body, key=key) if creates else client().read("/env", body=body)
        out.write(str(answer["content"]).encode("utf-8"))
        out.flush()
    return answer
