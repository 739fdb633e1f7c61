"""Nodes die under load, by kill -9: nothing acknowledged is lost, nothing happens twice, groups are all or nothing.

Every client owns its names and asks one thing at a time, so the oracle can judge each of its answers; the clients run at once.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest
import requests
from http_vault import Answer, Api, HttpVault
from real_cluster import RealCluster, eventually, files_with

from model.operation import Create, Delete, Failed, Found, History, List, NewValue, Operation, Read, Result, Retry, SecretId, Update
from model.secret import Write
from model.vault import Vault

pytestmark = pytest.mark.slow

MARK = "plugh-a-value-that-nobody-may-find"
OPERATIONS = 1000
CLIENTS = 8
KILLS = 5
A_WHILE_SECONDS = 5.0
PATIENCE_SECONDS = 60.0
"""How long a client repeats a write, or a read, until it is told something definite."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    with RealCluster(tmp_path_factory.mktemp("crashes") / "cluster") as cluster:
        yield cluster


@pytest.fixture
def cluster(running: RealCluster) -> Iterator[RealCluster]:
    """The running cluster; afterwards every process of it runs again."""
    yield running
    running.heal()


class Load:
    """How many operations the clients may still begin, and how many are over."""

    def __init__(self) -> None:
        self._allowed = threading.Semaphore(0)
        self._changed = threading.Condition()
        self._finished = 0
        self._over = False

    def allow(self, operations: int) -> None:
        self._allowed.release(operations)

    def take(self) -> bool:
        """Wait for leave to begin one more; whether there will be."""
        self._allowed.acquire()
        return not self._over

    def finish(self) -> None:
        """One is over."""
        with self._changed:
            self._finished += 1
            self._changed.notify_all()

    def end(self) -> None:
        self._over = True
        self._allowed.release(CLIENTS)

    def reaches(self, operations: int, seconds: float) -> bool:
        """Wait until so many are over in all; whether they are within so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._finished >= operations, seconds)


class Client:
    """Mixed operations on three names of its own, each answer judged at once; ``told`` counts the answers by their kind."""

    def __init__(self, api: Api, number: int, seed: int) -> None:
        prefix = f"client-{number}/"
        self.names = tuple(SecretId("default", name) for name in ("a", "b/c", "d"))
        self.told: Counter[str] = Counter()
        self._http = HttpVault(api, prefix)
        self._number = number
        self._vault = Vault()
        self._random = random.Random(f"{seed}/{number}")
        self._serial = itertools.count()

    def work(self, load: Load) -> None:
        while load.take():
            self.ask(self.choose())
            load.finish()

    def choose(self) -> Operation:
        name, kind = self._random.choice(self.names), self._random.random()
        if kind < 0.20:
            return self.keyed(Create((self.fresh(name),), 0))
        if kind < 0.27:
            return self.keyed(Create(tuple(map(self.fresh, self.names)), 0))
        if kind < 0.50:
            return self.keyed(Update(self.fresh(name), 0))
        if kind < 0.60:
            return self.keyed(Delete(name, 0))
        if kind < 0.64:
            return List("default")
        return self._random.choice((Read(name), Read(name), Read(name, version=self._random.randint(1, 4)), History(name)))

    def fresh(self, name: SecretId) -> NewValue:
        text = f"{MARK} {self._number} {next(self._serial)}".encode()
        return NewValue(name, text)

    def keyed(self, operation: Write) -> Write:
        key = sha256(f"{self._number} {next(self._serial)}".encode()).digest()
        fields = {name: getattr(operation, name) for name in operation.__struct_fields__}
        return type(operation)(**{**fields, "retry": Retry(key, sha256(repr(operation).encode()).digest())})

    def ask(self, operation: Operation) -> Result | None:
        """Ask a read once. Ask a write with its key until the answer is definite, and now and then once more, for the first outcome."""
        result = self._judged(operation)
        if not isinstance(operation, Create | Update | Delete):
            return result
        deadline = time.monotonic() + PATIENCE_SECONDS
        while indefinite(result):
            assert time.monotonic() < deadline, f"nothing definite for {PATIENCE_SECONDS} s: {result}"
            time.sleep(0.2)
            result = self._judged(operation)
        if not isinstance(result, Failed) and self._random.random() < 0.1:
            again = self._judged(operation)
            assert indefinite(again) or again == result, f"first {result}, the second time {again}"
        return result

    def look(self) -> None:
        """Everything that this client can know must be readable now, and be what the oracle says."""
        for name in self.names:
            newest = self._judged(Read(name))
            count = newest.version.version if isinstance(newest, Found) else 0
            for asked in (*(Read(name, version=version) for version in range(1, count + 1)), History(name), List("default")):
                assert not indefinite(self._judged(asked)), asked
            assert not indefinite(newest)

    def _judged(self, operation: Operation) -> Result | None:
        result = self._http.perform(operation)
        kind = result.code if isinstance(result, Failed) else type(result).__name__ if result is not None else "no answer"
        self.told[kind] += 1
        self._vault = self._vault.expect(operation, result)
        return result


UNKNOWN = frozenset({"writing_failed", "no answer"})
INDEFINITE = frozenset({"voting_failed", "writing_failed", "write_conflict", "unavailable"})


def indefinite(result: Result | None) -> bool:
    """Whether it is worth asking again: there was no answer, or it says so."""
    return result is None or (isinstance(result, Failed) and result.code in INDEFINITE)


def test_five_kills_of_random_nodes_during_a_thousand_operations_lose_nothing_acknowledged(cluster: RealCluster) -> None:
    """A node stays down for the time of some operations, but no longer than a while: a write whose shares lie on the two nodes that are
    down has an unknown outcome until one of them is back, and its client goes on asking."""
    seed = random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    clients = [Client(cluster.api, number, seed) for number in range(CLIENTS)]
    load = Load()
    down: list[str] = []
    with ThreadPoolExecutor(CLIENTS) as pool:
        works = [pool.submit(client.work, load) for client in clients]
        try:
            for kill in range(KILLS):
                load.allow(OPERATIONS // KILLS)
                if len(down) == 2:
                    cluster.restart(down.pop(0))
                begun = kill * OPERATIONS // KILLS
                assert load.reaches(begun + OPERATIONS // KILLS // 4, PATIENCE_SECONDS), "the clients stand still"
                down.append(chance.choice([node for node in cluster.nodes if node not in down]))
                cluster.kill(down[-1])
                load.reaches(begun + OPERATIONS // KILLS, A_WHILE_SECONDS)
            cluster.start()
            assert load.reaches(OPERATIONS, PATIENCE_SECONDS), "the clients stand still"
        finally:
            load.end()
            for work in works:
                work.result()
    for client in clients:
        client.look()
    told = sum((client.told for client in clients), Counter[str]())
    print(f"seed {seed}, answers {dict(told.most_common())}")
    assert told.total() >= OPERATIONS
    assert told["Written"] > OPERATIONS // 5


def group_of(number: int) -> tuple[dict[str, str], str]:
    names = {f"group-{number:03}/{letter}": f"{MARK} {number} {letter}" for letter in "abcdefgh"}
    return names, "".join(f"{name[-1]}=enc({name})\n" for name in names)


def test_groups_are_all_or_nothing_although_their_coordinators_die(cluster: RealCluster) -> None:
    """The node that coordinated last is the one that the gateway asks next; it is killed while groups are under way."""
    api = cluster.api
    outcomes: dict[int, str] = {}
    numbers = itertools.count()
    stop = threading.Event()

    def create_groups() -> None:
        while not stop.is_set():
            number = next(numbers)
            names, content = group_of(number)
            try:
                answer = api.env(content, names, key=f"group-{number}")
                outcomes[number] = answer.code or "created"
            except requests.ConnectionError:
                outcomes[number] = "no answer"
            time.sleep(0.02)

    with ThreadPoolExecutor(4) as pool:
        works = [pool.submit(create_groups) for _ in range(4)]
        for kills in itertools.count():
            if kills >= 3 and UNKNOWN.intersection(outcomes.values()):
                break
            assert kills < 10, "no coordinator died in the midst of a group"
            known = len(outcomes)
            eventually(lambda known=known: sum(each == "created" for each in list(outcomes.values())[known:]) >= 8, "groups are created")
            newest = next(number for number in sorted(outcomes, reverse=True) if outcomes[number] == "created")
            victim = cluster.coordinator_of(next(iter(group_of(newest)[0])))
            cluster.kill(victim)
            time.sleep(0.3)
            cluster.restart(victim)
        stop.set()
        for work in works:
            work.result()
    print(f"groups: {dict(Counter(outcomes.values()))}")
    unknown = [number for number, outcome in outcomes.items() if outcome in UNKNOWN]
    cluster.heal()
    listed = set(api.names("group-"))
    for number, outcome in outcomes.items():
        names = set(group_of(number)[0])
        there = names & listed
        assert there in (set(), names), f"half a group, {outcome}: {sorted(there)}"
        assert outcome != "created" or there, "an acknowledged group is gone"
        assert outcome not in ("voting_failed", "write_conflict") or not there, "nothing was written, it said"
    for number in unknown:
        names, content = group_of(number)
        answer = settled(lambda names=names, content=content, number=number: api.env(content, names, key=f"group-{number}"))
        assert answer.status == 200, answer.told
        assert [each["value"] for each in api.batch(list(names)).body["secrets"]] == list(names.values())
        assert all(len(api.history(name).body["versions"]) == 1 for name in names)


def settled(ask: Callable[[], Answer]) -> Answer:
    """Ask again until the answer is definite."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (answer := ask()).code in INDEFINITE:
        assert time.monotonic() < deadline, answer.told
        time.sleep(0.2)
    return answer


def test_the_output_of_all_processes_holds_no_value_and_no_token(cluster: RealCluster) -> None:
    """The last test of the module: after all that has happened to the cluster above."""
    files = [path for path in cluster.directory.rglob("*") if path.is_file()]
    assert files_with(files, [MARK.encode()]) == []
    secret = cluster.token.split("_", 2)[2].encode()
    assert [path.name for path in files_with(files, [secret])] == ["token"]
