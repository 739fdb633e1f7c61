"""Real stores, coordinators and repairers in one process, driven through faults by Hypothesis and judged by the oracle.

``KOFN_CLUSTER_EXAMPLES`` asks for more examples than the default run has.
"""

from __future__ import annotations

import os
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test
from local_cluster import LocalCluster
from vault_machine import VaultMachine

from model.operation import Create, Delete, History, List, Operation, Read, Result, Update
from model.secret import named

EXAMPLES = int(os.environ.get("KOFN_CLUSTER_EXAMPLES", "30"))


class ClusterMachine(VaultMachine):
    """Beside the faults of every vault: nodes that die in the midst of something, one-way partitions, caretakers at any time."""

    threshold: ClassVar[int] = 3
    write_quorum: ClassVar[int] = 0

    def make_cluster(self) -> LocalCluster:
        self.local = LocalCluster(5, self.threshold, write_quorum=self.write_quorum)
        return self.local

    def ask(self, operation: Operation) -> Result | None:
        touched = {operation.secret} if isinstance(operation, Read | History | Delete) else set()
        if isinstance(operation, Create | Update):
            touched = set(named(operation))
        healthy = self.healthy
        if touched & self.local.stuck or (isinstance(operation, List) and self.local.stuck):
            self.healthy = False
        result = super().ask(operation)
        self.healthy = healthy
        self.crashed = {node for node in self.local.nodes if not self.local.up(node)}
        return result

    @precondition(lambda self: self.keyed)
    @rule(back=st.integers(0, 5), change=st.sampled_from(["nothing", "nothing", "nothing", "value", "verb"]))
    def retry(self, back: int, change: str) -> None:
        """Another value under the same key is only found out with k shares at hand (SEM-21)."""
        assume(self.healthy or change != "value")
        super().retry(back, change)

    @rule(data=st.data(), parcels=st.integers(0, 12))
    def doom(self, data: st.DataObject, parcels: int) -> None:
        """A node dies in the midst of what it does next."""
        running = sorted(set(self.local.nodes) - self.crashed)
        if len(self.crashed) < self.most_crashed and running:
            self.healthy = False
            self.local.doom(data.draw(st.sampled_from(running)), parcels)

    @rule(pair=st.lists(st.sampled_from([f"node-{number}" for number in range(1, 6)]), min_size=2, max_size=2, unique=True))
    def cut_off(self, pair: list[str]) -> None:
        self.healthy = False
        self.local.cut_off(*pair)

    @rule(node=st.sampled_from([f"node-{number}" for number in range(1, 6)]), seconds=st.sampled_from([0.0, 1.0, 6.0, 61.0]))
    def tend(self, node: str, seconds: float) -> None:
        """Time passes, and a node's caretaker has its turn."""
        self.local.network.let_pass(seconds)
        if self.local.up(node):
            self.local.turn(node)
        self.crashed = {node for node in self.local.nodes if not self.local.up(node)}

    @precondition(lambda self: self.healthy)
    @rule(node=st.sampled_from([f"node-{number}" for number in range(1, 6)]))
    def lose_disk(self, node: str) -> None:
        """At rest every version is on all n nodes, so that one lost disk loses nothing, whatever else happens until it is back."""
        self.heal()
        self.healthy = False
        self.local.lose_disk(node)
        self.local.restart(node)


class FewSharesMachine(ClusterMachine):
    """k below the majority: four must write, two can read."""

    threshold = 2


class ManyWritersMachine(ClusterMachine):
    """One more must write than safety needs."""

    write_quorum = 4


@pytest.mark.parametrize("machine", [ClusterMachine, FewSharesMachine, ManyWritersMachine])
def test_the_cluster_keeps_every_promise_through_crashes_lost_messages_and_lost_disks(machine: type[ClusterMachine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=EXAMPLES, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)),
    )
