"""The inner routes: who may call which, what is turned away, and what a node says that does not serve yet."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask import Flask
from inner_tls import TRUST_DOMAIN, Party
from local_cluster import LocalCluster
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from model.identity import Role
from model.message import Addressed, ChangesAfter, Exchange, Query, Replies, Snapshot, Unfit, decode_replies, encode
from model.operation import Create, Failed, NewValue, Operation, Read, Result, SecretId, Status, Written
from node.api import create_blueprint

SECRET = SecretId("default", "app/db")


class Handler(WSGIRequestHandler):
    """Shows the application its TLS socket, as gunicorn does."""

    def make_environ(self) -> dict[str, Any]:
        return {**super().make_environ(), "gunicorn.socket": self.connection}

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - werkzeug's name
        pass


class NodeServer:
    """node-1 of an in-process cluster, over real TLS. The node itself knows nothing of that."""

    def __init__(self, folder: Path) -> None:
        self.party = Party(folder / "ca")
        self.cluster = LocalCluster(3, 2)
        app = Flask("node", static_folder=None)
        app.config["MAX_CONTENT_LENGTH"] = 1_048_576
        process = self.cluster.processes["node-1"]
        app.register_blueprint(create_blueprint(TRUST_DOMAIN, process.store, process.coordinator))
        context = self.party.context(ssl.Purpose.CLIENT_AUTH, self.party.issue(Role.NODE, "node-1"))
        self._server: BaseWSGIServer = make_server("127.0.0.1", 0, app, ssl_context=context, request_handler=Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self.cluster.close()

    def call(self, path: str, body: bytes, role: Role, name: str, party: Party | None = None) -> tuple[int, bytes]:
        """Status and body of a POST with the certificate of ``role`` and ``name``."""
        context = self.party.context(ssl.Purpose.SERVER_AUTH, (party or self.party).issue(role, name))
        connection = http.client.HTTPSConnection("127.0.0.1", self._server.port, context=context, timeout=10)
        try:
            connection.request("POST", path, body, {"Content-Type": "application/msgpack"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeServer]:
    server = NodeServer(tmp_path_factory.mktemp("node"))
    yield server
    server.close()


def operate(server: NodeServer, *operations: Operation, role: Role = Role.GATEWAY, name: str = "gateway-1") -> tuple[int, bytes]:
    return server.call("/v1/operations", msgspec.msgpack.encode(list(operations)), role, name)


def exchange(server: NodeServer, sent: Exchange, role: Role = Role.NODE, name: str = "node-2") -> tuple[int, bytes]:
    return server.call("/v1/messages", encode(sent), role, name)


def test_a_gateways_operations_are_answered_in_order(server: NodeServer) -> None:
    status, body = operate(server, Create((NewValue(SECRET, b"x"),), 1), Status(), Read(SecretId("default", "none")))
    assert status == 200
    assert [type(result).__name__ for result in msgspec.msgpack.decode(body, type=list[Result])] == ["Written", "NodeStatus", "Failed"]


def test_a_nodes_messages_are_answered_in_order(server: NodeServer) -> None:
    status, body = exchange(server, Exchange("node-2", b"", (Addressed(SECRET, Query()), Addressed(SECRET, ChangesAfter(0, 10)))))
    assert status == 200
    replies = decode_replies(body)
    assert replies.store == server.cluster.processes["node-1"].store.id
    assert replies.replies is not None
    assert isinstance(replies.replies[0], Snapshot)
    assert len(replies.replies) == 2


@pytest.mark.parametrize(("role", "name"), [(Role.NODE, "node-2"), (Role.CLIENT, "somebody")])
def test_only_a_gateway_may_ask_for_operations(server: NodeServer, role: Role, name: str) -> None:
    status, body = operate(server, Read(SECRET), role=role, name=name)
    assert (status, b"gateway" in body) == (403, True)


@pytest.mark.parametrize(("role", "name"), [(Role.GATEWAY, "node-2"), (Role.CLIENT, "node-2")])
def test_only_a_node_may_send_messages(server: NodeServer, role: Role, name: str) -> None:
    status, _ = exchange(server, Exchange("node-2", b"", (Addressed(SECRET, Query()),)), role, name)
    assert status == 403


def test_a_node_may_not_speak_for_another(server: NodeServer) -> None:
    status, _ = exchange(server, Exchange("node-3", b"", (Addressed(SECRET, Query()),)))
    assert status == 403


def test_a_node_that_is_not_of_the_cluster_is_refused_whatever_its_certificate(server: NodeServer) -> None:
    status, body = exchange(server, Exchange("node-9", b"", (Addressed(SECRET, Query()),)), Role.NODE, "node-9")
    assert (status, b"cluster" in body) == (403, True)


@pytest.mark.parametrize("now", [-1, 2**62])
def test_a_time_that_no_clock_shows_is_refused_and_nothing_is_written(server: NodeServer, now: int) -> None:
    _, body = operate(server, Create((NewValue(SecretId("default", "late"), b"x"),), now), Read(SecretId("default", "late")))
    results = msgspec.msgpack.decode(body, type=list[Result])
    assert [result.code for result in results if isinstance(result, Failed)] == ["invalid_request", "secret_not_found"]


def test_a_certificate_of_another_trust_domain_opens_nothing(server: NodeServer, tmp_path: Path) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        server.call("/v1/operations", b"\x90", Role.GATEWAY, "gateway-1", Party(tmp_path / "other", "other.domain"))


@pytest.mark.parametrize("path", ["/v1/operations", "/v1/messages"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x91",
        b"\x93\xa6node-2",
        b'{"json": true}',
        b"\x91" * 100_000,
        b"\x92\xa6node-2\xa1\xff",
        b"\x91\x93\xa4read\x92\xa1\xff\xa1a\xc0",
    ],
)
def test_garbage_is_a_bad_request_and_not_echoed(server: NodeServer, path: str, body: bytes) -> None:
    role, name = (Role.GATEWAY, "gateway-1") if path == "/v1/operations" else (Role.NODE, "node-2")
    status, said = server.call(path, body, role, name)
    assert status == 400
    assert len(said) < 100


def test_a_body_over_the_limit_is_refused(server: NodeServer) -> None:
    status, _ = server.call("/v1/messages", b"x" * 2_000_000, Role.NODE, "node-2")
    assert status == 413


def test_an_exchange_meant_for_another_store_changes_nothing_and_names_this_one(server: NodeServer) -> None:
    _, body = exchange(server, Exchange("node-2", b"another store", (Addressed(SECRET, Query()),)))
    assert decode_replies(body) == Replies(server.cluster.processes["node-1"].store.id, None)


def test_a_node_that_recovers_serves_no_operation_and_is_unfit_for_every_message(tmp_path: Path) -> None:
    server = NodeServer(tmp_path)
    try:
        cluster = server.cluster
        cluster.perform_at("node-1", Create((NewValue(SECRET, b"x"),), 1))
        cluster.lose_disk("node-1")
        cluster.restart("node-1")
        app = Flask("node", static_folder=None)
        process = cluster.processes["node-1"]
        app.register_blueprint(create_blueprint(TRUST_DOMAIN, process.store, process.coordinator))
        server._server.app = app
        assert operate(server, Read(SECRET))[0] == 503
        _, body = exchange(server, Exchange("node-2", b"", (Addressed(SECRET, Query()),)))
        assert decode_replies(body).replies == (Unfit(),)
        connection = http.client.HTTPSConnection(
            "127.0.0.1", server._server.port, context=server.party.context(ssl.Purpose.SERVER_AUTH, server.party.issue(Role.NODE, "node-2"))
        )
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        connection.close()
    finally:
        server.close()


def test_a_written_value_comes_back_through_another_nodes_coordinator(server: NodeServer) -> None:
    secret = SecretId("default", "through/both")
    _, body = operate(server, Create((NewValue(secret, b"there and back"),), 1))
    assert isinstance(msgspec.msgpack.decode(body, type=list[Result])[0], Written)
    found = server.cluster.perform_at("node-2", Read(secret))
    assert getattr(found, "value", None) == b"there and back"
