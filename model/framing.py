"""How lists travel between processes: each is the body of one HTTP/1.1 request, and its answer the body of another (PROTO-3).

Here are only the bytes; whoever has a socket sends and receives them. Both ends are ours, so the reader is strict: an answer says how long
it is, once and in digits, and nothing follows it (RFC 9112, sections 6.3 and 11.2). Anything else cannot be told from an attack.
"""

from __future__ import annotations

import re
from typing import NamedTuple

HEAD_BYTES = 16_384
"""The longest head of an answer."""

_STATUS = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2})(?: [^\r\n]*)?\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,15})[ \t]*(?=\r\n)", re.IGNORECASE)
_ENDS = re.compile(rb"\r\nconnection:[ \t]*close[ \t]*\r\n", re.IGNORECASE)
_CODED = re.compile(rb"\r\ntransfer-encoding[ \t]*:", re.IGNORECASE)


class Answer(NamedTuple):
    """A whole answer; ``keeps``: its connection may carry another request."""

    status: int
    body: bytes
    keeps: bool


def request(path: str, host: str, body: bytes) -> bytes:
    """A request as it goes onto the wire."""
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/msgpack\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def answer(received: bytearray, limit_bytes: int) -> Answer | None:
    """The answer that ``received`` begins with; None while more of it has to come.

    Raises ValueError for what is no answer of ours, and for a body of more than ``limit_bytes``.
    """
    end = received.find(b"\r\n\r\n", 0, HEAD_BYTES)
    if end < 0:
        if len(received) >= HEAD_BYTES:
            raise ValueError("an endless head")
        return None
    head = bytes(received[: end + 4])
    status, lengths = _STATUS.match(head), _LENGTH.findall(head)
    if status is None or len(lengths) != 1 or _CODED.search(head):
        raise ValueError("no answer of ours")
    size = int(lengths[0])
    if size > limit_bytes:
        raise ValueError("a body that is too long")
    missing = end + 4 + size - len(received)
    if missing < 0:
        raise ValueError("more than an answer")
    return None if missing else Answer(int(status[1]), bytes(received[end + 4 :]), not _ENDS.search(head))
