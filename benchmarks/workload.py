"""The vault's requests as bytes, each with the one right answer to it. Values differ for every version of every secret."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from benchmarks import floor
from benchmarks.load import Request, Target

VALUE_BYTES = 1024

_decode = msgspec.json.decode


def value(name: str, version: int, size: int = VALUE_BYTES) -> str:
    """The value of a version, ``size`` ASCII characters, a multiple of 64."""
    return hashlib.sha256(f"{name}@{version}".encode()).hexdigest() * (size // 64)


def floor_get() -> Iterator[Request]:
    """The floor's route, again and again."""
    request = Request(b"GET /floor HTTP/1.1\r\nHost: floor\r\n\r\n", lambda status, body: status == 200 and _decode(body) == floor.ANSWER)
    while True:
        yield request


class Requests:
    """The requests of one caller, with values of ``value_bytes``. Each method gives the iterator of one client."""

    def __init__(self, target: Target, token: str, value_bytes: int = VALUE_BYTES) -> None:
        self._value_bytes = value_bytes
        self._head = f" HTTP/1.1\r\nHost: {target.host}\r\nAuthorization: Bearer {token}\r\n".encode()
        self._versions: dict[str, int] = {}

    @property
    def version_count(self) -> int:
        """How many versions were written, of secrets that exist."""
        return sum(self._versions.values())

    def creates(self, names: Iterable[str], created: list[str] | None = None) -> Iterator[Request]:
        """A create of each of ``names``; those that were carried out are added to ``created``."""
        for name in names:

            def check(status: int, body: bytes, name: str = name) -> bool:
                self._versions[name] = 1
                if created is not None:
                    created.append(name)
                return status == 201 and _shows(body, name, 1)

            yield self._with_body(b"POST /api/v1/secrets", {"name": name, "value": self._value(name, 1)}, check)

    def updates(self, names: Iterable[str]) -> Iterator[Request]:
        """An update of each of ``names``, which no other client may update at the time."""
        for name in names:
            version = self._versions[name] + 1

            def check(status: int, body: bytes, name: str = name, version: int = version) -> bool:
                self._versions[name] = version
                return status == 200 and _shows(body, name, version)

            yield self._with_body(f"PUT /api/v1/secrets/{name}".encode(), {"value": self._value(name, version)}, check)

    def gets(self, names: Iterable[str]) -> Iterator[Request]:
        """A get of the latest version of each of ``names``, which nobody may update at the time."""
        for name in names:

            def check(status: int, body: bytes, name: str = name) -> bool:
                version = self._versions[name]
                return status == 200 and _shows(body, name, version, self._value(name, version))

            yield Request(b"GET /api/v1/secrets/%b%b\r\n" % (name.encode(), self._head), check)

    def deletes(self, names: Iterable[str]) -> Iterator[Request]:
        """A delete of each of ``names``."""
        for name in names:

            def check(status: int, body: bytes, name: str = name) -> bool:
                del self._versions[name]
                return status == 204 and not body

            yield Request(b"DELETE /api/v1/secrets/%b%b\r\n" % (name.encode(), self._head), check)

    def histories(self, names: Iterable[str]) -> Iterator[Request]:
        """The history of each of ``names``, which nobody may update at the time."""
        for name in names:

            def check(status: int, body: bytes, name: str = name) -> bool:
                found = _decode(body)["versions"] if status == 200 else []
                wanted = [(name, version) for version in range(1, self._versions[name] + 1)]
                return [(each["name"], each["version"]) for each in found] == wanted

            yield Request(b"GET /api/v1/history/%b%b\r\n" % (name.encode(), self._head), check)

    def batch(self, names: Sequence[str]) -> Iterator[Request]:
        """The latest version of all of ``names`` in one request, again and again."""

        def check(status: int, body: bytes) -> bool:
            found = _decode(body)["secrets"] if status == 200 else []
            return [(each["name"], each["value"]) for each in found] == [(name, self._latest(name)) for name in names]

        request = self._with_body(b"POST /api/v1/batch/read", {"names": names}, check)
        while True:
            yield request

    def env(self, names: Sequence[str]) -> Iterator[Request]:
        """A .env file with a reference to each of ``names``, expanded, again and again."""
        content = "".join(f"KEY_{number}=secret({name})\n" for number, name in enumerate(names))

        def check(status: int, body: bytes) -> bool:
            wanted = {f"KEY_{number}": self._latest(name) for number, name in enumerate(names)}
            return status == 200 and _decode(body)["variables"] == wanted

        request = self._with_body(b"POST /api/v1/env", {"content": content}, check)
        while True:
            yield request

    def encrypt(self, names: Iterator[str], count: int) -> Iterator[Request]:
        """A .env file with so many ``enc(NAME)``, of new ``names``, again and again."""
        while True:
            chosen = list(itertools.islice(names, count))
            content = "".join(f"KEY_{number}=enc({name})\n" for number, name in enumerate(chosen))

            def check(status: int, body: bytes, chosen: list[str] = chosen) -> bool:
                self._versions |= dict.fromkeys(chosen, 1)
                return status == 200 and _decode(body)["created"] == chosen

            values = {name: self._value(name, 1) for name in chosen}
            yield self._with_body(b"POST /api/v1/env", {"content": content, "values": values, "expand": False}, check)

    def status(self, degraded: list[bool]) -> Iterator[Request]:
        """Asks once whether the vault is degraded; the answer is added to ``degraded``."""

        def check(status: int, body: bytes) -> bool:
            degraded.append(_decode(body)["degraded"])
            return status == 200

        yield Request(b"GET /api/v1/status%b\r\n" % self._head, check)

    def _value(self, name: str, version: int) -> str:
        return value(name, version, self._value_bytes)

    def _latest(self, name: str) -> str:
        return self._value(name, self._versions[name])

    def _with_body(self, line: bytes, content: Mapping[str, object], check: Callable[[int, bytes], bool]) -> Request:
        body = json.dumps(content).encode()
        headers = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        return Request(line + self._head + headers + body, check)


def _shows(body: bytes, name: str, version: int, text: str | None = None) -> bool:
    """Whether ``body`` is that version of ``name``, the latest, with the value ``text``."""
    found = _decode(body)
    return (found["name"], found["version"], found["valid_to"], found.get("value")) == (name, version, None, text)
