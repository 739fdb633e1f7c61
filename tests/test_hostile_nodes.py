"""Nodes that answer badly: they are given up, and the vault serves without them."""

from __future__ import annotations

import secrets
import ssl
import time
from pathlib import Path

import pytest
from hostile_cluster import MARK, HostileVault
from hostile_inside import Serve, impostor, own
from inner_tls import answer
from real_cluster import RealCluster

from cli import processes
from cli.local_plan import Layout

pytest_plugins = ["hostile_fixtures"]
pytestmark = pytest.mark.slow

MEMORY_BYTES = 48 * 1024 * 1024
"""How much a process may grow by while it is sent a hundred megabytes."""


def huge(connection: ssl.SSLSocket, body: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n")
    _pour(connection)


def huge_without_a_length(connection: ssl.SSLSocket, body: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    _pour(connection)


def huge_in_chunks(connection: ssl.SSLSocket, body: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6400000\r\n")
    _pour(connection)


def huge_head(connection: ssl.SSLSocket, body: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    _pour(connection)


def _pour(connection: ssl.SSLSocket) -> None:
    for _ in range(100):
        connection.sendall(b"x" * 1_048_576)


def redirect(connection: ssl.SSLSocket, body: bytes) -> None:
    answer(connection, b"", "307 Temporary Redirect", "Location: https://127.0.0.1:1/v1/operations\r\n")


def garbage(connection: ssl.SSLSocket, body: bytes) -> None:
    connection.sendall(b"\x00\xff this is not HTTP \r\n\r\n" * 10)


def garbage_in_a_good_answer(connection: ssl.SSLSocket, body: bytes) -> None:
    answer(connection, b"\xc1" * 1_000)


def deep_nesting(connection: ssl.SSLSocket, body: bytes) -> None:
    answer(connection, b"\x91" * 1_000_000)


def half(connection: ssl.SSLSocket, body: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n\x91")
    connection.close()


def an_error(connection: ssl.SSLSocket, body: bytes) -> None:
    answer(connection, b"", "500 Internal Server Error")


def dripping(connection: ssl.SSLSocket, body: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(200):
        connection.sendall(b"x")
        time.sleep(0.1)


def silent(connection: ssl.SSLSocket, body: bytes) -> None:
    assert connection.recv(1) == b"", "who waits for an answer asks nothing else"


AT_ONCE = (
    huge,
    huge_without_a_length,
    huge_in_chunks,
    huge_head,
    redirect,
    garbage,
    garbage_in_a_good_answer,
    deep_nesting,
    half,
    an_error,
)


def resident_bytes(cluster: RealCluster) -> dict[str, int]:
    """The memory of every server."""
    layout = Layout(cluster.directory)
    servers = [layout.gateway, *map(layout.node, cluster.nodes)]
    return {server.id: sum(map(_resident_of, processes.pids(server))) for server in servers}


def _resident_of(pid: int) -> int:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def written_in_the_end(vault: HostileVault, name: str) -> None:
    """A create is answered definitely, or its outcome is said to be unknown and a retry with the same key tells it."""
    value, key = f"{MARK} in the end", secrets.token_hex(8)
    first = vault.api.create(name, value, key=key)
    if first.status != 201:
        assert first.told in {(503, "writing_failed", "writing", "unknown"), (503, "voting_failed", "voting", "not_applied")}
        first = vault.api.create(name, value, key=key)
    assert first.status == 201, first.told
    assert vault.api.get(name).body["value"] == value
    assert len(vault.api.history(name).body["versions"]) == 1


@pytest.mark.parametrize("bad", AT_ONCE, ids=lambda bad: bad.__name__)
def test_a_node_that_answers_badly_is_given_up_and_the_vault_serves(healed: HostileVault, bad: Serve) -> None:
    """Something with a node's own certificate at that node's address; the gateway asks it first."""
    node = healed.favourite()
    before = resident_bytes(healed.cluster)
    healed.cluster.kill(node)
    with impostor(healed.cluster, node, own(healed.cluster, node), bad) as host:
        written_in_the_end(healed, f"bad-answer/{bad.__name__}")
        assert host.bodies, "it was asked"
        healed.holds_everything()
        after = resident_bytes(healed.cluster)
    del before[node]
    assert {server: size for server, size in before.items() if after[server] > size + MEMORY_BYTES} == {}


@pytest.mark.parametrize("bad", [dripping, silent], ids=lambda bad: bad.__name__)
def test_a_node_that_takes_for_ever_is_given_up_and_the_vault_serves(healed: HostileVault, bad: Serve) -> None:
    node = healed.favourite()
    healed.cluster.kill(node)
    with impostor(healed.cluster, node, own(healed.cluster, node), bad) as host:
        healed.holds_everything()
        assert host.bodies, "it was asked"
        written_in_the_end(healed, f"bad-answer/{bad.__name__}")
