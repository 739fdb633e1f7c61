"""A network that falls apart, in one direction or both: what is reached goes on, the rest says so, and every history has one order."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator

import pytest
from concurrent_clients import Campaign, Nemesis
from http_vault import HttpVault
from partitioned_cluster import OUTSIDE, Forbidden, PartitionedCluster
from real_cluster import eventually

pytestmark = pytest.mark.slow

CLIENTS = 12
SECONDS = 60.0
LONG_SECONDS = 12.0
"""More than a gateway waits for an answer."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PartitionedCluster]:
    try:
        with PartitionedCluster(tmp_path_factory.mktemp("partitions") / "cluster") as cluster:
            yield cluster
    except Forbidden as forbidden:
        pytest.skip(f"no network namespaces here: {forbidden}")


@pytest.fixture
def cluster(running: PartitionedCluster) -> Iterator[PartitionedCluster]:
    """The running cluster; afterwards every road is open again."""
    yield running
    running.heal()


class Partitions(Nemesis):
    """Roads are cut, for a moment or for longer than any time-out between nodes."""

    def __init__(self, cluster: PartitionedCluster, seed: int) -> None:
        super().__init__(seed)
        self._cluster = cluster

    def strike(self, over: threading.Event) -> None:
        cluster, nodes = self._cluster, list(self._cluster.nodes)
        self.random.shuffle(nodes)
        one, few, many = nodes[:1], nodes[:2], nodes[2:]
        fault = self.random.choice(("alone", "unheard", "deaf", "deaf to nodes", "two and three", "ring", "answers lost"))
        self.faults[fault] += 1
        match fault:
            case "alone":
                cluster.cut([*nodes, OUTSIDE], one)
                cluster.cut(one, nodes)
            case "unheard":
                cluster.cut(one, nodes)
            case "deaf":
                cluster.cut([*nodes, OUTSIDE], one)
            case "deaf to nodes":
                cluster.cut(nodes, few)
            case "two and three":
                cluster.cut(few, many)
                cluster.cut(many, few)
            case "answers lost":
                cluster.cut(nodes[:4], [OUTSIDE])
            case _:
                for place, node in enumerate(nodes):
                    cluster.cut([nodes[(place + 2) % 5], nodes[(place + 3) % 5]], [node])
        over.wait(LONG_SECONDS if fault == "answers lost" else self.random.choice((0.5, 2.0, 6.0)))
        cluster.heal()

    def heal(self) -> None:
        self._cluster.heal()


def test_a_majority_serves_and_a_minority_cannot_be_tricked(cluster: PartitionedCluster) -> None:
    api, nodes = cluster.api, cluster.nodes
    eventually(lambda: api.create("split", "before").status in (201, 409), "the vault serves")
    cluster.cut([*nodes, OUTSIDE], nodes[:2])
    eventually(lambda: api.update("split", "two are cut off").status == 200, "three nodes of five write")
    assert api.get("split").body["value"] == "two are cut off"
    cluster.cut([*nodes, OUTSIDE], nodes[:3])
    answer = api.update("split", "three are cut off")
    assert answer.status == 503, answer.told
    assert api.get("split").status == 503
    cluster.heal()
    eventually(lambda: api.get("split").status == 200, "everything is back")
    assert api.get("split").body["value"] in ("two are cut off", "three are cut off")


def test_concurrent_clients_see_one_order_per_secret_while_the_network_falls_apart(cluster: PartitionedCluster) -> None:
    seed = random.SystemRandom().randrange(2**32)
    campaign = Campaign([HttpVault(cluster.api, "parted/")], Partitions(cluster, seed), clients=CLIENTS, seed=seed)
    begun = time.monotonic()
    try:
        campaign.run(SECONDS)
    finally:
        print(f"seed {seed}, {time.monotonic() - begun:.0f} s\n{campaign.report()}")
    assert campaign.recorder.count("written", "deleted") > 100
    assert len(campaign.nemesis.faults) > 1
