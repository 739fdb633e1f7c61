"""How the command fails: one exit code per kind of failure, and one line that says what happened and what to do next.

Scripts branch on the exit code, so each answers one question: is the secret absent, is it taken, was anything written. Every
stable code of ``model.errors`` has its place in ``EXIT_OF``. Texts name secrets, files and lines, never a value or a token.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

import click


class Exit(enum.IntEnum):
    """The exit codes of every command except ``kofn run``, which keeps 125 to 127 for itself (see ``RunExit``)."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    DENIED = 5
    UNAVAILABLE = 6
    UNKNOWN = 7
    REFUSED = 8
    UNREACHABLE = 9


class RunExit(enum.IntEnum):
    """What ``kofn run`` exits with when it starts nothing, as env(1) and docker run do; else the code is the command's own."""

    NOT_STARTED = 125
    NOT_EXECUTABLE = 126
    NOT_FOUND = 127


MEANING = {
    Exit.OK: "done",
    Exit.FAILED: "something else went wrong",
    Exit.USAGE: "the command line is wrong",
    Exit.NOT_FOUND: "what is named does not exist: a secret, a version, a local cluster, a token, a principal",
    Exit.CONFLICT: "it exists already, changed meanwhile, is held by another write, or does not run; nothing was written",
    Exit.DENIED: "not authenticated, or not allowed",
    Exit.UNAVAILABLE: "the vault cannot serve this now; nothing was written",
    Exit.UNKNOWN: "the outcome of the write is unknown; repeat it with the same idempotency key",
    Exit.REFUSED: "the input was refused as invalid; nothing was written",
    Exit.UNREACHABLE: "the vault cannot be reached or does not answer; nothing was written",
}

EXIT_OF = {
    "internal_error": Exit.FAILED,
    "invalid_request": Exit.REFUSED,
    "unauthenticated": Exit.DENIED,
    "forbidden": Exit.DENIED,
    "secret_not_found": Exit.NOT_FOUND,
    "version_not_found": Exit.NOT_FOUND,
    "not_found": Exit.FAILED,
    "method_not_allowed": Exit.FAILED,
    "secret_exists": Exit.CONFLICT,
    "write_conflict": Exit.CONFLICT,
    "length_required": Exit.REFUSED,
    "version_mismatch": Exit.CONFLICT,
    "too_large": Exit.REFUSED,
    "uri_too_long": Exit.REFUSED,
    "unsupported_media_type": Exit.REFUSED,
    "idempotency_key_reused": Exit.CONFLICT,
    "invalid_env": Exit.REFUSED,
    "missing_value": Exit.REFUSED,
    "value_not_renderable": Exit.REFUSED,
    "rate_limited": Exit.UNAVAILABLE,
    "headers_too_large": Exit.REFUSED,
    "voting_failed": Exit.UNAVAILABLE,
    "writing_failed": Exit.UNKNOWN,
    "unavailable": Exit.UNAVAILABLE,
    "audit_unavailable": Exit.UNAVAILABLE,
}
"""The exit code of every stable error code."""


class Failure(Exception):
    """A failure to show as ``kofn: WHAT — NEXT``, followed by one line for each of ``items``, then to exit with ``exit_code``."""

    def __init__(self, what: str, next_step: str, exit_code: int = Exit.FAILED, items: Sequence[str] = ()) -> None:
        super().__init__(what)
        self.what = what
        self.next_step = next_step
        self.exit_code = int(exit_code)
        self.items = tuple(items)

    def show(self) -> None:
        """Print it on stderr."""
        click.echo(_printable(f"kofn: {self.what} — {self.next_step}"), err=True)
        for item in self.items:
            click.echo(_printable(f"  {item}"), err=True)


def _printable(line: str) -> str:
    """Without control characters: a text from elsewhere must not steer the terminal."""
    return "".join(character if character.isprintable() else "?" for character in line)
