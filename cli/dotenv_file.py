"""A .env file on disk: read exactly, parsed, and named with its lines in every complaint."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from cli.failure import EXIT_OF, Exit, Failure
from cli.refusal import Problem
from model import dotenv
from model.errors import InvalidEnv, KofnError

_LINE = re.compile(r"(?:^In|; in) line (\d+): ")
_REFERENCE = re.compile(r"secret\([^()]+\)|\Aenc\(.+\)\Z", re.DOTALL)
_MORE = re.compile(r"; (and \d+ more)$")


@dataclass(frozen=True)
class DotenvFile:
    """``content`` is the file's text, byte order mark and line ends included."""

    path: Path
    content: str = field(repr=False)
    parsed: dotenv.EnvFile = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> DotenvFile:
        """Raises Failure for a file that cannot be read, is too large, is not UTF-8, or does not parse."""
        try:
            with path.open("rb") as file:
                raw = file.read(dotenv.MAX_CONTENT_BYTES + 1)
            if len(raw) > dotenv.MAX_CONTENT_BYTES:
                raise Failure(f"{path} has more than {dotenv.MAX_CONTENT_BYTES} bytes", "split it", Exit.REFUSED)
            content = raw.decode("utf-8")
            return cls(path, content, dotenv.parse(content))
        except OSError as error:
            raise Failure(f"cannot read {path}: {error.strerror}", "name a readable file", Exit.USAGE) from None
        except UnicodeDecodeError:
            raise Failure(f"{path} is not UTF-8 text", "convert it, or name another file", Exit.REFUSED) from None
        except InvalidEnv as error:
            raise unreadable(path, error) from None

    @property
    def plain_keys(self) -> set[str]:
        """The variables that have a value without references."""
        return {each.key for each in self.parsed.assignments if each.text is not None and not each.references and each.encryption is None}

    def warn(self) -> None:
        """Say on stderr where single quotes make text of what would be a reference without them."""
        for each in self.parsed.assignments:
            if each.quote == "'" and each.text is not None and _REFERENCE.search(each.text):
                hint = "in single quotes this is text, not a reference; use double quotes, or none, if it should be one"
                click.echo(f"kofn: {self.path}:{each.line}: {hint}", err=True)

    def uses(self, names: Sequence[str], *, versions_only: bool) -> Iterator[str]:
        """Where the file refers to, or creates, any of ``names``: a line of text each."""
        for reference in self.parsed.references:
            if reference.name in names and (reference.version is not None or not versions_only):
                version = "" if reference.version is None else f"@{reference.version}"
                yield f"{self.path}:{reference.line}: secret({reference.name}{version})"
        for encryption in self.parsed.encryptions:
            if encryption.name in names and not versions_only:
                yield f"{self.path}:{encryption.line}: enc({encryption.name})"


def unreadable(path: Path, error: KofnError, next_step: str = "correct these lines") -> Failure:
    """The failure of one file, with a line of text for each of its lines at fault, and then ``next_step``."""
    detail, *more = _MORE.split(error.detail)
    _, *found = _LINE.split(detail)
    items = [f"{path}:{line}: {text}" for line, text in zip(found[::2], found[1::2], strict=True)] + more[:1]
    names = f": {', '.join(error.names)}" if error.names else ""
    return Failure(f"{path}: {error.title}{names}", next_step if items else error.detail, EXIT_OF[error.code], items)


def located(problem: Problem, sources: Sequence[DotenvFile], places: Sequence[str] = ()) -> Failure:
    """The vault's ``problem`` with each place in ``sources`` that it is about, after ``places`` known otherwise."""
    versions_only = problem.code == "version_not_found"
    items = [*places, *(line for source in sources for line in source.uses(problem.names, versions_only=versions_only))]
    return Failure(problem.what, problem.next_step, problem.exit_code, items)
