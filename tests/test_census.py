"""A node's status is what is true now: who serves, not who was heard of before or merely answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from local_cluster import LocalCluster

from model.operation import NodeStatus
from node.census import FRESH_SECONDS


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    cluster = LocalCluster()
    yield cluster
    cluster.close()


class Listening(LocalCluster):
    """Remembers who was sent exchanges."""

    def __init__(self) -> None:
        self.received: list[str] = []
        super().__init__()

    def receive(self, sender: str, node: str, body: bytes) -> bytes | None:
        self.received.append(node)
        return super().receive(sender, node, body)


def serving(cluster: LocalCluster, node: str = "node-1") -> int:
    """What the node says once its last count is no longer good."""
    cluster.network.let_pass(FRESH_SECONDS)
    return cluster.status(node).serving_count


def test_a_node_that_has_only_just_started_counts_all_that_serve(cluster: LocalCluster) -> None:
    assert cluster.status("node-1") == NodeStatus("node-1", 5, 3, 3)
    cluster.crash("node-1")
    cluster.restart("node-1")
    assert cluster.status("node-1") == NodeStatus("node-1", 5, 3, 3)


def test_a_node_that_is_down_or_cut_off_is_missed_and_one_that_returns_counts(cluster: LocalCluster) -> None:
    cluster.crash("node-4")
    cluster.cut_off("node-1", "node-5")
    assert serving(cluster) == 3
    cluster.restart("node-4")
    assert serving(cluster) == 4
    cluster.network.cut.clear()
    assert serving(cluster) == 5


def test_a_node_that_recovers_answers_but_counts_only_once_it_serves_again(cluster: LocalCluster) -> None:
    cluster.lose_disk("node-2")
    cluster.restart("node-2")
    assert (serving(cluster), serving(cluster, "node-2")) == (4, 4)
    cluster.turn("node-2")
    assert cluster.processes["node-2"].store.serving
    assert (serving(cluster), serving(cluster, "node-2")) == (5, 5)


def test_a_silent_node_is_waited_for_no_longer_than_a_read_waits_for_it(cluster: LocalCluster) -> None:
    cluster.cut_off("node-5", "node-1")
    cluster.cut_off("node-1", "node-5")
    begun = cluster.network.clock.now
    assert cluster.status("node-1").serving_count == 4
    assert cluster.network.clock.now - begun < 2 * cluster.settings["node-1"].patience_ms / 1000


def test_many_who_ask_get_the_same_count_and_a_moment_later_a_new_one() -> None:
    cluster = Listening()
    for _ in range(10):
        assert cluster.status("node-1").serving_count == 5
    assert sorted(cluster.received) == ["node-2", "node-3", "node-4", "node-5"]
    cluster.crash("node-3")
    assert serving(cluster) == 4
    cluster.close()


def test_a_node_says_what_it_counts_by() -> None:
    cluster = LocalCluster(5, 2, write_quorum=5)
    try:
        assert cluster.status("node-3") == NodeStatus("node-3", 5, 2, 5)
    finally:
        cluster.close()
