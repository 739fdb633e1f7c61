"""Answers: what nodes found, in the words of the public API."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from urllib.parse import quote

import msgspec
from flask import Response

from gateway.problem import from_code
from model.errors import SecretNotFound, VersionNotFound
from model.operation import Failed, Found, Result, Version
from model.version import format_time

MISSING = frozenset({SecretNotFound.code, VersionNotFound.code})


def json(content: object, status: int = 200, headers: Mapping[str, str] = MappingProxyType({})) -> Response:
    """``content`` as a JSON answer."""
    return Response(msgspec.json.encode(content), status, headers, content_type="application/json")


def version(name: str, found: Version) -> dict[str, object]:
    """A version without its value."""
    return {
        "name": name,
        "version": found.version,
        "valid_from": format_time(found.valid_from),
        "valid_to": None if found.valid_to is None else format_time(found.valid_to),
    }


def secret(name: str, found: Found) -> dict[str, object]:
    """A version with its value, in the encoding that it was written with."""
    value = found.value
    assert value is not None, "a revealing read carries a value"
    text = value.decode() if found.encoding == "utf-8" else base64.b64encode(value).decode()
    return {**version(name, found.version), "value": text, "encoding": found.encoding}


def etag(found: Version) -> str:
    """The strong entity tag of a version."""
    return f'"{found.version}"'


def location(name: str) -> str:
    """Where the secret is read."""
    return f"/api/v1/secrets/{quote(name)}"


def checked(result: Result) -> Result:
    """``result``, unless it is a failure, which is raised."""
    if isinstance(result, Failed):
        raise from_code(result.code, result.detail, result.names)
    return result


def all_found(names: Iterable[str], results: Iterable[Result]) -> list[Found]:
    """Every result as found, or the error of the whole: what hinders reading first, else all missing names at once.

    Missing secrets make it SecretNotFound; VersionNotFound is raised only where all the secrets exist.
    """
    pairs = list(zip(names, results, strict=True))
    failures = [(name, result) for name, result in pairs if isinstance(result, Failed)]
    for _, failure in failures:
        if failure.code not in MISSING:
            checked(failure)
    if failures:
        kind = SecretNotFound if any(failure.code == SecretNotFound.code for _, failure in failures) else VersionNotFound
        raise kind(names=tuple(name for name, _ in failures))
    return [result for _, result in pairs if isinstance(result, Found)]
