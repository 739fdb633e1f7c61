"""Certificates and authorities are exchanged under a running cluster: no request fails, and new connections show what is new."""

from __future__ import annotations

import datetime
import http.client
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from http_vault import Api
from real_cluster import RealCluster, eventually

from cli import files
from cli.certificates import Authority
from cli.local_plan import TRUST_DOMAIN, Layout
from model.operation import Create, NewValue, SecretId

pytestmark = pytest.mark.slow

CLIENTS = 4
REQUESTS_BETWEEN = 40
"""How many requests, of all clients together, are served between two steps of a rotation."""
REACHING_SECONDS = 3.0
"""How long a write may take to reach the nodes that it was acknowledged without."""
NAMES = itertools.count()


class Grounds:
    """The cluster under test, with its certificates and ports."""

    def __init__(self, cluster: RealCluster) -> None:
        self.cluster = cluster
        self.layout = Layout(cluster.directory)
        self.servers = (*cluster.nodes, "gateway")
        settings = msgspec.toml.decode(self.layout.gateway.configuration.read_bytes())
        addresses = {"gateway": cluster.url, **settings["nodes"]}
        self.ports = {server: int(address.rpartition(":")[2]) for server, address in addresses.items()}

    def folder(self, server: str) -> Path:
        return self.layout.directory / server

    def serial(self, server: str) -> int:
        """The serial number of the certificate in the server's folder."""
        return x509.load_pem_x509_certificate((self.folder(server) / "cert.pem").read_bytes()).serial_number

    def renew(self, server: str, authority: Path | None = None) -> None:
        self.cluster.kofn("certificates", "renew", str(self.folder(server)), "--dir", str(authority or self.layout.directory))

    def connect(self, server: str, folder: Path | None = None) -> http.client.HTTPSConnection:
        """A new connection, as the gateway or with the certificate in ``folder``. It is never opened a second time."""
        folder = folder or self.folder("gateway")
        context = ssl.create_default_context(cafile=self.layout.authority.certificate_file)
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        connection = http.client.HTTPSConnection("127.0.0.1", self.ports[server], context=context, timeout=10)
        connection.connect()
        connection.auto_open = 0
        return connection

    def shown(self, server: str) -> int:
        """The serial number of the certificate that the server shows to a new connection."""
        connection = self.connect(server)
        with connection.sock:
            return serial_of(connection.sock)

    def write_through(self, node: str) -> str:
        """Let ``node`` coordinate a write, in which it calls every other node; the name of the new secret."""
        name = f"through/{next(NAMES)}"
        create = Create((NewValue(SecretId("default", name), b"value"),), 1)
        connection = self.connect(node)
        try:
            connection.request("POST", "/v1/operations", msgspec.msgpack.encode([create]), {"Content-Type": "application/msgpack"})
            response = connection.getresponse()
            assert response.status == 200, response.read()
            response.read()
        finally:
            connection.close()
        return name

    def reaches_all(self, node: str) -> bool:
        """Whether every node soon holds what ``node`` writes now."""
        name, until = self.write_through(node), time.monotonic() + REACHING_SECONDS
        while self.cluster.holders(name) != [self.cluster.nodes]:
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        return True


class Traffic:
    """Clients that write and read, each its own secret, half of them on kept-alive connections, half on a fresh one for each request."""

    def __init__(self, cluster: RealCluster) -> None:
        self._cluster = cluster
        self._over = threading.Event()
        self._clients = [threading.Thread(target=self._run, args=(number % 2 == 0,)) for number in range(CLIENTS)]
        self.served = 0
        self.failures: list[str] = []

    def __enter__(self) -> Traffic:
        for client in self._clients:
            client.start()
        self.flow()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for client in self._clients:
            client.join()

    def flow(self) -> None:
        """Return when some more requests were served since."""
        target = self.served + REQUESTS_BETWEEN
        eventually(lambda: self.served >= target or self.failures, "requests are served")

    def _run(self, kept: bool) -> None:
        name = f"traffic/{next(NAMES)}"
        api = self._cluster.api
        try:
            for number in itertools.count():
                if self._over.is_set():
                    return
                if not kept:
                    api = Api(self._cluster.url, self._cluster.token, self._cluster.ca_file)
                self._check(number, api, name)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a failed request
            self.failures.append(f"{name}: {error!r}")

    def _check(self, number: int, api: Api, name: str) -> None:
        written = api.update(name, str(number)) if number else api.create(name, "0")
        read = api.get(name)
        if not (written.status in {200, 201} and read.status == 200 and read.body["value"] == str(number)):
            self.failures.append(f"{name}: {written.told}, then {read.told}")
        self.served += 2


class Ear:
    """Listens in a dead node's place and notes who comes with which certificate: serial numbers by the last part of the SPIFFE ID."""

    def __init__(self, grounds: Grounds, node: str) -> None:
        folder = grounds.folder(node)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=grounds.layout.authority.certificate_file)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        self._listener = socket.create_server(("127.0.0.1", grounds.ports[node]))
        self._thread = threading.Thread(target=self._listen)
        self.heard: dict[str, int] = {}

    def __enter__(self) -> Ear:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _listen(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            plain.settimeout(5)
            try:
                with self._context.wrap_socket(plain, server_side=True) as connection:
                    self.heard[uri_of(connection).rpartition("/")[2]] = serial_of(connection)
            except OSError:
                plain.close()


def serial_of(connection: ssl.SSLSocket) -> int:
    certificate = connection.getpeercert()
    assert certificate is not None
    return int(str(certificate["serialNumber"]), 16)


def uri_of(connection: ssl.SSLSocket) -> str:
    certificate = connection.getpeercert()
    assert certificate is not None
    return dict(certificate["subjectAltName"])["URI"]


@pytest.fixture(scope="module")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grounds]:
    with RealCluster(tmp_path_factory.mktemp("rotation") / "cluster") as cluster:
        yield Grounds(cluster)


def test_every_certificate_is_renewed_and_no_request_fails(grounds: Grounds) -> None:
    before = {server: grounds.shown(server) for server in grounds.servers}
    kept = [grounds.connect(server) for server in grounds.servers]
    assert [ask(connection) for connection in kept] == [200] * len(kept)
    with Traffic(grounds.cluster) as traffic:
        for server in grounds.servers:
            grounds.renew(server)
            traffic.flow()
    assert traffic.failures == []
    now = {server: grounds.shown(server) for server in grounds.servers}
    assert now == {server: grounds.serial(server) for server in grounds.servers}
    assert not {*now.values()} & {*before.values()}
    assert [ask(connection) for connection in kept] == [200] * len(kept)
    for connection in kept:
        connection.close()


def test_gateway_and_nodes_call_others_with_their_renewed_certificates(grounds: Grounds) -> None:
    *callers, absent = grounds.cluster.nodes
    for server in grounds.servers:
        grounds.renew(server)
    grounds.cluster.kill(absent)
    with Ear(grounds, absent) as ear:
        for node in callers:
            grounds.write_through(node)
        eventually(lambda: len(ear.heard) == len(callers), "every node has called")
        grounds.cluster.kill(*callers)
        assert grounds.cluster.api.get("nothing").status == 503
    assert ear.heard == {**{node: grounds.serial(node) for node in callers}, "gateway-1": grounds.serial("gateway")}
    grounds.cluster.heal()


def test_an_authority_is_succeeded_by_another_and_no_request_fails(grounds: Grounds, tmp_path: Path) -> None:
    trusted = grounds.layout.authority.certificate_file
    successor = Authority(tmp_path / "next")
    grounds.cluster.kofn("certificates", "init", "--dir", str(successor.directory), "--trust-domain", TRUST_DOMAIN)
    old, new = trusted.read_bytes(), successor.certificate_file.read_bytes()
    left = tmp_path / "left"
    left.mkdir()
    for name in ("cert.pem", "key.pem"):
        (left / name).write_bytes((grounds.folder("gateway") / name).read_bytes())
    with Traffic(grounds.cluster) as traffic:
        files.write(trusted, old + new)
        traffic.flow()
        files.write(successor.certificate_file, new + old)
        for server in grounds.servers:
            grounds.renew(server, successor.directory)
            traffic.flow()
        files.write(trusted, new)
        traffic.flow()
    assert traffic.failures == []
    files.write(successor.certificate_file, new)
    files.write(grounds.layout.authority.key_file, successor.key_file.read_bytes())
    for server in grounds.servers:
        assert grounds.shown(server) == grounds.serial(server)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask(grounds.connect(server, left))
    grounds.cluster.kill("node-1")  # which ends the connections of all the others: none may come back with an old certificate
    grounds.cluster.heal()
    for node in grounds.cluster.nodes:
        eventually(lambda node=node: grounds.reaches_all(node), f"{node} reaches all others")
    assert grounds.cluster.api.create("after", "the change").status == 201


def test_an_expired_certificate_is_refused_with_the_reason_until_it_is_renewed(grounds: Grounds) -> None:
    cluster, folder = grounds.cluster, grounds.folder("node-5")
    expire(folder, grounds.layout.authority)
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"):
        grounds.connect("node-5")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask(grounds.connect("node-1", folder))
    eventually(lambda: "certificate has expired" in cluster.log("node-1"), "the log says why")
    cluster.kill("node-4")
    cluster.restart("node-4")  # so that it has no connection to node-5 from before
    grounds.write_through("node-4")
    eventually(lambda: "node-5 does not answer: SSLCertVerificationError" in cluster.log("node-4"), "the log says so")
    assert cluster.api.create("meanwhile", "served").status == 201
    grounds.renew("node-5")
    eventually(lambda: grounds.reaches_all("node-4"), "node-4 reaches all others")


def ask(connection: http.client.HTTPSConnection) -> int:
    """The status of one more request. TLS 1.3 tells a client that its certificate was refused only where it reads the first answer."""
    connection.request("GET", "/healthz")
    response = connection.getresponse()
    response.read()
    return response.status


def expire(folder: Path, authority: Authority) -> None:
    """Replace the certificate in ``folder`` by one that says the same, and ended yesterday."""
    leaf = x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes())
    key = serialization.load_pem_private_key(authority.key_file.read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(leaf.issuer, leaf.subject, leaf.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(yesterday - datetime.timedelta(days=1)).not_valid_after(yesterday)
    for extension in leaf.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    files.write(folder / "cert.pem", builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
