"""A real cluster judged by two authorities: by the document of the API, and by the oracle through made-up histories with faults."""

from __future__ import annotations

import hashlib
import itertools
import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest
import schemathesis
from http_vault import Api, HttpVault, Undated
from hypothesis import HealthCheck, Phase, given, reject, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test
from real_cluster import RealCluster, eventually
from test_openapi import BEYOND_SCHEMAS, CHECKS, contract, kinds_of_requests
from vault_machine import Cluster, VaultMachine

from model.operation import Operation, Result

pytestmark = pytest.mark.slow

LONGEST_PAUSE_SECONDS = 2.5
"""How long a node stands still at most where messages are to be late, times the share of messages."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    with RealCluster(tmp_path_factory.mktemp("machine") / "cluster") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def api(cluster: RealCluster) -> Api:
    """The cluster's API for somebody who has two namespaces."""
    secret = secrets.token_urlsafe(32)
    cluster.add_token("twofold1", hashlib.sha256(secret.encode()).hexdigest(), ("default", "other"))
    return Api(cluster.url, f"kofn_twofold1_{secret}", cluster.ca_file)


@pytest.mark.parametrize(("path", "method", "mode"), list(kinds_of_requests()), ids=lambda part: getattr(part, "value", part))
def test_the_running_gateway_keeps_the_contract(cluster: RealCluster, path: str, method: str, mode: schemathesis.GenerationMode) -> None:
    operation = contract()[path][method]
    must_be_understood = mode is schemathesis.GenerationMode.POSITIVE and (path, method) not in BEYOND_SCHEMAS
    headers = {"Authorization": f"Bearer {cluster.token}"}

    @settings(max_examples=12, database=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def conversation(case: schemathesis.Case) -> None:
        response = case.call_and_validate(base_url=cluster.url, headers=headers, verify=str(cluster.ca_file), checks=CHECKS)
        if must_be_understood and not (isinstance(case.body, dict) and case.body.get("encoding") == "base64"):
            assert response.status_code not in {400, 411, 413, 414, 415, 431}, response.text

    conversation()


class Stutter:
    """Pauses one node after the other, each for a moment, until stopped: all that is on its way to it or from it is late."""

    def __init__(self, cluster: RealCluster, longest_seconds: float, seed: int) -> None:
        self._cluster = cluster
        self._longest_seconds = longest_seconds
        self._random = random.Random(seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            node = self._random.choice(self._cluster.nodes)
            if self._cluster.pause_if_running(node):
                self._over.wait(self._random.uniform(0, self._longest_seconds))
                self._cluster.wake(node)
            self._over.wait(self._random.uniform(0, 0.3))


class RealVault(Cluster):
    """The machine's view of a real cluster; each example has names of its own, below ``prefix``."""

    ends_with_answer = False

    def __init__(self, cluster: RealCluster, api: Api, prefix: str, events: Counter[str]) -> None:
        self.nodes = cluster.nodes
        self._events = events
        self._cluster = cluster
        self._http = HttpVault(api, prefix)
        self._stutter: Stutter | None = None

    def perform(self, operation: Operation) -> Result | None:
        self._events[type(operation).__name__] += 1
        return self._http.perform(operation)

    def crash(self, node: str) -> None:
        self._events["crashes"] += 1
        self._cluster.kill(node)

    def restart(self, node: str) -> None:
        self._quieten()
        self._cluster.restart(node)

    def lose_messages(self, share: float, seed: int) -> None:
        """Late is all that a connection lets them be; those that are lost are lost in crashes."""
        self._quieten()
        self._events["spells of pauses"] += 1
        self._stutter = Stutter(self._cluster, share * LONGEST_PAUSE_SECONDS, seed)

    def settle(self) -> None:
        self._quieten()
        self._cluster.heal()
        time.sleep(1.0)  # what waited in the sockets of those that stood still begins now
        eventually(lambda: self._cluster.unfinished() == 0, "every write is finished")
        eventually(lambda: not self._cluster.api.status().body["degraded"], "every node is reached")

    def close(self) -> None:
        self._quieten()

    def _quieten(self) -> None:
        if self._stutter is not None:
            self._stutter.stop()
            self._stutter = None


def test_the_oracle_accepts_every_answer_of_a_real_cluster_with_crashes_and_pauses(cluster: RealCluster, api: Api) -> None:
    examples = itertools.count()
    events: Counter[str] = Counter()

    class RealMachine(VaultMachine):
        own_clock = False
        most_crashed = 2

        def make_cluster(self) -> Cluster:
            return RealVault(cluster, api, f"example-{next(examples)}/", events)

        @precondition(lambda self: len(self.crashed) < self.most_crashed)
        @rule(data=st.data())
        def crash(self, data: st.DataObject) -> None:
            """Only where one may: histories are too dear here to be thrown away half-way."""
            super().crash(data)

        def ask(self, operation: Operation) -> Result | None:
            try:
                return super().ask(operation)
            except Undated:
                reject()

    quick = settings(max_examples=5, stateful_step_count=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(RealMachine, settings=quick)
    print(f"{next(examples)} histories: {dict(events.most_common())}")
