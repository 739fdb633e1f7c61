"""Concurrent clients of a real cluster under faults: for each secret there is one order that explains every answer (SEM-25)."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from concurrent_clients import Campaign, Nemesis
from gateways_apart import GatewayApart
from http_vault import Api, HttpVault
from real_cluster import RealCluster

pytestmark = pytest.mark.slow

CLIENTS = 16
SECONDS = 65.0
SKEWED_SECONDS = 30.0
AHEAD_SECONDS, BEHIND_SECONDS = 3600, -3600


class Havoc(Nemesis):
    """kill -9 and restart, SIGSTOP and SIGCONT, of up to two nodes at a time; now and then the gateway dies."""

    def __init__(self, cluster: RealCluster, seed: int, *, gateway: bool) -> None:
        super().__init__(seed)
        self._cluster = cluster
        self._gateway = gateway

    def strike(self, over: threading.Event) -> None:
        """The first kills a node and pauses another; what the others do is left to chance."""
        first = not self.faults
        if self._gateway and not first and self.random.random() < 0.1:
            self.faults["gateway killed"] += 1
            self._cluster.kill("gateway")
            self._cluster.restart("gateway")
            return
        victims = self.random.sample(self._cluster.nodes, 2 if first else self.random.choice((1, 2, 2)))
        killed = victims[:1] if first else [node for node in victims if self.random.random() < 0.5]
        paused = [node for node in victims if node not in killed]
        self._cluster.kill(*killed)
        self._cluster.pause(*paused)
        self.faults["nodes killed"] += len(killed)
        self.faults["nodes paused"] += len(paused)
        over.wait(self.random.choice((0.3, 1.5, 4.5)))
        self._cluster.wake(*paused)
        for node in killed:
            self._cluster.restart(node)

    def heal(self) -> None:
        self._cluster.heal()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    with RealCluster(tmp_path_factory.mktemp("histories") / "cluster") as cluster:
        yield cluster


def run(cluster: RealCluster, apis: list[Api], prefix: str, seconds: float, *, gateway: bool) -> Campaign:
    """The campaign with its verdict. Printed first is what is needed to understand a failure."""
    seed = random.SystemRandom().randrange(2**32)
    campaign = Campaign([HttpVault(api, prefix) for api in apis], Havoc(cluster, seed, gateway=gateway), clients=CLIENTS, seed=seed)
    begun = time.monotonic()
    try:
        campaign.run(seconds)
    finally:
        print(f"seed {seed}, {time.monotonic() - begun:.0f} s\n{campaign.report()}")
    return campaign


def test_concurrent_clients_see_one_order_per_secret_while_nodes_die_and_stand_still(cluster: RealCluster) -> None:
    campaign = run(cluster, [cluster.api], "one/", SECONDS, gateway=True)
    assert campaign.recorder.told.total() > 1000
    assert campaign.recorder.count("written", "deleted") > 200
    assert campaign.nemesis.faults["nodes killed"] > 0
    assert campaign.nemesis.faults["nodes paused"] > 0
    assert campaign.recorder.count("internal_error", "invalid_request") == 0


def test_gateways_whose_clocks_are_apart_keep_one_order_per_secret(cluster: RealCluster) -> None:
    with ExitStack() as stack:
        ahead = stack.enter_context(GatewayApart(cluster, "gateway-ahead", AHEAD_SECONDS))
        behind = stack.enter_context(GatewayApart(cluster, "gateway-behind", BEHIND_SECONDS))
        first = ahead.api.create("clock", "ahead").body["valid_from"]
        then = behind.api.update("clock", "behind").body["valid_from"]
        assert first < then < ahead.api.update("clock", "ahead again").body["valid_from"]
        campaign = run(cluster, [cluster.api, ahead.api, behind.api], "apart/", SKEWED_SECONDS, gateway=False)
    assert campaign.recorder.count("written", "deleted") > 100
