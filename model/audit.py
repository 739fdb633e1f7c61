"""The audit log's chain: lines of JSON of which each holds the hash of the one before, so that none can be changed, moved or taken out.

A line is one JSON object. Its first two members are ``seq``, which counts from 1 without gaps, and ``prev``, the hash of the line before
(64 zeros before the first); its last is ``hash``, SHA-256 in hex over the bytes of the line as it would be without that member. What the
members between mean is for the writer to say. The chain goes on from file to file.

What a chain cannot show by itself: that lines at its end were cut off, or that somebody who can write the file made all of it anew. Both
show against a hash that was noted elsewhere.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

import msgspec

_LINE = re.compile(rb'(\{"seq":([1-9][0-9]{0,17}),"prev":"([0-9a-f]{64})".*),"hash":"([0-9a-f]{64})"\}\n', re.DOTALL)


class ChainError(ValueError):
    """A line is damaged or does not follow; the text says how, and nothing of what the line holds."""


class Head(msgspec.Struct, frozen=True):
    """Where a chain stands: number and hash of its last line."""

    seq: int
    hash: str


GENESIS = Head(0, "0" * 64)
"""Before the first line."""


def append(head: Head, members: Mapping[str, object]) -> tuple[Head, bytes]:
    """The line that holds ``members`` after ``head``, with its newline, and the head that it makes."""
    assert members.keys().isdisjoint({"seq", "prev", "hash"}), "these are the chain's own"
    body = msgspec.json.encode({"seq": head.seq + 1, "prev": head.hash, **members})
    digest = hashlib.sha256(body).hexdigest()
    return Head(head.seq + 1, digest), b'%b,"hash":"%b"}\n' % (body[:-1], digest.encode())


def before(line: bytes) -> Head:
    """The head that ``line`` (with its newline) says it follows. Raises ChainError for a damaged line."""
    return _read(line)[0]


def follow(head: Head, line: bytes) -> Head:
    """The head after ``line`` (with its newline), if that is intact and follows ``head``. Raises ChainError otherwise."""
    previous, after = _read(line)
    if previous != head:
        raise ChainError(f"line {after.seq} does not follow line {head.seq}")
    return after


def _read(line: bytes) -> tuple[Head, Head]:
    """The heads before and after a line that is intact."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise ChainError("not a line of an audit log")
    body, seq, previous, digest = match[1] + b"}", int(match[2]), match[3].decode(), match[4].decode()
    if hashlib.sha256(body).hexdigest() != digest:
        raise ChainError(f"line {seq} was changed")
    return Head(seq - 1, previous), Head(seq, digest)
