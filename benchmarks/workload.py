"""The vault's requests as bytes, each with the one right answer to it. Values are 1 KiB, different for every version of every secret."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from benchmarks import floor
from benchmarks.load import Request, Target

VALUE_BYTES = 1024

_decode = msgspec.json.decode


def value(name: str, version: int) -> str:
    """The value of a version, 1024 ASCII characters."""
    return hashlib.sha256(f"{name}@{version}".encode()).hexdigest() * (VALUE_BYTES // 64)


def floor_get() -> Iterator[Request]:
    """The floor's route, again and again."""
    request = Request(b"GET /floor HTTP/1.1\r\nHost: floor\r\n\r\n", lambda status, body: status == 200 and _decode(body) == floor.ANSWER)
    while True:
        yield request


class Requests:
    """The requests of one caller. Each method gives the iterator of one client."""

    def __init__(self, target: Target, token: str) -> None:
        self._head = f" HTTP/1.1\r\nHost: {target.host}\r\nAuthorization: Bearer {token}\r\n".encode()
        self._versions: dict[str, int] = {}

    def creates(self, names: Iterable[str], created: list[str] | None = None) -> Iterator[Request]:
        """A create of each of ``names``; those that were carried out are added to ``created``."""
        for name in names:

            def check(status: int, body: bytes, name: str = name) -> bool:
                self._versions[name] = 1
                if created is not None:
                    created.append(name)
                return status == 201 and _shows(body, name, 1)

            yield self._with_body(b"POST /api/v1/secrets", {"name": name, "value": value(name, 1)}, check)

    def updates(self, names: Iterable[str]) -> Iterator[Request]:
        """An update of each of ``names``, which no other client may update at the time."""
        for name in names:
            version = self._versions[name] + 1

            def check(status: int, body: bytes, name: str = name, version: int = version) -> bool:
                self._versions[name] = version
                return status == 200 and _shows(body, name, version)

            yield self._with_body(f"PUT /api/v1/secrets/{name}".encode(), {"value": value(name, version)}, check)

    def gets(self, names: Iterable[str]) -> Iterator[Request]:
        """A get of the latest version of each of ``names``, which nobody may update at the time."""
        for name in names:

            def check(status: int, body: bytes, name: str = name) -> bool:
                version = self._versions[name]
                return status == 200 and _shows(body, name, version, value(name, version))

            yield Request(b"GET /api/v1/secrets/%b%b\r\n" % (name.encode(), self._head), check)

    def deletes(self, names: Iterable[str]) -> Iterator[Request]:
        """A delete of each of ``names``."""
        for name in names:
            yield Request(b"DELETE /api/v1/secrets/%b%b\r\n" % (name.encode(), self._head), lambda status, body: status == 204 and not body)

    def batch(self, names: Sequence[str]) -> Iterator[Request]:
        """The latest version of all of ``names`` in one request, again and again."""

        def check(status: int, body: bytes) -> bool:
            found = _decode(body)["secrets"] if status == 200 else []
            return [(each["name"], each["value"]) for each in found] == [(name, value(name, self._versions[name])) for name in names]

        request = self._with_body(b"POST /api/v1/batch/read", {"names": names}, check)
        while True:
            yield request

    def env(self, names: Sequence[str]) -> Iterator[Request]:
        """A .env file with a reference to each of ``names``, expanded, again and again."""
        content = "".join(f"KEY_{number}=secret({name})\n" for number, name in enumerate(names))

        def check(status: int, body: bytes) -> bool:
            wanted = {f"KEY_{number}": value(name, self._versions[name]) for number, name in enumerate(names)}
            return status == 200 and _decode(body)["variables"] == wanted

        request = self._with_body(b"POST /api/v1/env", {"content": content}, check)
        while True:
            yield request

    def _with_body(self, line: bytes, content: Mapping[str, object], check: Callable[[int, bytes], bool]) -> Request:
        body = json.dumps(content).encode()
        headers = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        return Request(line + self._head + headers + body, check)


def _shows(body: bytes, name: str, version: int, text: str | None = None) -> bool:
    """Whether ``body`` is that version of ``name``, the latest, with the value ``text``."""
    found = _decode(body)
    return (found["name"], found["version"], found["valid_to"], found.get("value")) == (name, version, None, text)
