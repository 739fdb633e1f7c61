"""No connection lives for ever: whoever was let in once is looked at anew, with a certificate that is valid then."""

from __future__ import annotations

import http.client
import http.server
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest
from gateway_fakes import DOMAIN, Authority, FakeNode, FakeVault, answer, make_settings
from inner_tls import Host, Party
from inner_tls import answer as answer_inner

import gateway.nodes
import node.flight
from cli import local_plan
from cli.local_plan import HOST, Layout
from gateway.failover import connect
from model.identity import Role
from model.message import Addressed, Noted, Query, Replies, encode
from model.operation import Failed, Read, SecretId
from node.parcel import Parcel
from node.peers import Roads

ROOT = Path(__file__).parent.parent
SECRET = SecretId("default", "app/db")
OLD_AT_ONCE = {
    "node": "import node.worker\nnode.worker.CONNECTION_SECONDS = 0.0\nfrom node.gunicorn_conf import *\n",
    "gateway": "import gateway.connection\ngateway.connection.CONNECTION_SECONDS = 0.0\nfrom gateway.gunicorn_conf import *\n",
}


@contextmanager
def serving(folder: Path, package: str) -> Iterator[http.client.HTTPSConnection]:
    """A connection to a node or a gateway alone, for which every connection is old."""
    layout, plan = Layout(folder / "cluster"), local_plan.new_plan(3, 2, 0)
    local_plan.complete(layout, plan)
    server, port = (layout.gateway, plan.gateway_port) if package == "gateway" else (layout.node("node-1"), plan.node_ports["node-1"])
    configuration = folder / "gunicorn_conf.py"
    configuration.write_text(OLD_AT_ONCE[package])
    context = ssl.create_default_context(cafile=layout.authority.certificate_file)
    context.load_cert_chain(layout.gateway.directory / "cert.pem", layout.gateway.directory / "key.pem")
    with subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", str(configuration), f"{package}.wsgi:app"],
        env=os.environ | {f"KOFN_{package.upper()}_CONFIG": str(server.configuration), "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            with closing(http.client.HTTPSConnection(HOST, port, context=context, timeout=20)) as connection:
                while True:
                    try:
                        connection.connect()
                        break
                    except ConnectionRefusedError:
                        assert process.poll() is None
                        time.sleep(0.05)
                connection.auto_open = 0
                yield connection
        finally:
            process.kill()


@pytest.mark.parametrize("package", ["gateway", "node"])
def test_the_last_answer_on_an_old_connection_says_so(tmp_path: Path, package: str) -> None:
    with serving(tmp_path, package) as connection:
        connection.request("GET", "/healthz")
        response = connection.getresponse()
        assert (response.status, response.headers["Connection"]) == (200, "close")


def test_a_node_calls_its_peers_on_no_old_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node.flight, "CONNECTION_SECONDS", 0.0)
    party = Party(tmp_path)
    replies = encode(Replies(b"store", (Noted(False),)))
    host = Host(party.context(ssl.Purpose.CLIENT_AUTH, party.issue(Role.NODE, "node-2")), lambda to, _: answer_inner(to, replies))
    try:
        roads = Roads(party.settings("node-1", {"node-1": 1, "node-2": host.port}))
        for _ in range(3):
            mailbox = roads.mailbox()
            roads.post("node-2", Parcel((Addressed(SECRET, Query()),), ("token",), mailbox))
            assert mailbox.get(timeout=5).replies == (Noted(False),)
        assert len(host.connections) == 3
    finally:
        host.close()


def test_a_gateway_calls_nodes_on_no_old_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.nodes, "CONNECTION_SECONDS", 0.0)
    authority = Authority(tmp_path)
    authority.issue("gateway", f"spiffe://{DOMAIN}/gateway/gateway-1")
    fake = FakeNode(authority, f"spiffe://{DOMAIN}/node/node-1", vault=FakeVault())
    callers: list[int] = []

    def note(handler: http.server.BaseHTTPRequestHandler) -> bool:
        callers.append(handler.client_address[1])
        answer(handler, 200, msgspec.msgpack.encode([Failed("secret_not_found")]))
        return True

    fake.behave = note
    try:
        cluster = connect(make_settings(authority.folder, nodes={"node-1": fake.url, "node-2": fake.url}, threshold=2))
        for _ in range(3):
            cluster.perform([Read(SECRET)])
        assert len(set(callers)) == 3
    finally:
        fake.stop()
