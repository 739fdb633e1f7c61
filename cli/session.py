"""What the commands share: the client in force, checked names, and the options of every write."""

from __future__ import annotations

import click

from cli.client import Client
from cli.failure import Exit, Failure
from cli.settings import load
from model.errors import InvalidRequest
from model.name import check_name, check_prefix


def client() -> Client:
    """The client for the settings in force; its notices go to stderr."""
    return Client(load(), lambda line: click.echo(f"kofn: {line}", err=True))


class Name(click.ParamType[str]):
    """A secret's name, checked before it becomes a part of a URL."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ARG002 - click's signature
        try:
            return check_name(value)
        except InvalidRequest as error:
            raise Failure("this is not a valid name", error.detail, Exit.REFUSED) from None


class Prefix(click.ParamType[str]):
    """The beginning of names, or nothing."""

    name = "prefix"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ARG002 - click's signature
        try:
            return check_prefix(value)
        except InvalidRequest as error:
            raise Failure("no valid name starts like this", error.detail, Exit.REFUSED) from None


idempotency_key = click.option(
    "--idempotency-key", "key", metavar="KEY", help="Repeat an earlier write whose outcome is unknown: the same KEY never writes twice."
)
