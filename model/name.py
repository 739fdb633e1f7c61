"""The grammar of what callers name: secrets, prefixes of secrets' names, and namespaces.

A name is one or more segments joined by ``/``; a segment is ``[A-Za-z0-9_][A-Za-z0-9_.-]*``; the whole is at most 255 bytes. As no
segment can begin with a dot, ``.`` and ``..`` are never segments, and no name is a hidden file or leaves a folder. Names are ASCII,
so there are no look-alikes and no normal forms, and they sort by code point. A namespace is ``[a-z0-9][a-z0-9-]{0,62}``.

Each function returns its argument when it obeys, and raises InvalidRequest, which does not repeat the text, when it does not.
"""

from __future__ import annotations

import re

from model.errors import InvalidRequest

MAX_NAME_BYTES = 255

_SEGMENT = r"[A-Za-z0-9_][A-Za-z0-9_.\-]*"
_NAME = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")
_PREFIX = re.compile(rf"(?:{_SEGMENT}/)*(?:{_SEGMENT})?")
_NAMESPACE = re.compile(r"[a-z0-9][a-z0-9\-]{0,62}")

_SEGMENT_RULE = "letters, digits, '_', '.' and '-', beginning with a letter, a digit or '_'"


def check_name(text: str) -> str:
    """``text``, if it can name a secret."""
    if not isinstance(text, str) or len(text) > MAX_NAME_BYTES or _NAME.fullmatch(text) is None:
        raise InvalidRequest(f"A name must be 1 to {MAX_NAME_BYTES} characters: segments joined by '/', each of {_SEGMENT_RULE}")
    return text


def check_prefix(text: str) -> str:
    """``text``, if it is empty or some name begins with it: a name, a name and ``/``, or the first part of either."""
    if isinstance(text, str) and _PREFIX.fullmatch(text) is not None and len(text) + text.endswith("/") <= MAX_NAME_BYTES:
        return text
    raise InvalidRequest(f"A prefix must be the beginning of a name: segments joined by '/', each of {_SEGMENT_RULE}")


def check_namespace(text: str) -> str:
    """``text``, if it can be a namespace."""
    if not isinstance(text, str) or _NAMESPACE.fullmatch(text) is None:
        raise InvalidRequest("A namespace must be 1 to 63 lower-case letters, digits and '-', not beginning with '-'")
    return text
