"""Callers and servers with the wrong certificate, or none, at the doors of a real cluster's gateway and nodes."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hostile_certificates import CALLS, HOUR, SERVES, mint, stranger
from hostile_cluster import HostileVault, receive
from hostile_inside import TRUST_DOMAIN, call, caller, impostor, own, port_of
from real_cluster import eventually

from model.message import Addressed, Exchange, Query, encode
from model.operation import Read, SecretId

pytest_plugins = ["hostile_fixtures"]
pytestmark = pytest.mark.slow

CLIENT = f"spiffe://{TRUST_DOMAIN}/client/ci"
GATEWAY = f"spiffe://{TRUST_DOMAIN}/gateway/gateway-1"
NODE_2, NODE_3 = (f"spiffe://{TRUST_DOMAIN}/node/node-{number}" for number in (2, 3))
ELSEWHERE = "spiffe://elsewhere.test/node/node-2"
SENTINEL = SecretId("default", "sentinel/00")
QUERY = encode(Exchange("node-2", b"", (Addressed(SENTINEL, Query(shares=True, sealed=True)),)))
READ = msgspec.msgpack.encode([Read(SENTINEL)])
LIST = b"GET /api/v1/secrets HTTP/1.1\r\nHost: a\r\n\r\n"
Files = tuple[Path, Path]

REFUSED: dict[str, Callable[[HostileVault, Path, str], Files]] = {
    "a foreign authority": lambda vault, folder, uri: mint(stranger(folder / "ca", TRUST_DOMAIN), folder, uri),
    "expired": lambda vault, folder, uri: mint(vault.cluster.directory, folder, uri, ends_in=-HOUR),
    "good for servers only": lambda vault, folder, uri: mint(vault.cluster.directory, folder, uri, purposes=(SERVES,)),
}


def is_refused(context: ssl.SSLContext, port: int) -> bool:
    """Whether a TLS connection ends without a byte of an answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="localhost") as connection:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
                return connection.recv(100) == b""
        except (ssl.SSLError, ConnectionError):
            return True


@pytest.mark.parametrize("flaw", REFUSED)
def test_a_certificate_that_proves_nothing_is_refused_by_the_gateway_and_by_nodes(vault: HostileVault, tmp_path: Path, flaw: str) -> None:
    at_the_gateway = caller(vault.cluster, *REFUSED[flaw](vault, tmp_path / "client", CLIENT))
    at_a_node = caller(vault.cluster, *REFUSED[flaw](vault, tmp_path / "gateway", GATEWAY))
    assert is_refused(at_the_gateway, vault.port)
    assert is_refused(at_a_node, port_of(vault.cluster, "node-1"))


def test_no_session_is_resumed_so_that_every_connection_shows_a_certificate_that_is_valid_then(vault: HostileVault) -> None:
    at_the_gateway, at_a_node = caller(vault.cluster), caller(vault.cluster, *own(vault.cluster, "node-2"))
    for context, port in ((at_the_gateway, vault.port), (at_a_node, port_of(vault.cluster, "node-1"))):
        session = None
        for _ in range(2):
            plain = socket.create_connection(("127.0.0.1", port), timeout=20)
            with context.wrap_socket(plain, server_hostname="localhost", session=session) as connection:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
                assert b" 200 " in connection.recv(1000)
                assert not connection.session_reused
                session = connection.session


def test_a_node_talks_to_nobody_without_a_certificate(vault: HostileVault) -> None:
    assert is_refused(caller(vault.cluster), port_of(vault.cluster, "node-1"))


def test_nothing_older_than_tls_1_3_is_spoken(vault: HostileVault) -> None:
    old = ssl.TLSVersion.TLSv1_2
    assert is_refused(caller(vault.cluster, version=old), vault.port)
    assert is_refused(caller(vault.cluster, *own(vault.cluster, "gateway"), version=old), port_of(vault.cluster, "node-1"))


def test_nothing_is_said_in_plain_text(vault: HostileVault) -> None:
    for port in (vault.port, port_of(vault.cluster, "node-1")):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
            plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            said = b""
            with contextlib.suppress(ConnectionResetError):
                while part := plain.recv(1_000):
                    said += part
            assert b"HTTP" not in said


@pytest.mark.parametrize(
    "uris",
    [
        (),
        (CLIENT,),
        (NODE_2,),
        (GATEWAY,),
        (CLIENT, f"{CLIENT}/2"),
        ("spiffe://elsewhere.test/client/ci",),
        ("https://kofn.local/client/ci",),
    ],
    ids=["no name", "unknown", "a node", "a gateway", "two names", "another trust domain", "another scheme"],
)
def test_a_certificate_that_names_no_known_client_is_forbidden_at_the_gateway(
    vault: HostileVault, tmp_path: Path, uris: tuple[str, ...]
) -> None:
    files = mint(vault.cluster.directory, tmp_path, *uris)
    with vault.connect("127.0.5.1", ssl.TLSVersion.TLSv1_3, *files) as connection:
        connection.sendall(LIST)
        said = receive(connection)
    assert (said.status, said.code) == (403, "forbidden")


@pytest.mark.parametrize(
    ("path", "uris"),
    [
        ("/v1/operations", (NODE_2,)),
        ("/v1/operations", (CLIENT,)),
        ("/v1/operations", ()),
        ("/v1/operations", (GATEWAY, NODE_2)),
        ("/v1/operations", (GATEWAY, GATEWAY)),
        ("/v1/operations", (GATEWAY.replace(TRUST_DOMAIN, "elsewhere.test"),)),
        ("/v1/operations", (GATEWAY.replace("/gateway/", "/GATEWAY/"),)),
        ("/v1/operations", (f"{GATEWAY}/more",)),
        ("/v1/messages", (GATEWAY,)),
        ("/v1/messages", (CLIENT,)),
        ("/v1/messages", (NODE_3,)),
        ("/v1/messages", (NODE_2, NODE_3)),
        ("/v1/messages", (ELSEWHERE,)),
        ("/v1/messages", (NODE_2.replace("node-2", "node-9"),)),
    ],
)
def test_a_node_lets_each_role_do_only_its_own(vault: HostileVault, tmp_path: Path, path: str, uris: tuple[str, ...]) -> None:
    files = mint(vault.cluster.directory, tmp_path, *uris)
    status, said = call(vault.cluster, "node-1", path, READ if path == "/v1/operations" else QUERY, *files)
    assert status == 403
    assert vault.sentinels["sentinel/00"][0].encode() not in said
    assert len(said) < 200


def test_the_right_roles_are_let_in(vault: HostileVault, tmp_path: Path) -> None:
    """What keeps the test above honest: with the right name the same call is answered."""
    assert call(vault.cluster, "node-1", "/v1/operations", READ, *mint(vault.cluster.directory, tmp_path / "g", GATEWAY))[0] == 200
    assert call(vault.cluster, "node-1", "/v1/messages", QUERY, *mint(vault.cluster.directory, tmp_path / "n", NODE_2))[0] == 200


IMPOSTORS: dict[str, Callable[[HostileVault, Path], Files]] = {
    "another node": lambda vault, folder: own(vault.cluster, "node-4"),
    "a gateway": lambda vault, folder: own(vault.cluster, "gateway"),
    "two names": lambda vault, folder: mint(vault.cluster.directory, folder, NODE_2, NODE_3),
    "no name": lambda vault, folder: mint(vault.cluster.directory, folder),
    "another trust domain": lambda vault, folder: mint(vault.cluster.directory, folder, ELSEWHERE),
    "a foreign authority": lambda vault, folder: mint(stranger(folder / "ca", TRUST_DOMAIN), folder, NODE_2),
    "expired": lambda vault, folder: mint(vault.cluster.directory, folder, NODE_2, ends_in=-HOUR),
    "good for clients only": lambda vault, folder: mint(vault.cluster.directory, folder, NODE_2, purposes=(CALLS,)),
}


def test_whoever_listens_at_a_nodes_address_without_its_identity_is_told_nothing(healed: HostileVault, tmp_path: Path) -> None:
    """The gateway and the other nodes call; not one byte of a request goes to the impostor, and the vault serves without that node."""
    healed.cluster.kill("node-2")
    for number, (kind, files) in enumerate(IMPOSTORS.items()):
        certificate = files(healed, tmp_path / str(number))
        with impostor(healed.cluster, "node-2", certificate, lambda connection, body: connection.close()) as host:
            for _ in range(3):
                healed.serves()
            eventually(lambda host=host: host.attempts > 0, "somebody called", 20)
            assert host.bodies == [], kind
