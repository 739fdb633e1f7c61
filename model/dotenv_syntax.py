"""Where things stand in a .env file: one ``Assignment`` for each ``KEY=value``, with the references inside its value.

python-dotenv's own parser decides what a line, a key and a value are, so that kofn and the program that reads the file agree. This module
finds the spans it does not report: the value's token, and ``secret(...)`` and ``enc(...)`` in it. It raises nothing: what is wrong with
a line is returned as a ``Problem``, so that all of them can be named at once. Texts are held, never shown.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from io import StringIO
from typing import Literal

import msgspec
from dotenv.parser import parse_stream

from model.dotenv_expansion import atoms
from model.errors import InvalidRequest
from model.name import check_name

Quote = Literal["", "'", '"']
Target = tuple[str, int | None]
"""What a reference refers to: a name, and a version or the latest one."""

_NEWLINE = re.compile(r"\r\n|\n|\r")
_UP_TO_VALUE = re.compile(r"\s*(?:export[^\S\r\n]+)?(?:'[^']+'|[^=\#\s]+)[^\S\r\n]*=[^\S\r\n]*")
_QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""", re.DOTALL)
_ESCAPE = re.compile(r"\\[\\'\"abfnrtv]")
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_MARK = re.compile(r"(?:secret|enc)\(")
_REFERENCE = re.compile(r"secret\(([^()@]+)(?:@([1-9][0-9]{0,17}))?\)")
_ENCRYPTION = re.compile(r"enc\(([^(),]+)(?:, ?(.*))?\)", re.DOTALL)

_LOOKALIKE = "text that only looks like a reference belongs in single quotes"


class Problem(msgspec.Struct, frozen=True):
    """What is wrong in one line (from 1), in words that repeat nothing of it; ``names`` are the valid names concerned."""

    line: int
    text: str
    names: tuple[str, ...] = ()


class Reference(msgspec.Struct, frozen=True):
    """``secret(name)`` or ``secret(name@version)`` in the value of ``key``, standing in ``line`` (from 1)."""

    name: str
    version: int | None
    key: str
    line: int

    @property
    def target(self) -> Target:
        return self.name, self.version


class Encryption(msgspec.Struct, frozen=True):
    """``key=enc(name)`` or, with ``inline_value``, ``key=enc(name, plaintext)``, standing in ``line`` (from 1)."""

    name: str
    inline_value: str | None
    key: str
    line: int

    def __repr__(self) -> str:
        return f"Encryption(name={self.name!r}, key={self.key!r}, line={self.line!r})"


class Assignment(msgspec.Struct, frozen=True):
    """One ``KEY=value``: offsets are into the file's content, ``line`` counts from 1.

    ``text`` is the value as python-dotenv reads it, before it expands ``${...}``; None for a key without ``=``. ``start`` to ``end`` is
    the value's token, ``quote`` included, inside the whole statement from ``begin`` to ``finish``. ``pieces`` is what stands between
    the quotes, as it is written, cut into text and ``references``.
    """

    key: str
    line: int
    text: str | None
    quote: Quote
    begin: int
    start: int
    end: int
    finish: int
    pieces: tuple[str | Reference, ...] = ()
    references: tuple[Reference, ...] = ()
    encryption: Encryption | None = None

    def __repr__(self) -> str:
        return f"Assignment(key={self.key!r}, line={self.line!r})"


class _Lines:
    """Line numbers, from 1, of offsets into a text."""

    def __init__(self, content: str) -> None:
        self._starts = [newline.end() for newline in _NEWLINE.finditer(content)]

    def at(self, offset: int) -> int:
        return bisect_right(self._starts, offset) + 1


def scan(content: str) -> Iterator[Assignment | Problem]:
    """Every assignment of a .env file and every problem in it, in order. A byte order mark at its beginning belongs to no line."""
    lines = _Lines(content)
    begin = len(content) - len(content.removeprefix("\ufeff"))
    if content.startswith("\ufeff", begin):
        yield Problem(1, "there is more than one byte order mark")
        return
    for binding in parse_stream(StringIO(content[begin:])):
        finish = begin + len(binding.original.string)
        line = lines.at(finish - len(binding.original.string.lstrip()))  # blank lines before it are part of a statement
        if binding.error:
            yield Problem(line, _unreadable(content, begin, finish))
        elif binding.key is not None and binding.value is None:
            yield Assignment(binding.key, line, None, "", begin, finish, finish, finish)
        elif binding.key is not None and binding.value is not None:
            yield _assignment(content, lines, binding.key, binding.value, begin, finish)
        begin = finish


def decode(quote: Quote, raw: str) -> str:
    """What python-dotenv reads for ``raw``, written between double quotes or without quotes."""
    return _ESCAPE.sub(lambda escape: _ESCAPED.get(escape[0][1], escape[0][1]), raw) if quote else raw


def substitute(text: str, values: Mapping[Target, str]) -> str:
    """``text`` with each reference in it replaced by its value."""
    return _REFERENCE.sub(lambda reference: values[_target(reference)], text)


def reads_back(statement: str, key: str, text: str) -> bool:
    """Whether python-dotenv reads ``statement`` as just this key with just this value."""
    bindings = list(parse_stream(StringIO("\n" + statement)))  # the newline keeps a BOM from being taken for the file's
    return [(binding.key, binding.value, binding.error) for binding in bindings] == [(key, text, False)]


def _unreadable(content: str, begin: int, finish: int) -> str:
    """What is wrong with a statement that python-dotenv cannot read."""
    up_to_value = _UP_TO_VALUE.match(content, begin, finish)
    if up_to_value is None or not content.startswith(("'", '"'), up_to_value.end(), finish):
        return "this is neither KEY=value, a comment nor blank"
    closed = _QUOTED.match(content, up_to_value.end(), finish)
    if closed is None:
        return "a quote is not closed"
    return "something other than a comment follows a closing quote, or a quote is not closed where it should be"


def _assignment(content: str, lines: _Lines, key: str, text: str, begin: int, finish: int) -> Assignment | Problem:
    up_to_value = _UP_TO_VALUE.match(content, begin, finish)
    assert up_to_value is not None, "python-dotenv found a key and a value here"
    start = up_to_value.end()
    quoted = _QUOTED.match(content, start, finish)
    quote: Quote = "" if quoted is None else "'" if quoted[0][0] == "'" else '"'
    end = start + len(text) if quoted is None else quoted.end()
    inside = start + len(quote)
    raw = content[inside : end - len(quote)]
    plain = Assignment(key, lines.at(start), text, quote, begin, start, end, finish, (raw,))
    if quote == "'":
        return plain
    # An escape is no part of a reference: "\nsecret(x)" is a newline and a reference. Masked at the same length, offsets hold.
    masked = _ESCAPE.sub("\0\0", raw) if quote else raw
    mark = _MARK.search(masked)
    if mark is None:
        return plain
    if masked.startswith("enc("):
        return _encryption(plain, raw, masked)
    pieces: list[str | Reference] = []
    references: list[Reference] = []
    done = 0
    while mark is not None:
        line = lines.at(inside + mark.start())
        if mark[0] == "enc(":
            return Problem(line, f"enc(NAME) must be the whole value; {_LOOKALIKE}")
        reference = _REFERENCE.match(masked, mark.start())
        if reference is None or not _is_name(reference[1]):
            return Problem(line, f"`secret(` must be followed by a NAME or NAME@VERSION and `)`; {_LOOKALIKE}")
        references.append(Reference(*_target(reference), key, line))
        pieces += (raw[done : mark.start()], references[-1])
        done = reference.end()
        mark = _MARK.search(masked, done)
    if any(variable is not None and _MARK.search(variable) for variable, _ in atoms(text)):
        return Problem(plain.line, "a reference cannot be the name of a ${variable}")
    return msgspec.structs.replace(plain, pieces=(*pieces, raw[done:]), references=tuple(references))


def _encryption(plain: Assignment, raw: str, masked: str) -> Assignment | Problem:
    whole = _ENCRYPTION.fullmatch(masked)
    if whole is None or not _is_name(whole[1]):
        return Problem(plain.line, f"`enc(` must be followed by a NAME, or a NAME, a comma and a plaintext, and `)`; {_LOOKALIKE}")
    inline_value = None if whole[2] is None else decode(plain.quote, raw[whole.start(2) : whole.end(2)])
    return msgspec.structs.replace(plain, encryption=Encryption(whole[1], inline_value, plain.key, plain.line))


def _target(reference: re.Match[str]) -> Target:
    return reference[1], None if reference[2] is None else int(reference[2])


def _is_name(text: str) -> bool:
    try:
        check_name(text)
    except InvalidRequest:
        return False
    return True
