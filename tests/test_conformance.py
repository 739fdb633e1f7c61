"""The conformance suite finds a local cluster as promised and leaves nothing behind; vaults that lie it finds out."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import conformance
import pytest
from conformance import Report, check_crowd, check_rules, check_sequence
from conformance_rules import SCENARIOS, Witness
from http_vault import Answer, Api, HttpVault
from real_cluster import RealCluster

pytestmark = pytest.mark.slow

RULES = range(1, 32)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    with RealCluster(tmp_path_factory.mktemp("conformance") / "cluster") as cluster:
        yield cluster


@pytest.fixture
def prefix(cluster: RealCluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """Names for one test, gone afterwards."""
    prefix = f"{abs(hash(request.node.name))}/"
    yield prefix
    conformance.clean(cluster.api, "default", prefix)


def test_a_local_cluster_is_as_promised_and_nothing_is_left_behind(cluster: RealCluster, capsys: pytest.CaptureFixture[str]) -> None:
    token_file = cluster.directory / "token"
    arguments = ["--url", cluster.url, "--token-file", str(token_file), "--ca-file", str(cluster.ca_file)]
    cluster.api.create("bystander", "not to be touched")
    code = conformance.main([*arguments, "--operations", "250", "--seconds", "10"])
    told = capsys.readouterr().out
    assert code == 0, told
    assert "verdict: as promised" in told
    assert cluster.api.names() == ["bystander"]
    with capsys.disabled():
        print(f"\n{told[told.index('rules exercised') :]}")


def test_a_vault_that_cannot_be_asked_has_an_exit_code_of_its_own(cluster: RealCluster, tmp_path_factory: pytest.TempPathFactory) -> None:
    token_file = tmp_path_factory.mktemp("token") / "token"
    token_file.write_text(f"kofn_nobody00_{'x' * 43}\n")
    arguments = ["--token-file", str(token_file), "--ca-file", str(cluster.ca_file)]
    assert conformance.main(["--url", cluster.url, *arguments]) == 2
    assert conformance.main(["--url", "https://127.0.0.1:9", *arguments]) == 2


def test_every_rule_is_exercised_or_it_is_said_why_not() -> None:
    exercised = set(itertools.chain(conformance.JUDGED, conformance.CONCURRENT, *(rules for rules, _ in SCENARIOS)))
    assert set(RULES) - exercised == {6, 7, 8, 9, 24, 26}
    assert list(conformance.NOT_FROM_OUTSIDE) == ["SEM-6 to SEM-9", "SEM-24", "SEM-26"]


class Liar(Api, ABC):
    """A vault that is right but for one thing."""

    def __init__(self, cluster: RealCluster) -> None:
        super().__init__(cluster.url, cluster.token, cluster.ca_file)
        self._first: dict[str, Answer] = {}
        self._count = itertools.count(1)

    def ask(self, method: str, path: str, body: object = None, **options: Any) -> Answer:
        return self.lie(method, path, body, **options)

    @abstractmethod
    def lie(self, method: str, path: str, body: object, **options: Any) -> Answer:
        """What it answers."""

    def truth(self, method: str, path: str, body: object, **options: Any) -> Answer:
        return super().ask(method, path, body, **options)


class Forgetful(Liar):
    """Forgets idempotency keys."""

    def lie(self, method: str, path: str, body: object, **options: Any) -> Answer:
        return self.truth(method, path, body, **{**options, "key": None})


class Careless(Liar):
    """Ignores If-Match."""

    def lie(self, method: str, path: str, body: object, **options: Any) -> Answer:
        return self.truth(method, path, body, **{**options, "if_match": None})


class Stale(Liar):
    """Every fifth read of a latest version is answered as it was first."""

    def lie(self, method: str, path: str, body: object, **options: Any) -> Answer:
        if method != "GET" or options.get("params") or not path.startswith("/secrets/"):
            return self.truth(method, path, body, **options)
        answer = self.truth(method, path, body, **options)
        first = self._first.setdefault(path, answer)
        return first if next(self._count) % 5 == 0 else answer


@pytest.mark.parametrize(("liar", "rule"), [(Forgetful, 21), (Careless, 27)])
def test_the_rules_find_out_a_vault_that_lies(cluster: RealCluster, prefix: str, liar: type[Liar], rule: int) -> None:
    report = Report()
    check_rules(report, Witness(liar(cluster), "default", prefix))
    assert rule in report.broken, report.text()
    assert "NOT as promised" in report.text()


@pytest.mark.parametrize("liar", [Forgetful, Careless, Stale])
def test_the_oracle_finds_out_a_vault_that_lies(cluster: RealCluster, prefix: str, liar: type[Liar]) -> None:
    report = Report()
    check_sequence(report, HttpVault(liar(cluster), prefix), "default", 1000, seed=1)
    assert report.failures


@pytest.mark.parametrize("liar", [Careless, Stale])
def test_the_judge_of_concurrent_clients_finds_out_a_vault_that_lies(cluster: RealCluster, prefix: str, liar: type[Liar]) -> None:
    report = Report()
    check_crowd(report, HttpVault(liar(cluster), prefix), "default", 5.0, seed=1)
    assert report.failures
