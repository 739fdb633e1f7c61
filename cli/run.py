"""``kofn run``: a command with its .env files resolved, or nothing at all.

Only the references travel: the files are parsed here, all distinct ``secret(...)`` of all files are asked for in one call, and the
variables are put together here, where ``${HOME}`` means this machine's. Then this process becomes the command (exec), so that
signals, terminal and exit code are the command's own.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import click

from cli.client import Client
from cli.dotenv_file import DotenvFile, located, unreadable
from cli.failure import Exit, Failure, RunExit
from cli.refusal import Problem
from cli.session import client
from cli.usage import repeating_nothing
from model import dotenv
from model.errors import KofnError

_DEFAULT = Path(".env")
_PRISTINE = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "LANG", "LANGUAGE", "TZ", "TMPDIR"}


class _Run(click.Command):
    """A command that exits with 125 however it fails, its own command line included."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            with repeating_nothing():
                return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            error.show()
            raise click.exceptions.Exit(RunExit.NOT_STARTED) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Failure as failure:
            if failure.exit_code not in {RunExit.NOT_EXECUTABLE, RunExit.NOT_FOUND}:
                failure.exit_code = RunExit.NOT_STARTED
            raise


@click.command(cls=_Run, context_settings={"allow_interspersed_args": False})
@click.option(
    "-f",
    "--file",
    "paths",
    metavar="FILE",
    type=click.Path(path_type=Path),
    multiple=True,
    default=[str(_DEFAULT)],
    show_default=True,
    help="A .env file; may be repeated, later files win.",
)
@click.option("--pristine", is_flag=True, help="Start from a nearly empty environment.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(paths: tuple[Path, ...], pristine: bool, command: tuple[str, ...]) -> None:
    """Run COMMAND with the variables of .env files, each secret(NAME) in them replaced by its value.

    Variables of the files win over those inherited. Inherited KOFN_* are not passed on. With --pristine only PATH, HOME, USER,
    LOGNAME, SHELL, TERM, LANG, LANGUAGE, LC_*, TZ and TMPDIR are inherited.

    References count without quotes and in double quotes; in single quotes they are literal text.

    All references are resolved first, in one call. If anything is wrong, nothing is started, every bad reference is named with
    file and line, and the exit code is 125; it is 126 for a command that cannot be executed, 127 for one that is not found.
    """
    if paths == (_DEFAULT,) and not _DEFAULT.exists():
        raise Failure("there is no .env in this directory", "name a file: kofn run -f FILE COMMAND", Exit.USAGE)
    sources = [DotenvFile.read(path) for path in paths]
    for source in sources:
        source.warn()
    values = resolve(sources, client)
    environment = merge(sources, values, inherited(os.environ, pristine=pristine))
    _become(command, environment)


def resolve(sources: list[DotenvFile], connect: Callable[[], Client]) -> dict[tuple[str, int | None], str]:
    """The value of every distinct reference, asked for in one call; without references nothing is asked, nor connected.

    Raises Failure naming file and line of every reference that does not resolve, and of every ``enc``, which would create something.
    """
    creating = [f"{each.path}:{line.line}: enc({line.name})" for each in sources for line in each.parsed.encryptions]
    if creating:
        next_step = "run, once: kofn env process --no-expand -o FILE FILE, which creates them and leaves secret(NAME) in their place"
        raise Failure("kofn run creates no secrets", next_step, Exit.REFUSED, creating)
    wanted = list(dict.fromkeys((reference.name, reference.version) for each in sources for reference in each.parsed.references))
    if not wanted:
        return {}
    lines = [f"R{number}=secret({name}{'' if version is None else f'@{version}'})" for number, (name, version) in enumerate(wanted)]
    try:
        answer = connect().read("/env", body={"content": "\n".join(lines), "format": "variables"})
    except Problem as problem:
        raise located(problem, sources) from None
    return {reference: answer["variables"][f"R{number}"] for number, reference in enumerate(wanted)}


def merge(sources: list[DotenvFile], values: Mapping[tuple[str, int | None], str], base: Mapping[str, str]) -> dict[str, str]:
    """``base`` with the variables of all files, later ones over earlier ones. Raises Failure for what no environment can hold."""
    environment = dict(base)
    for source in sources:
        try:
            environment |= dotenv.variables(source.parsed, values, expand=True, environment=environment)
        except KofnError as error:
            raise unreadable(source.path, error) from None
    unfit = sorted(name for name, value in environment.items() if "\0" in value or "\0" in name or "=" in name)
    if unfit:
        raise Failure(f"no environment can hold these: {', '.join(unfit)}", "their values have NUL bytes; pass them as files", Exit.REFUSED)
    return environment


def inherited(environment: Mapping[str, str], *, pristine: bool) -> dict[str, str]:
    """What the command inherits: all but kofn's settings, some of which lead to a token.

    With ``pristine`` it is only what a program needs to find its way.
    """
    if pristine:
        return {name: value for name, value in environment.items() if name in _PRISTINE or name.startswith("LC_")}
    return {name: value for name, value in environment.items() if not name.startswith("KOFN_")}


def _become(command: tuple[str, ...], environment: Mapping[str, str]) -> NoReturn:
    """Replace this process. Python ignores SIGPIPE and SIGXFSZ, and an ignored signal stays ignored through exec: restore both."""
    sys.stdout.flush()
    sys.stderr.flush()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606 - this is what the user asked for
    except FileNotFoundError:
        raise Failure(f"{command[0]}: not found", "check the command's name and PATH", RunExit.NOT_FOUND) from None
    except OSError as error:
        raise Failure(f"{command[0]}: {error.strerror}", "it cannot be executed", RunExit.NOT_EXECUTABLE) from None
    except ValueError:
        raise Failure("the command line or environment holds a NUL byte", "remove it", RunExit.NOT_STARTED) from None
