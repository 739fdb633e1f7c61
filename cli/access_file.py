"""The gateway's access file, edited: a token's entry added or taken out, everything else in it left as it stands, comments too.

The text is edited by lines and the result read as the gateway will read it: unless it says exactly what it said before, and the change,
nothing is written. Editors wait for each other, and the gateway never sees half a file.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cli import files
from cli.failure import Exit, Failure
from model.callers import Callers, CallersError, Token, decode, digest, split_token

_HEADER = re.compile(r"\s*\[")
_BLANK = re.compile(r"\s*(#.*)?$")


@dataclass(frozen=True)
class AccessFile:
    """The access file at ``path``. Methods raise Failure (usage) where it cannot be read, or would not stay an access file."""

    path: Path

    def tokens(self) -> Mapping[str, Token]:
        """Every token by its id."""
        return self._read()[1].tokens

    def add(self, identifier: str, token: Token) -> None:
        """Add a token, of a principal that is in the file. Raises Failure (not found) for another principal."""
        with self._locked():
            text, callers = self._read()
            if token.principal not in callers.principals:
                known = ", ".join(sorted(callers.principals)) or "none"
                raise Failure(f"{self.path} has no such principal", f"add one, or choose of: {known}", Exit.NOT_FOUND)
            gap = "" if not text or text.endswith("\n") else "\n"
            self._replace(f"{text}{gap}\n{entry(identifier, token)}", {**callers.tokens, identifier: token})

    def remove(self, identifier: str) -> None:
        """Take a token out. Raises Failure (not found) where there is no such token."""
        with self._locked():
            text, callers = self._read()
            if identifier not in callers.tokens:
                raise Failure(f"{self.path} has no such token", "run: kofn token list", Exit.NOT_FOUND)
            self._replace(_without(text, identifier), {each: callers.tokens[each] for each in callers.tokens if each != identifier})

    def _read(self) -> tuple[str, Callers]:
        try:
            data = self.path.read_bytes()
            return data.decode("utf-8"), decode(data)
        except OSError as error:
            raise self._unreadable(error) from None
        except (UnicodeDecodeError, CallersError) as error:
            what = error if isinstance(error, CallersError) else "it is not UTF-8"
            raise Failure(f"{self.path} cannot be used: {what}", "correct it first", Exit.USAGE) from None

    def _unreadable(self, error: OSError) -> Failure:
        return Failure(f"cannot read {self.path}: {error.strerror}", "name the gateway's access file with --access", Exit.USAGE)

    def _replace(self, text: str, tokens: Mapping[str, Token]) -> None:
        before = self._read()[1]
        try:
            after = decode(text.encode("utf-8"))
        except CallersError:
            after = None
        if after is None or after.tokens != tokens or (after.clients, after.principals) != (before.clients, before.principals):
            raise Failure(f"{self.path} is laid out in a way that cannot be edited here", "edit it by hand, see docs/access.md", Exit.USAGE)
        files.write(self.path, text)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One editor at a time, by a lock on the folder: the file itself is replaced."""
        try:
            folder = os.open(self.path.resolve().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise self._unreadable(error) from None
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def entry(identifier: str, token: Token) -> str:
    """The lines of one token."""
    return f'[tokens.{identifier}]\ndigest = "{token.digest}"\nprincipal = "{token.principal}"\n'


def new_token() -> str:
    """A fresh bearer token: an id of 64 random bits, a secret of 256."""
    return f"kofn_{secrets.token_hex(8)}_{secrets.token_urlsafe(32)}"


def known_as(token: str, principal: str) -> tuple[str, Token]:
    """The id of ``token``, and what the access file keeps of it. Raises Failure (usage) for a text that is no token."""
    parts = split_token(token)
    if parts is None:
        raise Failure("this is not a token of kofn", "a token is kofn_ID_SECRET", Exit.USAGE)
    return parts[0], Token(digest(parts[1]), principal)


def _without(text: str, identifier: str) -> str:
    """``text`` without the lines of one token; comments above the next header belong to that and stay."""
    lines = text.splitlines(keepends=True)
    header = re.compile(rf"\s*\[\s*tokens\s*\.\s*[\"']?{re.escape(identifier)}[\"']?\s*\]\s*(#.*)?$")
    start = next((number for number, line in enumerate(lines) if header.match(line)), len(lines))
    end = next((number for number in range(start + 1, len(lines)) if _HEADER.match(lines[number])), len(lines))
    while end > start + 1 and end < len(lines) and _BLANK.match(lines[end - 1]):
        end -= 1
    return "".join(lines[:start] + lines[end:])
