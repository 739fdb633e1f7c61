"""The gateway as a real process: gunicorn, TLS 1.3, certificates, and hostile bytes on the wire."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from gateway_fakes import DOMAIN, TOKEN, Authority, FakeNode, FakeVault, make_settings

ROOT = Path(__file__).parent.parent
AUTH = f"Authorization: Bearer {TOKEN}\r\n"
PLACES = 20
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
"""How a client begins its handshake."""
UNLIMITED = {
    "principal_requests_per_second": 1_000_000,
    "source_requests_per_second": 1_000_000,
    "bad_credentials_per_minute": 1_000_000,
}


class Gateway:
    """A gateway process over one fake node, and raw conversations with it."""

    def __init__(self, folder: Path, **settings: int) -> None:
        self.authority = Authority(folder)
        self.authority.issue("gateway", f"spiffe://{DOMAIN}/gateway/gateway-1")
        self.node = FakeNode(self.authority, f"spiffe://{DOMAIN}/node/node-1", vault=FakeVault())
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        make_settings(folder)
        config = folder / "gateway.toml"
        config.write_text(
            f'id = "gateway-1"\ntrust_domain = "{DOMAIN}"\nbind = "127.0.0.1:{self.port}"\nthreshold = 2\n'
            'certificate = "gateway.pem"\nkey = "gateway.key"\nca = "ca.pem"\naccess = "access.toml"\naudit = "audit.jsonl"\n'
            + "".join(f"{name} = {value}\n" for name, value in {**UNLIMITED, **settings}.items())
            + f'[nodes]\nnode-1 = "{self.node.url}"\nnode-2 = "{self.node.url}"\n'
        )
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "-c", "python:gateway.gunicorn_conf", "gateway.wsgi:app"],
                cwd=ROOT,
                env={**os.environ, "KOFN_GATEWAY_CONFIG": str(config)},
                stdout=log,
                stderr=log,
            )

    def wait(self) -> None:
        """Until it answers."""
        for _ in range(200):
            try:
                assert self.ask("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")[0] == 200
            except ConnectionRefusedError:
                assert self.process.poll() is None, self.log.read_text()
                time.sleep(0.05)
            else:
                return
        raise AssertionError(self.log.read_text())

    @property
    def worker(self) -> int:
        """The process that serves."""
        return int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0])

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        finally:
            self.process.kill()
            self.node.stop()

    def connect(self, *certificate: Path, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLSocket:
        """A TLS connection, with a client certificate if one is given."""
        context = ssl.create_default_context(cafile=self.authority.ca)
        context.minimum_version = context.maximum_version = version
        if certificate:
            context.load_cert_chain(*certificate)
        return context.wrap_socket(socket.create_connection(("127.0.0.1", self.port), timeout=10), server_hostname="localhost")

    def ask(self, request: str | bytes, *certificate: Path) -> tuple[int, dict[str, object]]:
        """The status and JSON body of the first answer to these bytes; 0 if the connection just ends."""
        with self.connect(*certificate) as connection:
            connection.sendall(request if isinstance(request, bytes) else request.encode())
            return receive(connection)


def receive(connection: ssl.SSLSocket) -> tuple[int, dict[str, object]]:
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            part = connection.recv(65_536)
            if not part:
                return 0, {}
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        length = next((int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
        while len(body) < length:
            body += connection.recv(65_536)
    except ConnectionResetError:
        return 0, {}
    return int(head.split()[1]), json.loads(body) if body else {}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path_factory.mktemp("gateway"))
    try:
        gateway.wait()
        yield gateway
    finally:
        gateway.stop()


def test_a_secret_goes_in_and_out(gateway: Gateway) -> None:
    body = '{"name":"app/db","value":"v"}'
    head = f"POST /api/v1/secrets HTTP/1.1\r\nHost: a\r\n{AUTH}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    assert gateway.ask(head + body)[0] == 201
    status, answer = gateway.ask(f"GET /api/v1/secrets/app/db HTTP/1.1\r\nHost: a\r\n{AUTH}\r\n")
    assert (status, answer["value"]) == (200, "v")
    assert gateway.ask("GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")[0] == 200


def test_only_tls_1_3_is_spoken(gateway: Gateway) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        gateway.connect(version=ssl.TLSVersion.TLSv1_2)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = plain.recv(1000)
        assert b"HTTP/" not in answer


LIST = "GET /api/v1/secrets HTTP/1.1\r\nHost: a\r\n\r\n"


def test_a_client_certificate_is_enough(gateway: Gateway) -> None:
    ci = gateway.authority.issue("ci", f"spiffe://{DOMAIN}/client/ci")
    assert gateway.ask(LIST, *ci) == (200, {"names": [], "next": None})


@pytest.mark.parametrize(
    "uris",
    [
        (f"spiffe://{DOMAIN}/client/ci", f"spiffe://{DOMAIN}/client/other"),
        (f"spiffe://{DOMAIN}/client/other",),
        (f"spiffe://{DOMAIN}/node/node-1",),
        (f"spiffe://{DOMAIN}/gateway/gateway-1",),
        ("spiffe://elsewhere.test/client/ci",),
        (),
    ],
)
def test_a_certificate_that_is_no_known_clients_is_forbidden(gateway: Gateway, uris: tuple[str, ...]) -> None:
    status, answer = gateway.ask(LIST, *gateway.authority.issue("stranger", *uris))
    assert (status, answer["code"]) == (403, "forbidden")


def test_a_wrong_token_is_not_helped_by_a_certificate(gateway: Gateway) -> None:
    ci = gateway.authority.issue("ci", f"spiffe://{DOMAIN}/client/ci")
    request = "GET /api/v1/secrets HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer kofn_x_y\r\n\r\n"
    assert gateway.ask(request, *ci)[1]["code"] == "unauthenticated"


def test_a_certificate_of_another_authority_is_refused(gateway: Gateway, tmp_path: Path) -> None:
    foreign = Authority(tmp_path / "foreign").issue("ci", f"spiffe://{DOMAIN}/client/ci")
    with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
        gateway.connect(*foreign).recv(1000)


POST = "POST /api/v1/secrets HTTP/1.1\r\nHost: a\r\n"
POST_JSON = f"{POST}{AUTH}Content-Type: application/json\r\n"
HOSTILE = {
    "length and chunks": (f"{POST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
    "two lengths": (f"{POST}Content-Length: 5\r\nContent-Length: 6\r\n\r\nmarker", {400}),
    "a list of lengths": (f"{POST}Content-Length: 5, 5\r\n\r\nmarke", {400}),
    "a signed length": (f"{POST}Content-Length: +5\r\n\r\nmarke", {400}),
    "an unknown coding": (f"{POST}Transfer-Encoding: xchunked\r\n\r\n", {400, 501}),
    "a blank before the colon": (f"{POST}Transfer-Encoding : chunked\r\n\r\n", {400}),
    "chunks in 1.0": ("POST /api/v1/secrets HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", {400}),
    "a NUL": ("GET /healthz HTTP/1.1\r\nHost: a\r\nX: a\0marker\r\n\r\n", {400}),
    "folding": ("GET /healthz HTTP/1.1\r\nHost: a\r\nX: a\r\n marker\r\n\r\n", {400}),
    "no host": ("GET /healthz HTTP/1.1\r\n\r\n", {400}),
    "an underscore in a header": ("GET /healthz HTTP/1.1\r\nHost: a\r\nIf_Match: 1\r\n\r\n", {400}),
    "two hosts": ("GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", {400}),
    "a bad method": ("MAR{KER /healthz HTTP/1.1\r\nHost: a\r\n\r\n", {400}),
    "a bad version": ("GET /healthz HTTP/9.9\r\nHost: a\r\n\r\n", {400}),
    "nonsense": ("marker marker marker\r\n\r\n", {400}),
    "a long target": ("GET /" + "a" * 5000 + " HTTP/1.1\r\nHost: a\r\n\r\n", {414}),
    "many headers": ("GET /healthz HTTP/1.1\r\nHost: a\r\n" + "X: a\r\n" * 200 + "\r\n", {431}),
    "a long header": ("GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + "a" * 10_000 + "\r\n\r\n", {431}),
    "a chunked body": (
        f"{POST_JSON}Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n",
        {411},
    ),
    "a bad chunk": (
        f"{POST_JSON}Transfer-Encoding: chunked\r\n\r\nmarker\r\n",
        {411},
    ),
    "a gibibyte announced": (
        f"{POST_JSON}Content-Length: 1073741824\r\n\r\n{{",
        {413},
    ),
    "TRACE": (f"TRACE /healthz HTTP/1.1\r\nHost: a\r\n{AUTH}\r\n", {405}),
    "a path that climbs": (f"GET /api/v1/secrets/%2e%2e%2fmetrics HTTP/1.1\r\nHost: a\r\n{AUTH}\r\n", {400}),
    "a forwarded prefix": (f"GET /healthz HTTP/1.1\r\nHost: a\r\nScript-Name: /x\r\nX-Forwarded-Proto: http\r\n{AUTH}\r\n", {200}),
    "CR LF in a path": (f"GET /api/v1/secrets/a%0d%0aSet-Cookie:%20marker HTTP/1.1\r\nHost: a\r\n{AUTH}\r\n", {400}),
}


@pytest.mark.parametrize(("request_text", "expected"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_http_gets_a_clear_error_in_the_usual_shape(gateway: Gateway, request_text: str, expected: set[int]) -> None:
    status, answer = gateway.ask(request_text)
    assert status in expected
    if status != 200:
        assert answer["status"] == status
        assert "marker" not in json.dumps(answer)


def test_clients_that_send_half_a_request_do_not_hinder_others(gateway: Gateway) -> None:
    with gateway.connect() as one, gateway.connect() as two:
        one.sendall(b"GET /healthz HT")
        two.sendall(f"{POST_JSON}Content-Length: 9\r\n\r\n".encode())
        assert gateway.ask(LIST.replace("\r\n\r\n", f"\r\n{AUTH}\r\n"))[0] == 200
        one.sendall(b"TP/1.1\r\nHost: a\r\n\r\n")
        assert receive(one)[0] == 200


@pytest.mark.parametrize("shaken", [False, True], ids=["in the handshake", "in a request"])
def test_clients_that_give_way_as_they_speak_end_without_a_traceback(tmp_path: Path, shaken: bool) -> None:
    gateway = Gateway(tmp_path, connections=PLACES)
    clients: list[socket.socket] = []
    try:
        gateway.wait()
        for _ in range(PLACES):
            clients.append(gateway.connect() if shaken else socket.create_connection(("127.0.0.1", gateway.port)))
        gateway.ask("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")  # now all of them are waited for
        with paused(gateway.worker):
            for client in clients:
                client.sendall(b"GET /hea" if shaken else HELLO)
            clients += [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(PLACES)]
        assert gateway.ask("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")[0] == 200
    finally:
        for client in clients:
            client.close()
        gateway.stop()
    assert "Traceback" not in gateway.log.read_text()


@contextmanager
def paused(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_connection_is_kept_alive_while_the_certificate_changes(gateway: Gateway) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    with gateway.connect() as old:
        old.sendall(request)
        assert receive(old)[0] == 200
        first = old.getpeercert(binary_form=True)
        gateway.authority.issue("gateway", f"spiffe://{DOMAIN}/gateway/gateway-1")
        with gateway.connect() as new:
            assert new.getpeercert(binary_form=True) != first
        old.sendall(request)
        assert receive(old)[0] == 200


def test_the_log_holds_nothing_that_clients_sent(gateway: Gateway) -> None:
    log = gateway.log.read_text()
    for text in (TOKEN, "marker", "app/db", "Traceback"):
        assert text not in log
