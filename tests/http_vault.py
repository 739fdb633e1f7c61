"""A running vault as its callers see it: the public API over HTTPS, plainly and in the words of ``model.operation``.

``Api`` asks and returns what came back. ``HttpVault`` turns operations into requests and answers into results, so that the oracle can
judge a real cluster.
"""

from __future__ import annotations

import base64
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from model.operation import (
    Create,
    Delete,
    Deleted,
    Failed,
    Found,
    History,
    List,
    Names,
    NewValue,
    NodeStatus,
    Operation,
    Read,
    Result,
    Retry,
    SecretId,
    Status,
    Update,
    Version,
    Versions,
    Written,
)
from model.secret import Write
from model.version import format_time, parse_time

DATING_SECONDS = 30.0


@dataclass(frozen=True)
class Answer:
    """One answer. ``seconds`` is how long it took."""

    status: int
    body: dict[str, Any] = field(repr=False)
    headers: dict[str, str]
    seconds: float

    @property
    def code(self) -> str:
        """The error's stable code; the empty string for a success."""
        return str(self.body.get("code", ""))

    @property
    def told(self) -> tuple[int, str, str | None, str | None]:
        """What a failed request says of itself: status, code, phase, outcome."""
        return self.status, self.code, self.body.get("phase"), self.body.get("outcome")


class Api:
    """The API of one gateway for one token, for any number of threads. Nothing is retried."""

    def __init__(self, url: str, token: str, ca: Path) -> None:
        self._url = f"{url}/api/v1"
        self._token = token
        self._ca = str(ca)
        self._local = threading.local()

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        if_match: int | None = None,
        namespace: str | None = None,
        params: dict[str, str] | None = None,
    ) -> Answer:
        """One request. Raises requests.ConnectionError where there is no answer."""
        wanted = {"Idempotency-Key": key, "If-Match": None if if_match is None else f'"{if_match}"', "Kofn-Namespace": namespace}
        headers = {name: value for name, value in wanted.items() if value is not None}
        begun = time.monotonic()
        response = self._session.request(
            method, self._url + path, json=body, headers=headers, params=params, timeout=(5, 60), allow_redirects=False
        )
        content = response.json() if response.content else {}
        return Answer(response.status_code, content, dict(response.headers), time.monotonic() - begun)

    def create(self, name: str, value: str, *, key: str | None = None) -> Answer:
        return self.ask("POST", "/secrets", {"name": name, "value": value}, key=key)

    def update(self, name: str, value: str, *, key: str | None = None, if_match: int | None = None) -> Answer:
        return self.ask("PUT", f"/secrets/{quote(name)}", {"value": value}, key=key, if_match=if_match)

    def get(self, name: str, **params: str) -> Answer:
        return self.ask("GET", f"/secrets/{quote(name)}", params=params)

    def history(self, name: str) -> Answer:
        return self.ask("GET", f"/history/{quote(name)}")

    def delete(self, name: str, *, key: str | None = None) -> Answer:
        return self.ask("DELETE", f"/secrets/{quote(name)}", key=key)

    def names(self, prefix: str = "") -> list[str]:
        """Every name with this prefix, page by page."""
        found: list[str] = []
        params = {"prefix": prefix, "limit": "1000"}
        while True:
            answer = self.ask("GET", "/secrets", params=params)
            assert answer.status == 200, answer.told
            found += answer.body["names"]
            if answer.body["next"] is None:
                return found
            params["after"] = answer.body["next"]

    def batch(self, names: list[str]) -> Answer:
        return self.ask("POST", "/batch/read", {"names": names})

    def env(self, content: str, values: dict[str, str] | None = None, *, key: str | None = None) -> Answer:
        return self.ask("POST", "/env", {"content": content, "values": values or {}}, key=key)

    def status(self) -> Answer:
        return self.ask("GET", "/status")

    @property
    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            session = requests.Session()
            session.trust_env = False
            session.verify = self._ca
            session.headers["Authorization"] = f"Bearer {self._token}"
            self._local.session = session
        found: requests.Session = self._local.session
        return found


class Undated(Exception):
    """A group's retry was acknowledged, but when its secrets were created cannot be learnt: they may have been deleted meanwhile."""


class HttpVault:
    """Operations over ``api``, on names below ``prefix`` (empty, or ending in ``/``), each namespace as the header."""

    def __init__(self, api: Api, prefix: str = "") -> None:
        self._api = api
        self._prefix = prefix
        self._asked: dict[Retry, Written | None] = {}

    def perform(self, operation: Operation) -> Result | None:
        """The result; None where the connection broke. Raises Undated."""
        try:
            match operation:
                case Create() | Update() | Delete():
                    return self._write(operation)
                case List():
                    return self._list(operation)
                case Read(secret=secret, version=version, at=at):
                    params = {"version": str(version)} if version is not None else {"at": format_time(at)} if at is not None else {}
                    return self._found(operation, self._ask("GET", "secrets", secret, params=params))
                case History(secret=secret):
                    answer = self._ask("GET", "history", secret)
                    return self._failure(answer) or Versions(tuple(map(_version, answer.body["versions"])))
                case Status():
                    answer = self._api.status()
                    return self._failure(answer) or NodeStatus("gateway", int(answer.body["reads"]), 1, 1)
        except requests.ConnectionError:
            return None

    def _write(self, operation: Write) -> Result:
        key = None if operation.retry is None else operation.retry.key.hex()
        match operation:
            case Create(secrets=(new,)):
                body = {"name": self._prefix + new.secret.name, **_value(new)}
                answer = self._api.ask("POST", "/secrets", body, key=key, namespace=new.secret.namespace)
            case Create():
                return self._create_group(operation, key)
            case Update(secret=new, expected_version=expected):
                answer = self._ask("PUT", "secrets", new.secret, _value(new), key=key, if_match=expected)
            case Delete(secret=secret):
                answer = self._ask("DELETE", "secrets", secret, key=key)
                return self._failure(answer) or Deleted()
        return self._failure(answer) or Written((_version(answer.body),))

    def _create_group(self, operation: Create, key: str | None) -> Result:
        """A .env file that encrypts each of the values. Its answer has no times, so they are read afterwards."""
        names = {f"NAME_{number}": self._prefix + new.secret.name for number, new in enumerate(operation.secrets)}
        content = "".join(f"{variable}=enc({name})\n" for variable, name in names.items())
        values = {self._prefix + new.secret.name: new.value.decode() for new in operation.secrets}
        body = {"content": content, "values": values}
        first_time = operation.retry is None or operation.retry not in self._asked
        if operation.retry is not None:
            self._asked.setdefault(operation.retry, None)
        answer = self._api.ask("POST", "/env", body, key=key, namespace=operation.secrets[0].secret.namespace)
        failure = self._failure(answer)
        if failure is not None:
            return failure
        known = None if operation.retry is None else self._asked[operation.retry]
        written = known or Written(tuple(self._dated(new, first_time=first_time) for new in operation.secrets))
        if operation.retry is not None:
            self._asked[operation.retry] = written
        return written

    def _dated(self, new: NewValue, *, first_time: bool) -> Version:
        """Version 1 of what was just acknowledged as created, as the answer to its creation would tell it."""
        deadline = time.monotonic() + DATING_SECONDS
        while True:
            answer = self._ask("GET", "secrets", new.secret, params={"version": "1"})
            if answer.status == 200 and _bytes(answer.body) == new.value:
                return Version(1, _version(answer.body).valid_from)
            if answer.status != 503 and not first_time:
                raise Undated
            assert answer.status == 503, f"acknowledged as created, but reading it is answered with {answer.told}"
            assert time.monotonic() < deadline, f"acknowledged as created, but not readable within {DATING_SECONDS} s"
            time.sleep(0.2)

    def _list(self, asked: List) -> Result:
        params = {"prefix": self._prefix + asked.prefix, "after": self._prefix + asked.after, "limit": str(asked.limit)}
        answer = self._api.ask("GET", "/secrets", params=params, namespace=asked.namespace)
        failure = self._failure(answer)
        if failure is not None:
            return failure
        names = tuple(name.removeprefix(self._prefix) for name in answer.body["names"])
        return Names(names, answer.body["next"] is not None)

    def _found(self, asked: Read, answer: Answer) -> Result:
        failure = self._failure(answer)
        if failure is not None:
            return failure
        return Found(_version(answer.body), _bytes(answer.body) if asked.reveal else None, answer.body["encoding"])

    def _ask(self, method: str, kind: str, secret: SecretId, body: object = None, **options: Any) -> Answer:
        return self._api.ask(method, f"/{kind}/{quote(self._prefix + secret.name)}", body, namespace=secret.namespace, **options)

    def _failure(self, answer: Answer) -> Failed | None:
        if answer.status < 400:
            return None
        return Failed(answer.code, names=tuple(name.removeprefix(self._prefix) for name in answer.body.get("names", ())))


def _value(new: NewValue) -> dict[str, str]:
    text = base64.b64encode(new.value).decode() if new.encoding == "base64" else new.value.decode()
    return {"value": text, "encoding": new.encoding}


def _bytes(body: dict[str, Any]) -> bytes:
    text = str(body["value"])
    return base64.b64decode(text) if body["encoding"] == "base64" else text.encode()


def _version(body: dict[str, Any]) -> Version:
    valid_to = body["valid_to"]
    return Version(body["version"], parse_time(body["valid_from"]), None if valid_to is None else parse_time(valid_to))
