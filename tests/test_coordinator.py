"""One node drives batches of operations, with real stores behind it: through absent, cut-off and broken nodes."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator, Sequence
from typing import ClassVar

import pytest
from local_cluster import LATENCY_SECONDS, LocalCluster

from model.message import Addressed, Query, Reply, Snapshot, Write
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
    Operation,
    Read,
    Result,
    SecretId,
    Status,
    Update,
    Versions,
    Written,
)
from model.record import Ballot, Header, Kind
from node.config import Settings
from node.schema import connect
from node.store import Store

SECRET = SecretId("default", "app/db")
OTHER = SecretId("default", "app/key")
VALUE = b"correct horse battery staple, unmistakably"


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    cluster = LocalCluster()
    yield cluster
    cluster.close()


def new(secret: SecretId = SECRET, value: bytes = VALUE) -> NewValue:
    return NewValue(secret, value)


def batch(cluster: LocalCluster, *operations: Operation, node: str = "node-1") -> list[Result]:
    """The results of a batch. The leases of earlier writes have been given up before."""
    cluster.network.let_pass(0.1)
    return cluster.processes[node].coordinator.perform(operations)


def kinds(results: list[Result]) -> list[str]:
    return [result.code if isinstance(result, Failed) else type(result).__name__ for result in results]


@pytest.mark.parametrize("down", list(itertools.combinations(range(1, 6), 2)))
def test_any_two_of_five_nodes_may_be_down(cluster: LocalCluster, down: tuple[int, int]) -> None:
    for number in down:
        cluster.crash(f"node-{number}")
    node = next(node for node in cluster.nodes if cluster.up(node))
    group = Create((new(OTHER), new(SecretId("default", "third"))), 1)
    steps: list[Operation] = [Create((new(),), 1), Update(new(value=b"two"), 2), Read(SECRET), Read(SECRET, version=1)]
    steps += [History(SECRET), group]
    results = [batch(cluster, step, node=node)[0] for step in steps]
    assert kinds(results) == ["Written", "Written", "Found", "Found", "Versions", "Written"]
    assert batch(cluster, List("default"), node=node) == [Names(("app/db", "app/key", "third"), False)]
    assert batch(cluster, Delete(SECRET, 3), node=node) == [Deleted()]
    assert kinds(batch(cluster, Read(SECRET), node=node)) == ["secret_not_found"]


def test_with_three_down_nothing_is_written_and_that_is_said_soon(cluster: LocalCluster) -> None:
    third = SecretId("default", "third")
    batch(cluster, Create((new(),), 1), Create((new(third),), 1))
    for number in (3, 4, 5):
        cluster.crash(f"node-{number}")
    begun = cluster.network.clock.now
    operations = (Update(new(), 2), Delete(third, 2), Create((new(OTHER),), 2), Read(SECRET), History(SECRET))
    assert kinds(batch(cluster, *operations)) == ["voting_failed"] * 3 + ["unavailable"] * 2
    assert kinds(batch(cluster, List("default"))) == ["unavailable"]
    assert cluster.network.clock.now - begun < 15.0
    for number in (3, 4, 5):
        cluster.restart(f"node-{number}")
    cluster.network.let_pass(5.0)
    found = cluster.perform(Read(SECRET))
    assert isinstance(found, Found)
    assert (found.value, found.version.version) == (VALUE, 1)


def test_a_node_whose_own_disk_refuses_coordinates_no_write_and_the_others_go_on(cluster: LocalCluster) -> None:
    class Refusing(LocalCluster):
        def open_store(self, settings: Settings) -> Store:
            if settings.id != "node-1":
                return super().open_store(settings)
            database = connect(settings.database)
            database.execute_sql("PRAGMA query_only = 1")
            return Store(database, settings.id, self.network.clock)

    refusing = Refusing()
    try:
        assert kinds(batch(refusing, Create((new(),), 1))) == ["voting_failed"]
        refusing.network.let_pass(5.0)
        assert kinds(batch(refusing, Create((new(),), 1), node="node-2")) == ["Written"]
        assert kinds(batch(refusing, Read(SECRET))) == ["Found"]
    finally:
        refusing.close()


def test_two_writes_of_one_secret_in_one_batch_do_not_meet(cluster: LocalCluster) -> None:
    first, second = batch(cluster, Create((new(),), 1), Update(new(value=b"two"), 2))
    assert isinstance(first, Written)
    assert isinstance(second, Failed)
    assert (second.code, second.retry_ms is not None) == ("write_conflict", True)


def test_a_batch_of_many_operations_is_answered_in_order(cluster: LocalCluster) -> None:
    names = [SecretId("default", f"n{number:03}") for number in range(100)]
    assert kinds(batch(cluster, *(Create((new(name, name.name.encode()),), 1) for name in names))) == ["Written"] * 100
    found = batch(cluster, *(Read(name) for name in reversed(names)), node="node-2")
    assert [result.value for result in found if isinstance(result, Found)] == [name.name.encode() for name in reversed(names)]


@pytest.mark.parametrize(
    "operation",
    [
        Read(SecretId("", "0123456789abcdef")),
        Create((new(SecretId("", "group")),), 1),
        Create((new(), new()), 1),
        Create((), 1),
        Update(new(SecretId("default", "../up")), 1),
        Delete(SecretId("Default", "x"), 1),
        History(SecretId("default", "")),
        List(""),
        List("default", limit=0),
        List("default", limit=1001),
        List("default", prefix="\n"),
    ],
)
def test_what_no_caller_may_ask_for_is_refused_alone(cluster: LocalCluster, operation: Operation) -> None:
    assert kinds(batch(cluster, Create((new(OTHER),), 1), operation, Status())) == ["Written", "invalid_request", "NodeStatus"]


def test_a_group_names_every_secret_that_exists_even_right_after_it_was_written(cluster: LocalCluster) -> None:
    names = [SecretId("default", name) for name in ("a", "b", "c")]
    for name in names[:2]:
        cluster.perform(Create((new(name),), 1))
    cluster.perform(Update(new(names[0]), 2))
    assert cluster.perform(Create(tuple(new(name) for name in names), 3)) == Failed("secret_exists", names=("a", "b"))


def test_a_one_way_cut_is_survived(cluster: LocalCluster) -> None:
    for node in ("node-4", "node-5"):
        cluster.cut_off(node, "node-1")
        cluster.cut_off("node-2", node)
    for node in cluster.nodes:
        secret = SecretId("default", node)
        assert kinds(batch(cluster, Create((new(secret),), 1), node=node)) == ["Written"]
        cluster.network.let_pass(5.0)
        assert kinds(batch(cluster, Update(new(secret), 2), node=node)) == ["Written"]
        cluster.network.let_pass(5.0)
    for node in cluster.nodes:
        assert batch(cluster, List("default"), node=node) == [Names(tuple(cluster.nodes), False)]


def test_a_list_shows_what_is_live_page_by_page(cluster: LocalCluster) -> None:
    names = [f"n{number:02}" for number in range(20)]
    for name in names:
        assert isinstance(cluster.perform(Create((new(SecretId("default", name)),), 1)), Written)
    for name in names[::2]:
        assert cluster.perform(Delete(SecretId("default", name), 2)) == Deleted()
    seen: list[str] = []
    more = True
    while more:
        page = cluster.perform(List("default", "n", seen[-1] if seen else "", 3))
        assert isinstance(page, Names)
        assert len(page.names) <= 3
        seen += page.names
        more = page.more
    assert seen == names[1::2]


def test_a_live_secret_is_listed_though_a_node_that_answers_holds_a_tombstone_that_never_won(cluster: LocalCluster) -> None:
    cluster.crash("node-4")
    cluster.crash("node-5")
    batch(cluster, Create((new(),), 1))
    cluster.network.let_pass(5.0)
    (snapshot,) = cluster.apply("node-1", [Addressed(SECRET, Query())])
    assert isinstance(snapshot, Snapshot)
    head = snapshot.views[0].header
    assert head is not None
    ballot = Ballot(99, "node-1", 1)
    grave = Header(ballot, Kind.TOMBSTONE, head.incarnation, 2, 1, head.tag, (), 2, head.threshold, head.placement)
    cluster.apply("node-1", [Addressed(SECRET, Write(ballot, grave, None, None))])
    for node in ("node-4", "node-5"):
        cluster.restart(node)
    for node in cluster.nodes:
        assert batch(cluster, List("default"), node=node) == [Names(("app/db",), False)]


def test_the_files_of_k_minus_1_nodes_hold_neither_a_value_nor_k_shares(cluster: LocalCluster) -> None:
    cluster.perform(Create((new(),), 1))
    cluster.perform(Update(new(value=VALUE[::-1]), 2))
    cluster.settle()
    raw = {node: b"".join(path.read_bytes() for path in cluster.files(node)) for node in cluster.nodes}
    shares = _shares(cluster)
    for pair in itertools.combinations(cluster.nodes, 2):
        stolen = b"".join(raw[node] for node in pair)
        for value in (VALUE, VALUE[::-1]):
            for form in (value, base64.b64encode(value)[:-4], value.hex().encode(), value.hex().upper().encode()):
                assert form not in stolen
        for version in (1, 2):
            assert sum(share in stolen for node, share in shares[version].items()) == 2


def test_after_a_deletion_no_share_is_left_in_any_file_of_any_node(cluster: LocalCluster) -> None:
    cluster.perform(Create((new(value=VALUE * 100),), 1))
    cluster.perform(Update(new(value=VALUE * 50), 2))
    cluster.settle()
    shares = _shares(cluster)
    raw = {node: b"".join(path.read_bytes() for path in cluster.files(node)) for node in cluster.nodes}
    assert all(share in raw[node] for version in (1, 2) for node, share in shares[version].items())
    assert cluster.perform(Delete(SECRET, 3)) == Deleted()
    cluster.network.let_pass(5.0)
    for node in cluster.nodes:
        left = b"".join(path.read_bytes() for path in cluster.files(node))
        assert not any(share in left for version in (1, 2) for share in shares[version].values())


def _shares(cluster: LocalCluster) -> dict[int, dict[str, bytes]]:
    """Each node's share of each version."""
    shares: dict[int, dict[str, bytes]] = {}
    for node in cluster.nodes:
        (snapshot,) = cluster.apply(node, [Addressed(SECRET, Query(lineage=True, shares=True))])
        assert isinstance(snapshot, Snapshot)
        for view in snapshot.views:
            assert view.header is not None
            assert view.share is not None
            shares.setdefault(view.header.version, {})[node] = view.share
    return shares


def test_a_value_a_share_or_a_key_is_in_no_text_that_an_operation_or_a_message_has(cluster: LocalCluster) -> None:
    operations = [Create((new(),), 1), Update(new(), 2)]
    results = [cluster.perform(operation) for operation in (*operations, Read(SECRET))]
    (snapshot,) = cluster.apply("node-1", [Addressed(SECRET, Query(lineage=True, shares=True, sealed=True))])
    text = repr([operations, results, snapshot])
    assert isinstance(results[2], Found)
    assert VALUE.decode() not in text
    assert isinstance(snapshot, Snapshot)
    assert all(repr(view.share) not in text and repr(view.sealed) not in text for view in snapshot.views)


def test_a_history_of_many_versions_reads_from_any_node(cluster: LocalCluster) -> None:
    cluster.perform(Create((new(),), 1))
    for number in range(30):
        assert isinstance(cluster.perform(Update(new(value=b"%d" % number), number)), Written)
    for node in cluster.nodes:
        history = cluster.perform_at(node, History(SECRET))
        assert isinstance(history, Versions)
        assert [version.version for version in history.versions] == list(range(1, 32))
        read = cluster.perform_at(node, Read(SECRET, version=7))
        assert isinstance(read, Found)
        assert read.value == b"5"


class ListeningStore(Store):
    """Remembers the queries that it answered."""

    queries: ClassVar[list[Query]] = []

    def apply(self, messages: Sequence[Addressed]) -> list[Reply]:
        self.queries.extend(each.message for each in messages if isinstance(each.message, Query))
        return super().apply(messages)


class ListeningCluster(LocalCluster):
    """Of listening nodes."""

    def open_store(self, settings: Settings) -> Store:
        return ListeningStore.open(settings.database, settings.id, self.network.clock)


def test_a_batch_that_reads_many_versions_of_one_secret_has_its_history_read_once() -> None:  # PROTO-15
    cluster = ListeningCluster()
    try:
        for number in range(1, 21):
            value = new(value=str(number).encode())
            assert kinds(batch(cluster, Create((value,), 1) if number == 1 else Update(value, number))) == ["Written"]
        ListeningStore.queries.clear()
        found = batch(cluster, *(Read(SECRET, version=number) for number in range(1, 22)), Read(SECRET), Read(SECRET, at=1))
        assert sum(query.lineage for query in ListeningStore.queries) == 3
    finally:
        cluster.close()
    assert [result.value for result in found if isinstance(result, Found)] == [str(number).encode() for number in [*range(1, 21), 20, 1]]
    assert kinds(found)[20] == "version_not_found"


def test_every_answer_comes_in_time_however_many_say_nothing(cluster: LocalCluster) -> None:
    clock, settings = cluster.network.clock, cluster.settings["node-1"]
    voting, whole = settings.voting_timeout_ms / 1000, settings.operation_timeout_ms / 1000
    assert kinds(batch(cluster, Create((new(),), 1000))) == ["Written"]
    silent = {(node, "node-1") for node in cluster.nodes[2:]}
    cluster.network.let_pass(0.1)
    cluster.network.cut |= silent
    for operations in (
        [Update(new(), 2000)],
        [Create((new(OTHER),), 2000)],
        [Read(SECRET)],
        [History(SECRET)],
        [Read(SECRET), Delete(SECRET, 2000)],
    ):
        cluster.network.let_pass(0.1)
        begun = clock.now
        results = cluster.processes["node-1"].coordinator.perform(operations)
        assert {result.code for result in results if isinstance(result, Failed)} <= {"voting_failed", "unavailable"}, results
        assert len(results) == len(operations)
        assert clock.now - begun == pytest.approx(voting)
    cluster.network.cut -= silent
    cluster.network.let_pass(10)
    begun = clock.now
    cluster.network.after(LATENCY_SECONDS * 1.5, lambda: cluster.network.cut.update(silent))
    assert kinds(cluster.processes["node-1"].coordinator.perform([Update(new(), 3000)])) == ["writing_failed"]
    assert clock.now - begun == pytest.approx(whole)
