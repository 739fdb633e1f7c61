"""A real cluster for the hostile-input suite: raw conversations with its gateway, and what must still be true at the end."""

from __future__ import annotations

import json
import secrets
import socket
import ssl
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from http_vault import Api
from real_cluster import RealCluster

MARK = "frotz-a-value-that-nobody-may-find"
"""A part of every value, and of every input shaped like one, that the suite sends."""
SENTINELS = 20
NOWHERE = 10.0
"""How long a socket waits for what should come at once; a bound against hanging."""


@dataclass(frozen=True)
class Said:
    """One answer as it stood on the wire."""

    status: int
    headers: dict[str, str]
    text: str = field(repr=False)

    @property
    def body(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.text) if self.text else {}
        return content

    @property
    def code(self) -> str:
        return str(self.body.get("code", ""))

    @property
    def closes(self) -> bool:
        return self.headers.get("connection", "").lower() == "close"

    @property
    def whole(self) -> str:
        """Everything a client sees of it."""
        return f"{self.headers} {self.text}"

    def without_id(self) -> tuple[int, str]:
        """What must be the same for two requests that shall not be told apart: all but the request's own id."""
        body = {key: value for key, value in self.body.items() if key != "request_id"}
        return self.status, json.dumps(body, sort_keys=True)


class HostileVault:
    """The cluster, with secrets that were there before anything hostile was sent."""

    def __init__(self, cluster: RealCluster) -> None:
        self.cluster = cluster
        self.api = cluster.api
        self.port = int(urlsplit(cluster.url).port or 0)
        self.authorization = f"Authorization: Bearer {cluster.token}\r\n"
        self.secrets: list[str] = []
        self.sentinels: dict[str, list[str]] = {}
        self._namespaces: dict[str, Api] = {}

    def plant(self) -> None:
        """Create the sentinels, some of them with several versions."""
        for number in range(SENTINELS):
            name = f"sentinel/{number:02}"
            values = [f"{MARK} sentinel {number} {version}" for version in range(1, 2 + number % 3)]
            assert self.api.create(name, values[0]).status == 201
            for value in values[1:]:
                assert self.api.update(name, value).status == 200
            self.sentinels[name] = values

    def connect(self, source: str = "127.0.0.1", version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, *certificate: Path) -> ssl.SSLSocket:
        """A TLS connection to the gateway from a loopback address, with a client's certificate and key if they are given."""
        context = ssl.create_default_context(cafile=self.cluster.ca_file)
        context.minimum_version = context.maximum_version = version
        if certificate:
            context.load_cert_chain(*certificate)
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=NOWHERE, source_address=(source, 0))
        return context.wrap_socket(plain, server_hostname="localhost")

    def ask(self, request: str | bytes, source: str = "127.0.0.1") -> Said:
        """The first answer to these bytes."""
        with self.connect(source) as connection:
            connection.sendall(as_bytes(request))
            return receive(connection)

    def answers(self, request: str | bytes) -> list[Said]:
        """Every answer to these bytes, up to and with one that closes the connection. One of them must."""
        with self.connect() as connection:
            connection.sendall(as_bytes(request))
            said = [receive(connection)]
            while not said[-1].closes:
                said.append(receive(connection))
            assert ends(connection), "bytes followed an answer that said it was the last"
            return said

    def get(self, target: str, headers: str = "", source: str = "127.0.0.1") -> Said:
        """A GET of this target, byte for byte, with the token unless ``headers`` has credentials of its own."""
        credentials = "" if "authorization" in headers.lower() else self.authorization
        return self.ask(f"GET {target} HTTP/1.1\r\nHost: a\r\n{credentials}{headers}\r\n", source)

    def post(self, body: bytes, path: str = "/api/v1/secrets", content_type: str = "application/json") -> Said:
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\n{self.authorization}Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        return self.ask(head.encode() + body)

    def tenant(self, namespace: str) -> Api:
        """The API for somebody who may do everything in one other namespace."""
        if namespace not in self._namespaces:
            secret = secrets.token_urlsafe(32)
            identifier = f"{namespace}{len(self._namespaces)}".replace("-", "").ljust(8, "0")
            self.cluster.add_token(identifier, sha256(secret.encode()).hexdigest(), (namespace,))
            self._namespaces[namespace] = Api(self.cluster.url, f"kofn_{identifier}_{secret}", self.cluster.ca_file)
            self.secrets.append(secret)
        return self._namespaces[namespace]

    def serves(self) -> str:
        """A write and a read succeed now; the name that was written."""
        name = f"works/{secrets.token_hex(8)}"
        created = self.api.create(name, f"{MARK} serves")
        assert created.status == 201, created.told
        assert self.api.get(name).body["value"] == f"{MARK} serves"
        return name

    def favourite(self) -> str:
        """The node that the gateway asks first: it coordinates what is written now."""
        return self.cluster.coordinator_of(self.serves())

    def holds_nothing_new(self) -> None:
        """Beside the sentinels nothing was made, and none of them is gone."""
        assert set(self.api.names("sentinel")) == set(self.sentinels)

    def holds_everything(self) -> None:
        """Every sentinel is there, with every version of it."""
        assert set(self.api.names("sentinel/")) == set(self.sentinels)
        for name, values in self.sentinels.items():
            read = [self.api.get(name, version=str(number)) for number in range(1, len(values) + 1)]
            assert [each.body.get("value") for each in read] == values, (name, [each.told for each in read])


def as_bytes(request: str | bytes) -> bytes:
    return request if isinstance(request, bytes) else request.encode("latin-1")


def receive(connection: ssl.SSLSocket) -> Said:
    """The next answer on the connection. Raises ConnectionError where it ends before there is one."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _more(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length", "0"))
    while len(body) < length:
        body += _more(connection)
    assert len(body) == length, "an answer and nothing but it"
    return Said(int(first.split()[1]), headers, body.decode())


def ends(connection: ssl.SSLSocket) -> bool:
    """Whether the other side has closed, or closes now, without another byte."""
    try:
        return connection.recv(1) == b""
    except (ConnectionError, ssl.SSLEOFError):
        return True


def _more(connection: ssl.SSLSocket) -> bytes:
    part = connection.recv(65_536)
    if not part:
        raise ConnectionResetError("the connection ended without an answer")
    return part
