"""A wrong command line is answered without repeating a word of it: any word may be a value or a token in the wrong place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

_VALUED = {"create", "update"}


@contextmanager
def repeating_nothing() -> Iterator[None]:
    """Within it a UsageError of click's is raised in words that hold nothing of the command line, only what is declared."""
    try:
        yield
    except click.UsageError as error:
        raise _reworded(error) from None


def _reworded(error: click.UsageError) -> click.UsageError:
    if isinstance(error, click.NoSuchOption):
        close = f" Did you mean {' or '.join(error.possibilities)}?" if error.possibilities else ""
        return click.UsageError(f"There is no such option.{close}", error.ctx)
    if isinstance(error, click.BadParameter) and not isinstance(error, click.MissingParameter):
        text = "" if error.param is None else _expected(error.param.type)
        return click.BadParameter(text, error.ctx, error.param, error.param_hint)
    if isinstance(error, click.exceptions.NoSuchCommand):
        return click.UsageError("There is no such command.", error.ctx)
    if type(error) is click.UsageError:  # click has no kind of its own for this one
        return click.UsageError(_too_many(error.cmd), error.ctx)
    return error


def _too_many(command: click.Command | None) -> str:
    if command is not None and command.name in _VALUED:
        return "There is an argument too many: a value is never an argument; pipe it in, or use --file."
    return "There is an argument too many."


def _expected(kind: click.ParamType[Any]) -> str:
    if isinstance(kind, click.Choice):
        return f"choose one of {', '.join(kind.choices)}."
    if isinstance(kind, click.IntRange):
        return f"a whole number from {kind.min} {'on' if kind.max is None else f'to {kind.max}'}."
    if isinstance(kind, click.Path):
        return f"name a readable {'file' if kind.file_okay else 'folder'}."
    return "this cannot be used."
