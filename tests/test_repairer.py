"""The caretaker restores what a node missed or lost, finishes what a crash left, and is never stopped by one bad secret."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from local_cluster import Died, LocalCluster

from model.message import Addressed, Query, Snapshot, View
from model.operation import Create, Delete, Deleted, Failed, Found, History, NewValue, Read, Result, SecretId, Update, Versions, Written

SECRET = SecretId("default", "app/db")


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    cluster = LocalCluster()
    yield cluster
    cluster.close()


def new(text: str, secret: SecretId = SECRET) -> NewValue:
    return NewValue(secret, text.encode())


def create(cluster: LocalCluster, text: str = "one", secret: SecretId = SECRET) -> None:
    assert isinstance(cluster.perform(Create((new(text, secret),), 1)), Written)


def update(cluster: LocalCluster, text: str) -> None:
    assert isinstance(cluster.perform(Update(new(text), 1)), Written)


def views(cluster: LocalCluster, node: str, secret: SecretId = SECRET) -> tuple[View, ...]:
    (snapshot,) = cluster.apply(node, [Addressed(secret, Query(lineage=True, shares=True, sealed=True))])
    assert isinstance(snapshot, Snapshot)
    return snapshot.views


def versions(cluster: LocalCluster, node: str) -> list[int]:
    """The versions that a node has a sound share of."""
    return [view.header.version for view in views(cluster, node) if view.header is not None and view.share is not None]


def turns(cluster: LocalCluster, node: str, count: int = 4) -> None:
    for _ in range(count):
        cluster.network.let_pass(61.0)
        cluster.turn(node)


def value_at(cluster: LocalCluster, node: str, secret: SecretId = SECRET) -> bytes | Result | None:
    result = cluster.perform_at(node, Read(secret))
    return result.value if isinstance(result, Found) else result


def die_writing(cluster: LocalCluster, node: str, operation: Create | Update | Delete, reached: int) -> None:
    """The coordinator dies when its votes are in and so many of its peers got the write."""
    cluster.doom(node, 2 * (len(cluster.nodes) - 1) - (len(cluster.nodes) - 1 - reached))
    with pytest.raises(Died):
        cluster.perform_at(node, operation)
    cluster.network.let_pass(10.0)


def test_a_node_that_was_away_gets_every_version_that_it_missed(cluster: LocalCluster) -> None:
    cluster.crash("node-5")
    create(cluster)
    update(cluster, "two")
    cluster.network.let_pass(1.0)
    cluster.restart("node-5")
    turns(cluster, "node-5")
    assert versions(cluster, "node-5") == [1, 2]


def test_a_version_that_reaches_a_node_before_it_caught_up_does_not_hide_the_ones_before(cluster: LocalCluster) -> None:
    create(cluster)
    cluster.network.let_pass(1.0)
    cluster.crash("node-5")
    update(cluster, "two")
    cluster.restart("node-5")
    update(cluster, "three")
    cluster.network.let_pass(1.0)
    assert versions(cluster, "node-5") == [1, 3]
    turns(cluster, "node-5")
    assert versions(cluster, "node-5") == [1, 2, 3]


def test_a_version_that_was_in_doubt_when_the_next_was_written_reaches_every_node(cluster: LocalCluster) -> None:
    create(cluster)
    cluster.settle()
    cluster.crash("node-5")
    die_writing(cluster, "node-1", Update(new("two"), 2), 3)
    cluster.crash("node-4")
    cluster.restart("node-5")
    cluster.restart("node-1")
    for node in ("node-1", "node-5"):
        cluster.cut_off("node-3", node)
    cluster.perform_at("node-1", Update(new("three"), 3))
    cluster.settle()
    held = [versions(cluster, node) for node in cluster.nodes]
    assert held == [held[0]] * 5


def test_a_node_that_missed_a_deletion_and_a_new_create_erases_though_it_has_the_latest_version(cluster: LocalCluster) -> None:
    create(cluster, "old")
    cluster.settle()
    (old,) = views(cluster, "node-4")
    cluster.crash("node-4")
    assert cluster.perform(Delete(SECRET, 2)) == Deleted()
    create(cluster, "one")
    update(cluster, "two")
    cluster.network.let_pass(1.0)
    cluster.restart("node-4")
    assert value_at(cluster, "node-1") == b"two"
    cluster.network.let_pass(1.0)
    cluster.turn("node-1")
    assert versions(cluster, "node-4") == [1, 2], "version 1 of the deleted secret, and 2 of the new one"
    turns(cluster, "node-4")
    assert versions(cluster, "node-4") == [1, 2]
    assert old.tag not in {view.tag for view in views(cluster, "node-4")}
    assert old.share is not None
    assert not any(old.share in path.read_bytes() for path in cluster.files("node-4"))


def test_a_read_restores_the_latest_version(cluster: LocalCluster) -> None:
    cluster.crash("node-4")
    cluster.crash("node-5")
    create(cluster)
    cluster.restart("node-5")
    assert value_at(cluster, "node-1") == b"one"
    cluster.network.let_pass(1.0)
    cluster.turn("node-1")
    assert versions(cluster, "node-5") == [1]


def test_a_repair_that_sends_only_marks_does_not_wait_for_answers_that_never_come(cluster: LocalCluster) -> None:
    create(cluster)
    begun = cluster.network.clock.now
    cluster.network.let_pass(0.5)
    assert value_at(cluster, "node-1") == b"one"
    cluster.network.let_pass(0.5)
    cluster.turn("node-1")
    assert cluster.network.clock.now - begun < 2.0


def test_erasures_go_on_until_every_node_has_carried_them_out(cluster: LocalCluster) -> None:
    create(cluster)
    cluster.network.let_pass(1.0)
    cluster.crash("node-4")
    cluster.crash("node-5")
    assert cluster.perform(Delete(SECRET, 2)) == Deleted()
    for node in ("node-4", "node-5"):
        cluster.restart(node)
        assert versions(cluster, node) == [1]
    turns(cluster, "node-1", 2)
    turns(cluster, "node-4", 2)
    turns(cluster, "node-5", 2)
    assert [versions(cluster, node) for node in cluster.nodes] == [[]] * 5


@pytest.mark.parametrize("reached", [0, 1, 2, 3, 4])
def test_a_write_that_was_cut_off_ends_one_way_or_the_other(cluster: LocalCluster, reached: int) -> None:
    create(cluster)
    cluster.network.let_pass(1.0)
    die_writing(cluster, "node-1", Update(new("two"), 2), reached)
    cluster.settle()
    assert {value_at(cluster, node) for node in cluster.nodes} in ({b"one"}, {b"two"})


@pytest.mark.parametrize("reached", [0, 1, 2, 3, 4])
def test_a_deletion_that_was_cut_off_ends_one_way_or_the_other(cluster: LocalCluster, reached: int) -> None:
    create(cluster)
    cluster.network.let_pass(1.0)
    die_writing(cluster, "node-1", Delete(SECRET, 2), reached)
    cluster.settle()
    results = [value_at(cluster, node) for node in cluster.nodes]
    gone = Failed("secret_not_found", names=("app/db",))
    assert results in ([b"one"] * 5, [gone] * 5)
    if results[0] == gone:
        assert [versions(cluster, node) for node in cluster.nodes] == [[]] * 5


def test_a_lost_disk_is_recovered_with_all_versions_and_tombstones(cluster: LocalCluster) -> None:
    grave = SecretId("default", "grave")
    create(cluster, secret=grave)
    assert cluster.perform(Delete(grave, 2)) == Deleted()
    create(cluster, secret=grave)
    create(cluster)
    update(cluster, "two")
    cluster.settle()
    before = {secret: views(cluster, "node-2", secret) for secret in (SECRET, grave)}
    cluster.lose_disk("node-2")
    cluster.restart("node-2")
    assert not cluster.processes["node-2"].store.serving
    turns(cluster, "node-2")
    assert cluster.processes["node-2"].store.serving
    for secret, old in before.items():
        assert [(view.tag, view.share, view.sealed, view.chosen) for view in views(cluster, "node-2", secret)] == [
            (view.tag, view.share, view.sealed, view.chosen) for view in old
        ]
    cluster.crash("node-3")
    cluster.crash("node-4")
    assert value_at(cluster, "node-2") == b"two"


def test_a_node_that_recovers_says_so_and_takes_no_part(cluster: LocalCluster) -> None:
    create(cluster)
    cluster.settle()
    cluster.lose_disk("node-2")
    cluster.restart("node-2")
    assert cluster.status("node-2").serving_count == 4
    for node in ("node-3", "node-4"):
        cluster.crash(node)
    assert cluster.perform(Read(SECRET)) == Failed("unavailable", names=("app/db",))
    assert cluster.perform(Update(new("two"), 2)) == Failed("voting_failed", names=("app/db",))


def test_a_node_does_not_recover_from_too_few(cluster: LocalCluster) -> None:
    create(cluster)
    cluster.settle()
    cluster.lose_disk("node-2")
    cluster.restart("node-2")
    for node in ("node-3", "node-4"):
        cluster.crash(node)
    turns(cluster, "node-2")
    assert not cluster.processes["node-2"].store.serving
    cluster.restart("node-3")
    turns(cluster, "node-2")
    assert cluster.processes["node-2"].store.serving


def test_a_recovered_node_refuses_what_it_may_have_promised_before(cluster: LocalCluster) -> None:
    create(cluster)
    cluster.settle()
    cluster.lose_disk("node-2")
    cluster.restart("node-2")
    turns(cluster, "node-2")
    highest = max(cluster.processes[node].store.promised_counter(SECRET) for node in cluster.nodes)
    assert cluster.processes["node-2"].store.promised_counter(SECRET) == highest


def test_a_write_in_doubt_does_not_keep_a_lost_disk_from_recovering(cluster: LocalCluster) -> None:
    """Two nodes hold the update, the third that may have held it has lost its disk: nobody can tell any more whether it was chosen."""
    create(cluster)
    create(cluster, secret=SecretId("default", "other"))
    cluster.settle()
    for node in ("node-4", "node-5"):
        cluster.cut_off("node-1", node)
    cluster.crash("node-3")
    die_writing(cluster, "node-1", Update(new("two"), 2), 1)
    cluster.network.cut.clear()
    cluster.lose_disk("node-3")
    for node in ("node-1", "node-3"):
        cluster.restart(node)
    turns(cluster, "node-3")
    assert cluster.processes["node-3"].store.serving
    answers = {value_at(cluster, node) if isinstance(value_at(cluster, node), bytes) else None for node in cluster.nodes}
    assert b"one" not in answers or b"two" not in answers
    assert value_at(cluster, "node-3", SecretId("default", "other")) == b"one"
    assert isinstance(cluster.perform(Update(new("three"), 3)), Written)
    assert {value_at(cluster, node) for node in cluster.nodes} == {b"three"}


def test_a_secret_in_doubt_does_not_keep_a_node_from_catching_up_with_the_others(cluster: LocalCluster) -> None:
    names = [SecretId("default", f"n{number:03}") for number in range(100)]
    cluster.crash("node-5")
    create(cluster)
    die_writing(cluster, "node-1", Update(new("two"), 2), 1)
    for name in names:
        assert isinstance(cluster.perform(Create((new("x", name),), 3)), Written)
    cluster.restart("node-5")
    turns(cluster, "node-5")
    assert all(any(view.share is not None for view in views(cluster, "node-5", name)) for name in names)


def test_a_version_that_cannot_be_rebuilt_is_at_least_known_of(cluster: LocalCluster) -> None:
    """Two of its three shares are left: it is lost, but no other may pass for it."""
    cluster.crash("node-4")
    cluster.crash("node-5")
    create(cluster)
    cluster.network.let_pass(1.0)
    cluster.lose_disk("node-3")
    for node in ("node-3", "node-4", "node-5"):
        cluster.restart(node)
    turns(cluster, "node-3")
    assert cluster.processes["node-3"].store.serving
    assert [(view.chosen, view.share) for view in views(cluster, "node-3")] == [(True, None)]
    assert value_at(cluster, "node-3") == Failed("unavailable", names=("app/db",))


def test_a_group_that_was_cut_off_before_its_decision_leaves_nothing(cluster: LocalCluster) -> None:
    names = [SecretId("default", name) for name in ("a", "b")]
    operation = Create(tuple(new("x", name) for name in names), 1)
    for parcels in range(24):
        cluster.doom("node-1", parcels)
        try:
            result = cluster.perform_at("node-1", operation)
        except Died:
            result = None
        cluster.settle()
        there = [isinstance(cluster.perform(History(name)), Versions) for name in names]
        assert there in ([True, True], [False, False])
        assert there == [True, True] or not isinstance(result, Written)
        if there[0]:
            for name in names:
                assert cluster.perform(Delete(name, 2)) == Deleted()
            cluster.settle()


def test_an_old_copy_of_a_database_crashes_nobody_and_is_caught_up(cluster: LocalCluster, tmp_path: Path) -> None:
    """A copy forgets promises and acceptances, as a lost disk does, and does not know it: that is outside what is tolerated (PROTO-12).

    At rest, when every node holds everything, it does no harm.
    """
    create(cluster)
    cluster.settle()
    cluster.crash("node-2")
    cluster.copy_disk("node-2", tmp_path)
    cluster.restart("node-2")
    update(cluster, "two")
    cluster.settle()
    cluster.crash("node-2")
    cluster.put_back("node-2", tmp_path)
    cluster.restart("node-2")
    assert {value_at(cluster, node) for node in cluster.nodes if node != "node-2"} == {b"two"}
    cluster.settle()
    assert versions(cluster, "node-2") == [1, 2]
    assert value_at(cluster, "node-2") == b"two"
