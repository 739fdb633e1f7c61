"""``kofn history``, ``list``, ``status``: what there is, without values. Tables for people, plain lines for programs."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from cli import output
from cli.failure import Exit
from cli.session import Name, Prefix, client


@click.command()
@click.argument("name", type=Name())
@click.option("--json", "as_json", is_flag=True, help="The whole answer.")
def history(name: str, as_json: bool) -> None:
    """Print every version of the secret NAME, oldest first, without values.

    On a terminal a table; otherwise lines of version, valid from, valid to, separated by tabs. The latest has no end.
    """
    answer = client().read(f"/history/{name}")
    if as_json:
        output.show(json.dumps(answer, indent=2))
        return
    rows = [(str(version["version"]), version["valid_from"], version["valid_to"] or "") for version in answer["versions"]]
    if sys.stdout.isatty():
        _show(rows)
        return
    for row in rows:
        output.show("\t".join(row))


@click.command(name="list")
@click.argument("prefix", type=Prefix(), default="")
@click.option("--json", "as_json", is_flag=True, help='All names as one answer: {"names": [...]}.')
def list_names(prefix: str, as_json: bool) -> None:
    """Print the names of all secrets that start with PREFIX, sorted, one a line."""
    names = client().names(prefix)
    if as_json:
        output.show(json.dumps({"names": list(names)}, indent=2))
        return
    for name in names:
        output.show(name)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The whole answer.")
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Print whether the vault serves reads and writes; exit with 6 if it does not serve both."""
    answer = client().read("/status")
    if as_json:
        output.show(json.dumps(answer, indent=2))
    else:
        output.show(f"reads    {_serving(answer, 'reads')}")
        output.show(f"writes   {_serving(answer, 'writes')}")
        output.show(f"degraded {'yes' if answer['degraded'] else 'no'}")
    if not (answer["reads"] and answer["writes"]):
        ctx.exit(Exit.UNAVAILABLE)


def _serving(answer: dict[str, Any], what: str) -> str:
    return "served" if answer[what] else "not served"


def _show(rows: list[tuple[str, str, str]]) -> None:
    table = Table("version", "valid from", "valid to", box=None)
    for version, valid_from, valid_to in rows:
        table.add_row(version, valid_from, valid_to or "now")
    Console().print(table)
