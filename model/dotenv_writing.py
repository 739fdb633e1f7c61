"""How a value with references in it is written once they are replaced, so that python-dotenv reads back exactly what was meant.

Ways of writing are proposed, nicest first, and python-dotenv's parser itself is asked which of them it reads right. Of a value that is
inert it need not be asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from model.dotenv_expansion import Atom, atoms, merge, without_expansion
from model.dotenv_syntax import Assignment, Quote, Target, decode, reads_back, substitute

_INERT = re.compile(r"[A-Za-z0-9_@%+=:,./\-]*")
"""What neither python-dotenv nor a shell takes for anything but itself (the set of Python's ``shlex.quote``)."""

_ESCAPES: Sequence[Callable[[str], str]] = (str, without_expansion)


def filled(assignment: Assignment, values: Mapping[Target, str]) -> list[Atom]:
    """The atoms of an assignment's value with its references replaced, so that nothing in an inserted value is an atom of its own."""
    written = atoms(assignment.text or "")
    return merge((name, substitute(part, values)) for name, part in written) if assignment.references else written


def write(content: str, assignment: Assignment, values: Mapping[Target, str]) -> str | None:
    """The token to put in place of that of ``assignment``, which stands in ``content`` and has references.

    None where it cannot be written: in ``${A:-secret(x)}`` a value with ``}`` would end the default, and python-dotenv has no
    escape for that.
    """
    before, after = content[assignment.begin : assignment.start], content[assignment.end : assignment.finish]
    expected = filled(assignment, values)
    for escape in _ESCAPES:
        pieces = [
            (decode(assignment.quote, each), each) if isinstance(each, str) else (escape(values[each.target]), None)
            for each in assignment.pieces
        ]
        text = "".join(read for read, _ in pieces)
        if atoms(text) == expected:
            if text and _INERT.fullmatch(text):
                return f"{assignment.quote}{text}{assignment.quote}"
            tokens = _tokens(assignment.quote, pieces, text)
            return next(token for token in tokens if reads_back(before + token + after, assignment.key, text))
    return None


def _tokens(quote: Quote, pieces: Sequence[tuple[str, str | None]], text: str) -> Iterator[str]:
    """Ways to write ``text``; not each of them reads back, but the last does. A piece is (as read, as it was written before)."""
    if quote:
        yield f'"{"".join(_escaped(read) if written is None else written for read, written in pieces)}"'
    else:
        if all(written is not None or _INERT.fullmatch(read) for read, written in pieces):
            yield text
        if not re.search(r"['\\\r\n]", text):
            yield f"'{text}'"
        if text.endswith("\\") and not re.search(r"\s", text):
            yield text  # python-dotenv before 1.2.3 takes a backslash before the closing quote for an escape
    yield f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
