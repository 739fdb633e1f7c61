"""Requests, read strictly: bodies, query parameters and headers become typed values or a clear refusal.

Whatever is not exactly what ``specs/openapi.yaml`` allows is refused, and no refusal repeats what was sent.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable
from typing import TypeVar

import msgspec
from werkzeug.wrappers import Request

from model.errors import InvalidRequest, LengthRequired, TooLarge, UnsupportedMediaType
from model.operation import Encoding, NewValue, Retry, SecretId

MAX_VERSION = 10**15 - 1
"""The largest version that can be asked for: fifteen digits, which every JSON reader reads exactly."""

Body = TypeVar("Body")

_CONTENT_TYPE = re.compile(r"application/json[ \t]*(;[ \t]*charset=\"?utf-8\"?)?[ \t]*", re.IGNORECASE)
_NUMBER = re.compile(r"[1-9][0-9]{0,14}")
_ETAG = re.compile(r'"([1-9][0-9]{0,14})"')
_IDEMPOTENCY_KEY = re.compile(r"[\x20-\x7e]{1,255}")


def body(request: Request, kind: type[Body]) -> Body:
    """The JSON body as a ``kind``. Raises UnsupportedMediaType, LengthRequired, TooLarge or InvalidRequest.

    msgspec refuses unknown and missing fields, wrong types, NaN, lone surrogates, bytes that are not UTF-8 and anything after the value.
    It takes duplicate keys, so those are looked for afterwards, by a reader that then meets only shallow and valid JSON.
    """
    data = _raw_body(request)
    try:
        value = msgspec.json.decode(data, type=kind)
        json.loads(data, object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("The body must be one JSON object with exactly the documented fields") from error
    return value


def _raw_body(request: Request) -> bytes:
    """The body's bytes, complete."""
    if _CONTENT_TYPE.fullmatch(request.headers.get("Content-Type", "")) is None or "Content-Encoding" in request.headers:
        raise UnsupportedMediaType("The body must be application/json in UTF-8, not compressed")
    if request.content_length is None or "Transfer-Encoding" in request.headers:
        raise LengthRequired
    limit = request.max_content_length
    if limit is not None and request.content_length > limit:
        raise TooLarge(f"The body may have {limit} bytes at most")
    try:
        data = request.get_data(cache=False)
    except OSError as error:
        raise InvalidRequest("The body did not arrive in time") from error
    if len(data) != request.content_length:
        raise InvalidRequest("The body is shorter than its Content-Length")
    return data


def no_body(request: Request) -> None:
    """Refuse a body where none is read, so that nobody believes that it was."""
    if request.content_length or "Transfer-Encoding" in request.headers:
        raise InvalidRequest("This request takes no body")


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise ValueError("duplicate key")
    return mapping


def value(text: str, encoding: Encoding, limit: int) -> bytes:
    """The bytes that ``text`` writes in ``encoding``. Raises InvalidRequest, or TooLarge above ``limit`` bytes.

    Base64 is strict and canonical (RFC 4648, sections 3.3 and 3.5): the one text that the bytes encode to.
    """
    data = text.encode()
    if encoding == "base64":
        try:
            data = base64.b64decode(text.encode("ascii"), validate=True)
        except (binascii.Error, UnicodeEncodeError) as error:
            raise InvalidRequest("The value is not base64") from error
        if base64.b64encode(data).decode() != text:
            raise InvalidRequest("The value is not canonical base64")
    if len(data) > limit:
        raise TooLarge(f"A value may have {limit} bytes at most")
    return data


def query(request: Request, *known: str) -> dict[str, str]:
    """The query parameters, each once and each one of ``known``. Raises InvalidRequest."""
    if not request.query_string:
        return {}
    found = dict(request.args.lists())
    if any(name not in known or len(values) != 1 for name, values in found.items()):
        raise InvalidRequest("A query parameter is unknown or repeated" if known else "This request takes no query parameters")
    return {name: values[0] for name, values in found.items()}


def number(text: str, limit: int = MAX_VERSION) -> int:
    """A whole number from 1 to ``limit`` in plain decimal digits. Raises InvalidRequest."""
    if _NUMBER.fullmatch(text) is None or int(text) > limit:
        raise InvalidRequest(f"A number must be 1 to {limit}, in decimal digits")
    return int(text)


def if_match(request: Request) -> int | None:
    """The version that an update expects; None without the header, and for ``*``, which any existing version satisfies.

    RFC 9110, section 13.1.1, with one strong entity tag. Raises InvalidRequest for lists, weak tags and anything else.
    """
    header = request.headers.get("If-Match")
    if header is None or header == "*":
        return None
    match = _ETAG.fullmatch(header)
    if match is None:
        raise InvalidRequest('If-Match must be one strong entity tag such as "3", or *')
    return number(match[1])


def no_if_match(request: Request) -> None:
    """Refuse a precondition that would be ignored."""
    if "If-Match" in request.headers:
        raise InvalidRequest("Only an update takes If-Match")


def retry(
    request: Request, operation: str, caller: tuple[str, str], secrets: Iterable[NewValue | SecretId], expected: int | None = None
) -> Retry | None:
    """The digests that make a retry recognisable (SEM-20); None without the header ``Idempotency-Key``. Raises InvalidRequest.

    ``caller`` is namespace and principal: nobody meets another's keys. The digest of the request covers the operation, each name
    with its encoding, and the expected version, never a value.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if _IDEMPOTENCY_KEY.fullmatch(key) is None:
        raise InvalidRequest("An Idempotency-Key is 1 to 255 printable ASCII characters")
    parts = sorted((item.secret.name, item.encoding) if isinstance(item, NewValue) else (item.name, "") for item in secrets)
    return Retry(_digest("key", [*caller, key]), _digest("request", [operation, parts, expected]))


def _digest(purpose: str, content: object) -> bytes:
    """SHA-256, 32 bytes, over an unambiguous encoding of ``content``."""
    return hashlib.sha256(msgspec.msgpack.encode(["kofn/retry/1", purpose, content])).digest()
