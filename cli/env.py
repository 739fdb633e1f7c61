"""``kofn env process`` and ``kofn env encrypt``: a .env file against the vault, all or nothing, written atomically."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from cli import files
from cli.client import new_key
from cli.dotenv_file import DotenvFile, located, unreadable
from cli.failure import Exit, Failure
from cli.output import report, send
from cli.refusal import Problem
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

    All or nothing: with one bad reference nothing is written and nothing created, and every bad one is named. References count without
    quotes and in double quotes; in single quotes they are literal text.
    """
    source = DotenvFile.read(path)
    source.warn()
    bare = [f"{path}:{each.line}: enc({each.name})" for each in source.parsed.encryptions if each.inline_value is None]
    if bare:
        raise Failure(
            "there is no value to create these with", "write enc(NAME, value), or kofn create NAME and secret(NAME)", Exit.REFUSED, bare
        )
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
    source.warn()
    absent = [each for each in dict.fromkeys(keys) if each not in source.plain_keys]
    if absent:
        raise Failure(f"{path} has no plain value for: {', '.join(absent)}", "check --key", Exit.REFUSED)
    try:
        plan = dotenv.encrypt_plan(source.content, prefix, keys or None)
    except KofnError as error:
        raise unreadable(path, error, "correct these lines, or name the other keys with --key") from None
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
        if target is None:
            click.echo(f"created {name}", err=True)
        else:
            report(f"created {name}")


def _send(target: Path | None, body: dict[str, Any], key: str | None, *, creates: bool) -> dict[str, Any]:
    """POST to /env and put the resulting file at ``target`` (stdout for None), which is opened, with room for it, before anything is sent.

    Raises Failure; where secrets were created and only the result could not be written, it names them and how to get the result.
    """
    key = key or new_key()
    created: list[str] = []
    try:
        with nullcontext() if target is None else files.replacing(target, room=_room(body)) as file:
            answer = client().write("POST", "/env", body, key=key) if creates else client().read("/env", body=body)
            created = answer.get("created", [])
            content = str(answer["content"]).encode("utf-8")
            if file is None:
                send(content)
            else:
                file.write(content)
    except Failure as failure:
        if not created:
            raise
        next_step = f"but these secrets were created; for the resulting file repeat it with --idempotency-key {key} and another -o"
        raise Failure(failure.what, next_step, Exit.FAILED, [f"secret({name})" for name in created]) from None
    return answer


def _room(body: dict[str, Any]) -> int:
    """Bytes to keep for the result: twice what is sent, which is plenty where no value is inserted, and a start where some are."""
    return 2 * len(str(body["content"]).encode("utf-8"))
