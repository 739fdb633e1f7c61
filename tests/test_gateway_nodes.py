"""Which node is asked, and what is said when it fails: over real sockets, mutual TLS and a throw-away authority."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import msgspec
import pytest
from gateway_fakes import DOMAIN, Authority, FakeNode, FakeVault, answer, make_settings

from gateway.failover import Cluster, connect
from model.operation import (
    Create,
    Delete,
    Deleted,
    Failed,
    Found,
    NewValue,
    Operation,
    Read,
    Result,
    SecretId,
    Update,
    Version,
    Written,
)

SECRET = SecretId("default", "a")
OTHER = SecretId("default", "b")
READ = Read(SECRET)
CREATE = Create((NewValue(SECRET, b"value"),), 1)
DELETE = Delete(SECRET, 1)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority(tmp_path_factory.mktemp("ca"))
    authority.issue("gateway", f"spiffe://{DOMAIN}/gateway/gateway-1")
    return authority


@pytest.fixture
def nodes(authority: Authority) -> Iterator[list[FakeNode]]:
    """Three nodes that share one vault: node-1, node-2, node-3."""
    vault = FakeVault()
    nodes = [FakeNode(authority, f"spiffe://{DOMAIN}/node/node-{i}", vault=vault) for i in (1, 2, 3)]
    yield nodes
    for node in nodes:
        node.stop()


def road(authority: Authority, nodes: list[FakeNode], **changes: object) -> Cluster:
    """The cluster of ``nodes``, asked in that order at first. Beside a single one there is another, which does not run."""
    urls = {f"node-{i}": node.url for i, node in enumerate(nodes, 1)}
    if len(urls) == 1:
        urls["node-9"] = closed_port()
    cluster = connect(make_settings(authority.folder, nodes=urls, threshold=2, **changes))
    cluster._line = tuple(urls)
    return cluster


def codes(results: list[Result]) -> list[str]:
    return [result.code if isinstance(result, Failed) else "" for result in results]


def requests(nodes: list[FakeNode]) -> list[int]:
    return [node.requests for node in nodes]


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"https://127.0.0.1:{server.getsockname()[1]}"


def drop(handler: http.server.BaseHTTPRequestHandler) -> bool:
    """Close the connection without an answer."""
    handler.close_connection = True
    return True


def test_operations_travel_there_and_back_over_one_kept_alive_connection(authority: Authority, nodes: list[FakeNode]) -> None:
    connections = set()
    nodes[0].behave = lambda handler: connections.add(handler.client_address)
    cluster = road(authority, nodes)
    assert cluster.perform([CREATE]) == [Written((Version(1, 1),))]
    assert cluster.perform([READ, READ]) == [Found(Version(1, 1), b"value", "utf-8")] * 2
    assert cluster.perform([DELETE]) == [Deleted()]
    assert requests(nodes) == [3, 0, 0]
    assert len(connections) == 1


def test_a_process_stays_with_a_node_that_works(authority: Authority, nodes: list[FakeNode]) -> None:
    cluster = road(authority, nodes)
    nodes[0].behave = lambda handler: answer(handler, 503, b"")
    for _ in range(3):
        assert codes(cluster.perform([READ])) == ["secret_not_found"]
    assert requests(nodes) == [1, 3, 0]


def test_many_reads_are_spread_over_the_nodes_that_answer(authority: Authority, nodes: list[FakeNode]) -> None:
    cluster = road(authority, nodes)
    assert codes(cluster.perform([CREATE])) == [""]
    many = [READ if number % 3 else Read(OTHER) for number in range(130)]
    expected = ["" if number % 3 else "secret_not_found" for number in range(130)]
    assert codes(cluster.perform(many)) == expected
    assert requests(nodes) == [2, 1, 0], "as many nodes as there is enough to do for"
    nodes[1].behave = drop
    assert codes(cluster.perform(many)) == expected, "what one of them loses another is asked"
    before = requests(nodes)
    assert codes(cluster.perform(many)) == expected
    assert requests(nodes)[1] == before[1], "and then it is left alone"
    before = requests(nodes)
    assert codes(cluster.perform([*many, DELETE])) == [*expected, ""]
    assert sum(requests(nodes)) == sum(before) + 1, "what writes goes to one node only"


@pytest.mark.parametrize("operation", [READ, CREATE])
def test_a_recovering_node_did_nothing_so_the_next_is_asked(authority: Authority, nodes: list[FakeNode], operation: Operation) -> None:
    nodes[0].behave = nodes[1].behave = lambda handler: answer(handler, 503, b"")
    result = road(authority, nodes).perform([operation])[0]
    assert isinstance(result, Written) if operation is CREATE else codes([result]) == ["secret_not_found"]
    assert requests(nodes) == [1, 1, 1]


@pytest.mark.parametrize("operation", [READ, CREATE])
def test_a_refused_connection_costs_nothing(authority: Authority, nodes: list[FakeNode], operation: Operation) -> None:
    cluster = connect(make_settings(authority.folder, nodes={"node-9": closed_port(), "node-3": nodes[2].url}, threshold=2))
    cluster._line = ("node-9", "node-3")
    begun = time.monotonic()
    assert codes(cluster.perform([operation])) in ([""], ["secret_not_found"])
    assert time.monotonic() - begun < 0.5


def test_with_no_node_at_all_the_answer_is_at_once_and_definite(authority: Authority) -> None:
    cluster = connect(make_settings(authority.folder, nodes={f"node-{i}": closed_port() for i in (1, 2, 3)}, threshold=2))
    begun = time.monotonic()
    assert codes(cluster.perform([READ, CREATE, DELETE])) == ["unavailable", "voting_failed", "voting_failed"]
    assert time.monotonic() - begun < 0.5


BAD_ANSWERS = {
    "no answer": drop,
    "no http": lambda handler: bool(handler.wfile.write(b"nonsense\r\n\r\n")) and drop(handler),
    "half an answer": lambda handler: bool(handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n\x91")) and drop(handler),
    "an error": lambda handler: answer(handler, 500, b""),
    "forbidden": lambda handler: answer(handler, 403, b""),
    "a redirect": lambda handler: answer(handler, 307, b"", Location="https://127.0.0.1:1/"),
    "garbage": lambda handler: answer(handler, 200, b"\xc1garbage"),
    "deep nesting": lambda handler: answer(handler, 200, b"\x91" * 100_000),
    "too few results": lambda handler: answer(handler, 200, msgspec.msgpack.encode([])),
    "a result of another kind": lambda handler: answer(handler, 200, msgspec.msgpack.encode([Deleted()])),
    "an unknown code": lambda handler: answer(handler, 200, msgspec.msgpack.encode([Failed("marker")])),
    "a huge answer": lambda handler: answer(handler, 200, b"\x00" * 1_100_000),
}


@pytest.mark.parametrize("bad", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
def test_a_read_goes_on_to_the_next_node_and_a_write_says_that_it_does_not_know(
    authority: Authority, nodes: list[FakeNode], bad: object
) -> None:
    nodes[0].behave = bad
    small = {"answer_bytes": 1_048_576}
    assert codes(road(authority, nodes, **small).perform([READ])) == ["secret_not_found"]
    assert requests(nodes) == [1, 1, 0]
    assert codes(road(authority, nodes, **small).perform([CREATE])) == ["writing_failed"]
    assert requests(nodes) == [2, 1, 0]
    assert codes(road(authority, nodes, **small).perform([READ, CREATE])) == ["secret_not_found", "writing_failed"]


def test_a_node_that_answers_too_late_or_drips_is_given_up_at_the_deadline(authority: Authority, nodes: list[FakeNode]) -> None:
    release = threading.Event()

    def drip(handler: http.server.BaseHTTPRequestHandler) -> bool:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not release.wait(0.05):
            handler.wfile.write(b"x")
        return drop(handler)

    nodes[0].behave = drip
    nodes[1].behave = lambda handler: release.wait(10) and drop(handler)
    try:
        cluster = road(authority, nodes, answer_timeout_seconds=0.3, read_timeout_seconds=0.3)
        assert codes(cluster.perform([READ])) == ["unavailable"], "more are silent than may be; who asks has waited long enough"
        assert requests(nodes) == [1, 1, 0]
        assert codes(cluster.perform([READ])) == ["secret_not_found"], "those that were silent are asked last"
        assert codes(cluster.perform([CREATE])) == [""]
        assert codes(road(authority, nodes, answer_timeout_seconds=0.3, read_timeout_seconds=0.3).perform([CREATE])) == ["writing_failed"]
    finally:
        release.set()


@pytest.mark.parametrize("operation", [READ, CREATE])
def test_while_a_node_is_paused_others_are_asked(
    authority: Authority, nodes: list[FakeNode], operation: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.road.OVERDUE_SECONDS", 0.1)
    release = threading.Event()
    nodes[0].behave = lambda handler: release.wait(10) and drop(handler)
    cluster = road(authority, nodes)
    stuck = gevent.spawn(cluster.perform, [operation])
    try:
        while not (stuck.ready() if operation is READ else cluster._nodes["node-1"].overdue):
            gevent.sleep(0.01)
        assert codes(cluster.perform([operation])) in ([""], ["secret_not_found"])
        assert requests(nodes) == ([1, 2, 0] if operation is READ else [1, 1, 0])
        assert stuck.ready() == (operation is READ), "a read is answered by another node; a write may have been made by the first"
    finally:
        release.set()
    stuck.join(timeout=10)
    assert codes(stuck.value) == (["secret_not_found"] if operation is READ else ["writing_failed"])


def test_a_kept_alive_connection_that_the_node_closed_is_noticed_before_a_write_is_sent(
    authority: Authority, nodes: list[FakeNode]
) -> None:
    closed = threading.Event()

    def answer_and_close(handler: http.server.BaseHTTPRequestHandler) -> bool:
        answer(handler, 200, msgspec.msgpack.encode([Failed("secret_not_found")]))
        handler.connection.shutdown(socket.SHUT_RDWR)
        closed.set()
        return drop(handler)

    cluster = road(authority, nodes)
    nodes[0].behave = answer_and_close
    assert codes(cluster.perform([READ])) == ["secret_not_found"]
    assert closed.wait(10)
    nodes[0].behave = lambda handler: False
    assert codes(cluster.perform([CREATE])) == [""]
    assert requests(nodes) == [2, 0, 0]


def test_a_read_swallowed_by_a_kept_alive_connection_is_sent_once_more(authority: Authority, nodes: list[FakeNode]) -> None:
    cluster = road(authority, nodes)
    assert codes(cluster.perform([READ])) == ["secret_not_found"]
    count = iter(range(10))
    nodes[0].behave = lambda handler: next(count) == 0 and drop(handler)
    assert codes(cluster.perform([READ])) == ["secret_not_found"]
    assert requests(nodes) == [3, 0, 0]


@pytest.mark.parametrize(
    "uris",
    [
        (f"spiffe://{DOMAIN}/node/node-2",),
        (f"spiffe://{DOMAIN}/gateway/node-1",),
        ("spiffe://elsewhere.test/node/node-1",),
        (f"spiffe://{DOMAIN}/node/node-1", f"spiffe://{DOMAIN}/node/node-2"),
        (),
    ],
)
def test_a_node_that_is_not_the_one_meant_is_told_nothing(authority: Authority, uris: tuple[str, ...]) -> None:
    impostor = FakeNode(authority, *uris, vault=FakeVault())
    try:
        assert codes(road(authority, [impostor]).perform([CREATE])) == ["voting_failed"]
        assert impostor.requests == 0
    finally:
        impostor.stop()


def test_a_node_of_another_authority_is_told_nothing(authority: Authority, tmp_path: Path) -> None:
    foreign = FakeNode(Authority(tmp_path / "foreign"), f"spiffe://{DOMAIN}/node/node-1", vault=FakeVault())
    try:
        assert codes(road(authority, [foreign]).perform([CREATE])) == ["voting_failed"]
        assert foreign.requests == 0
    finally:
        foreign.stop()


class Impatient:
    """A vault whose first ``count`` answers ask for patience."""

    def __init__(self, nodes: list[FakeNode], code: str, count: int) -> None:
        nodes[0].vault.failures = [Failed(code, names=("a",), retry_ms=20)] * count


@pytest.mark.parametrize(("operation", "code"), [(READ, "unavailable"), (CREATE, "write_conflict")])
def test_what_asks_for_patience_is_asked_again(authority: Authority, nodes: list[FakeNode], operation: Operation, code: str) -> None:
    Impatient(nodes, code, 3)
    assert codes(road(authority, nodes).perform([operation])) in ([""], ["secret_not_found"])
    assert requests(nodes) == [4, 0, 0]


def test_only_what_asks_for_patience_is_asked_again(authority: Authority, nodes: list[FakeNode]) -> None:
    Impatient(nodes, "unavailable", 1)
    assert codes(road(authority, nodes).perform([READ, READ])) == ["secret_not_found"] * 2
    assert [len(batch) for batch in nodes[0].vault.batches] == [2, 1]


def test_patience_ends_at_the_deadline_with_the_error_as_it_came_or_unavailable(authority: Authority, nodes: list[FakeNode]) -> None:
    Impatient(nodes, "write_conflict", 1000)
    cluster = road(authority, nodes, read_retry_seconds=0.1, write_retry_seconds=0.3)
    begun = time.monotonic()
    assert cluster.perform([READ]) == [Failed("unavailable", names=("a",))]
    assert 0.1 <= time.monotonic() - begun < 0.4
    begun = time.monotonic()
    assert cluster.perform([CREATE]) == [Failed("write_conflict", names=("a",))]
    assert 0.3 <= time.monotonic() - begun < 0.8


def test_many_clients_share_few_requests_and_each_gets_its_own_answer(authority: Authority, nodes: list[FakeNode]) -> None:
    cluster = road(authority, nodes)
    names = [f"n{i}" for i in range(24)]
    for name in names:
        assert codes(cluster.perform([Create((NewValue(SecretId("default", name), name.encode()),), 1)])) == [""]
    before = nodes[0].requests
    nodes[0].behave = lambda handler: bool(time.sleep(0.002))
    wrong: list[object] = []

    def client(name: str) -> None:
        for _ in range(20):
            result = cluster.perform([Read(SecretId("default", name))])[0]
            if not isinstance(result, Found) or result.value != name.encode():
                wrong.append(result)

    gevent.joinall([gevent.spawn(client, name) for name in names], raise_error=True)
    assert wrong == []
    assert nodes[0].requests - before < 24 * 20 / 3


def test_an_update_with_the_wrong_number_of_versions_is_no_answer(authority: Authority, nodes: list[FakeNode]) -> None:
    nodes[0].behave = lambda handler: answer(handler, 200, msgspec.msgpack.encode([Written((Version(1, 1), Version(2, 2)))]))
    assert codes(road(authority, nodes).perform([Update(NewValue(SECRET, b""), 1)])) == ["writing_failed"]


def test_new_certificates_serve_the_next_connection(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("gateway", f"spiffe://{DOMAIN}/gateway/gateway-1")
    seen: list[str] = []
    node = FakeNode(authority, f"spiffe://{DOMAIN}/node/node-1", vault=FakeVault())

    def note(handler: http.server.BaseHTTPRequestHandler) -> bool:
        sans = dict(handler.connection.getpeercert()["subjectAltName"])
        seen.append(sans["URI"].rsplit("/", 1)[1])
        answer(handler, 200, msgspec.msgpack.encode([Failed("secret_not_found")]))
        return drop(handler)

    node.behave = note
    try:
        cluster = road(authority, [node])
        cluster.perform([READ])
        (tmp_path / "gateway.key").write_bytes(b"half written")
        time.sleep(0.05)
        cluster.perform([READ])
        authority.issue("gateway", f"spiffe://{DOMAIN}/gateway/gateway-2")
        time.sleep(0.05)
        cluster.perform([READ])
        assert seen == ["gateway-1", "gateway-1", "gateway-2"]
    finally:
        node.stop()
