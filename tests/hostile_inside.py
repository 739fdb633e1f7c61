"""Inside a real cluster: raw conversations with a node, and impostors at a node's address."""

from __future__ import annotations

import contextlib
import http.client
import sqlite3
import ssl
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from inner_tls import Host
from real_cluster import RealCluster

from cli import local_plan
from model.message import Addressed, Exchange, Message, Replies, Reply, decode_replies, encode
from model.operation import Failed, Found, Operation, Read, Result, SecretId

TRUST_DOMAIN = local_plan.TRUST_DOMAIN
Serve = Callable[[ssl.SSLSocket, bytes], None]


def own(cluster: RealCluster, server: str) -> tuple[Path, Path]:
    """A server's own certificate and key."""
    return cluster.directory / server / "cert.pem", cluster.directory / server / "key.pem"


def port_of(cluster: RealCluster, node: str) -> int:
    plan = local_plan.read_plan(local_plan.Layout(cluster.directory))
    assert plan is not None
    return int(urlsplit(plan.node_url(node)).port or 0)


def caller(cluster: RealCluster, *certificate: Path, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """How somebody with this certificate, or with none, calls a node."""
    context = ssl.create_default_context(cafile=cluster.ca_file)
    context.minimum_version = context.maximum_version = version
    if certificate:
        context.load_cert_chain(*certificate)
    return context


def call(cluster: RealCluster, node: str, path: str, body: bytes, *certificate: Path) -> tuple[int, bytes]:
    """Status and body of a POST to a node."""
    connection = http.client.HTTPSConnection("127.0.0.1", port_of(cluster, node), context=caller(cluster, *certificate), timeout=20)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/msgpack"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def exchange(cluster: RealCluster, sender: str, node: str, secret: SecretId, *messages: Message) -> Sequence[Reply]:
    """What ``node`` replies to messages that ``sender``, with its own certificate, sends about a secret."""
    body = encode(Exchange(sender, b"", tuple(Addressed(secret, message) for message in messages)))
    status, said = call(cluster, node, "/v1/messages", body, *own(cluster, sender))
    assert status == 200, (status, said)
    replies: Replies = decode_replies(said)
    assert replies.replies is not None
    return replies.replies


@contextlib.contextmanager
def impostor(cluster: RealCluster, node: str, certificate: tuple[Path, Path], serve: Serve) -> Iterator[Host]:
    """Somebody listens at the address of a node that does not run, with any certificate, and answers as it likes."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=cluster.ca_file)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(*certificate)
    host = Host(context, serve, port_of(cluster, node))
    try:
        yield host
    finally:
        host.close()


def operate(cluster: RealCluster, node: str, operation: Operation) -> Result:
    """What one node, asked as the gateway asks it, answers to an operation."""
    status, said = call(cluster, node, "/v1/operations", msgspec.msgpack.encode([operation]), *own(cluster, "gateway"))
    assert status == 200, (status, said)
    (result,) = msgspec.msgpack.decode(said, type=list[Result])
    return result


def value_at(cluster: RealCluster, node: str, name: str) -> bytes | str | None:
    """A secret's value as one node finds it, or the code of the failure."""
    result = operate(cluster, node, Read(SecretId("default", name)))
    return result.code if isinstance(result, Failed) else result.value if isinstance(result, Found) else None


def share_of(cluster: RealCluster, node: str, name: str) -> bytes:
    """The share that a node stores of a secret's newest version, as it lies in the database."""
    return cluster.shards(node, name)[-1].share


def replace(cluster: RealCluster, node: str, name: str, column: str, content: bytes | None) -> None:
    """Change what a node, running or not, stores of a secret's newest version behind its back."""
    newest = "(SELECT max(shard.id) FROM shard JOIN register ON register.id = register_id WHERE namespace = 'default' AND name = ?)"
    with contextlib.closing(sqlite3.connect(cluster.database(node), timeout=10)) as connection:
        changed = connection.execute(f"UPDATE shard SET {column} = ? WHERE id = {newest}", (content, name)).rowcount
        connection.commit()
    assert changed == 1
