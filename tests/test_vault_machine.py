"""The oracle accepts whatever a faulty but honest vault does, and finds out each way of breaking a promise."""

from __future__ import annotations

import pytest
from broken_clusters import BROKEN
from fake_cluster import FakeCluster
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from vault_machine import Cluster, VaultMachine

from model.vault import Contradiction


class HonestMachine(VaultMachine):
    def make_cluster(self) -> Cluster:
        return FakeCluster()


class WaitingMachine(HonestMachine):
    """Requests may wait at a gateway for as long as they like, and the gateway's clock is its own."""

    own_clock = False

    def make_cluster(self) -> Cluster:
        return UnfencedCluster()


class UnfencedCluster(FakeCluster):
    ends_with_answer = False


@pytest.mark.parametrize("machine", [HonestMachine, WaitingMachine])
def test_every_answer_of_an_honest_vault_is_accepted(machine: type[VaultMachine]) -> None:
    run_state_machine_as_test(machine, settings=settings(max_examples=100, stateful_step_count=60, deadline=None))


@pytest.mark.parametrize("broken", BROKEN)
def test_a_vault_that_breaks_a_promise_is_found_out(broken: type[FakeCluster]) -> None:
    class BrokenMachine(VaultMachine):
        def make_cluster(self) -> Cluster:
            return broken()

    quick = settings(
        max_examples=1000,
        stateful_step_count=60,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        report_multiple_bugs=False,
    )
    with pytest.raises(Contradiction):
        run_state_machine_as_test(BrokenMachine, settings=quick)
