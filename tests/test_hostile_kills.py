"""A process dies at every single step of every flow: its coordinator, or a node that takes part, before each message it sends or takes.

In one process, where steps can be counted; ``test_crashes.py`` and the last test here kill real processes at moments of chance.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import requests
from hostile_cluster import MARK, HostileVault
from http_vault import HttpVault
from local_cluster import Died, LocalCluster
from real_cluster import eventually

from cli import processes
from cli.processes import Server
from model.operation import Create, Delete, Failed, Found, History, NewValue, Read, Result, Retry, SecretId, Update, Written
from model.secret import Write
from model.vault import Vault

pytest_plugins = ["hostile_fixtures"]

COORDINATOR, PARTICIPANT = "node-1", "node-2"
STEPS = 100
"""More than any flow has; reaching it means that a flow does not end."""


@pytest.fixture
def local() -> Iterator[LocalCluster]:
    local = LocalCluster()
    yield local
    local.close()


class Judged:
    """Operations on a cluster in this process, each answer judged by the oracle."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster
        self.vault = Vault()

    def ask(self, operation: Write | Read | History, node: str | None = None) -> Result | None:
        """By one coordinator, once, if one is named; None if it died over it."""
        try:
            result = self.cluster.perform(operation) if node is None else self.cluster.perform_at(node, operation)
        except Died:
            result = None
        self.vault = self.vault.expect(operation, result)
        return result

    def look(self, *names: SecretId) -> None:
        """At rest, everything can be read, and is what some order of what was asked explains."""
        for name in names:
            found = self.ask(Read(name))
            assert not isinstance(found, Failed) or found.code == "secret_not_found", found
            told = self.ask(History(name))
            assert not isinstance(told, Failed) or told.code == "secret_not_found", told


def retry_of(text: str) -> Retry:
    return Retry(sha256(f"key {text}".encode()).digest(), sha256(f"request {text}".encode()).digest())


def new(name: SecretId, text: str = "one") -> NewValue:
    return NewValue(name, text.encode())


WRITES: dict[str, Callable[[tuple[SecretId, ...], Retry], Write]] = {
    "create": lambda names, retry: Create((new(names[0]),), 1, retry),
    "update": lambda names, retry: Update(new(names[0], "two"), 1, None, retry),
    "update of a version": lambda names, retry: Update(new(names[0], "two"), 1, 1, retry),
    "delete": lambda names, retry: Delete(names[0], 1, retry),
    "group": lambda names, retry: Create(tuple(map(new, names)), 1, retry),
}


@pytest.mark.parametrize("victim", [COORDINATOR, PARTICIPANT])
@pytest.mark.parametrize("kind", WRITES)
def test_a_node_killed_at_any_step_of_a_write_leaves_it_whole_or_undone_and_a_retry_ends_it(
    local: LocalCluster, kind: str, victim: str
) -> None:
    judged = Judged(local)
    for step in range(STEPS):
        names = tuple(SecretId("default", f"{step}/{letter}") for letter in "abc")
        if kind not in {"create", "group"}:
            assert isinstance(judged.ask(Create((new(names[0]),), 1)), Written)
            local.network.let_pass(1.0)  # what ends its lease is under way
        operation = WRITES[kind](names, retry_of(f"{kind} {step}"))
        local.doom(victim, step)
        first = judged.ask(operation, COORDINATOR)
        if local.up(victim):
            local.network.let_pass(10.0)
        survived = local.up(victim)
        local.settle()
        judged.look(*names)
        again = judged.ask(operation)
        assert not isinstance(again, Failed), (step, again)
        assert first is None or isinstance(first, Failed) or first == again, step
        judged.look(*names)
        if survived:
            print(f"{kind}: {victim} was killed at each of {step} steps")
            assert step > 2
            assert not isinstance(first, Failed)
            return
    raise AssertionError("the flow has no end")


@pytest.mark.parametrize("victim", [COORDINATOR, PARTICIPANT])
@pytest.mark.parametrize("kind", ["a repair", "catching up", "a recovery"])
def test_a_node_killed_at_any_step_of_its_caretaking_loses_nothing_and_goes_on(local: LocalCluster, kind: str, victim: str) -> None:
    """``COORDINATOR`` takes over what it missed: by a repair after a read, after an absence, or after the loss of its disk."""
    judged = Judged(local)
    for step in range(STEPS):
        name = SecretId("default", f"secret/{step}")
        if kind != "a recovery":
            local.crash(COORDINATOR)
        assert isinstance(judged.ask(Create((new(name),), 1)), Written)
        assert isinstance(judged.ask(Update(new(name, "two"), 1)), Written)
        local.network.let_pass(1.0)
        if kind == "a recovery":
            local.settle()
            local.lose_disk(COORDINATOR)
        local.restart(COORDINATOR)
        if kind == "a repair":
            local.processes[COORDINATOR].coordinator.perform([Read(name)])
            local.network.let_pass(1.0)
        local.doom(victim, step)
        local.turn(COORDINATOR)
        survived = local.up(victim)
        local.settle()
        assert not local.stuck
        judged.look(name)
        with_it = local.perform_at(COORDINATOR, Read(name, version=1))
        assert isinstance(with_it, Found)
        assert with_it.value == b"one"
        if survived:
            print(f"{kind}: {victim} was killed at each of {step} steps")
            assert step > 1
            return
    raise AssertionError("the flow has no end")


# Real processes


@pytest.mark.parametrize("title", ["{mark}", "gunicorn: master [{mark}]", "gunicorn: worker [{mark}]"])
def test_a_server_is_found_and_killed_whatever_title_its_processes_have(tmp_path: Path, title: str) -> None:
    """gunicorn replaces its command line where the package setproctitle is installed."""
    server = Server("node-1", tmp_path / "node-1", "node")
    other = Server("node-1", tmp_path / "node", "node")
    command = [title.format(mark=server.mark), "-c", "input()"]
    with subprocess.Popen(command, executable=sys.executable, stdin=subprocess.PIPE, start_new_session=True) as process:
        eventually(lambda: processes.pids(server) == [process.pid], "it is found")
        assert processes.pids(other) == []
        processes.kill(server)
        assert process.wait(10) == -signal.SIGKILL


UNDECIDED = frozenset({"voting_failed", "writing_failed", "write_conflict", "unavailable"})
REAL: dict[str, Callable[[tuple[SecretId, ...], Retry], Write]] = {
    "create": lambda names, retry: Create((new(names[0], f"{MARK} one"),), 0, retry),
    "update": lambda names, retry: Update(new(names[0], f"{MARK} two"), 0, None, retry),
    "delete": lambda names, retry: Delete(names[0], 0, retry),
    "group": lambda names, retry: Create(tuple(new(name, f"{MARK} one") for name in names), 0, retry),
}


class RealJudged:
    """Operations on the real cluster, each answer judged by the oracle."""

    def __init__(self, vault: HostileVault) -> None:
        self._http = HttpVault(vault.api, "killed/")
        self._vault = Vault()

    def ask(self, operation: Write | Read | History) -> Result | None:
        result: Result | None = None
        with contextlib.suppress(requests.RequestException):
            result = self._http.perform(operation)
        self._vault = self._vault.expect(operation, result)
        return result

    def settled(self, operation: Write | Read | History) -> Result:
        """Ask until the answer is definite."""
        deadline = time.monotonic() + 60
        while (result := self.ask(operation)) is None or (isinstance(result, Failed) and result.code in UNDECIDED):
            assert time.monotonic() < deadline, result
            time.sleep(0.05)
        return result


@pytest.mark.slow
def test_real_processes_killed_in_the_midst_of_each_flow_leave_every_write_whole_or_undone(healed: HostileVault) -> None:
    """The node that coordinates, which is the one that coordinated last, and one that takes part, each at a moment of chance."""
    judged, cluster = RealJudged(healed), healed.cluster
    for kind, role in [*((kind, "coordinator") for kind in REAL), ("group", "participant")]:
        names = tuple(SecretId("default", f"{kind}/{role}/{letter}") for letter in "abc")
        for name in names if kind in {"update", "delete"} else ():
            assert isinstance(judged.settled(Create((new(name, f"{MARK} zero"),), 0)), Written)
        coordinator = healed.favourite()
        victim = coordinator if role == "coordinator" else next(node for node in cluster.nodes if node != coordinator)
        killer = threading.Timer(random.uniform(0, 0.03), cluster.kill, [victim])
        killer.start()
        for serial in itertools.count():
            operation = REAL[kind](names, retry_of(f"{healed.port} {kind} {role} {serial}"))
            judged.ask(operation)
            if not killer.is_alive():
                break
        cluster.restart(victim)  # what is in doubt may need the share that it has (SEM-9)
        judged.settled(operation)
        for name in names:
            judged.settled(Read(name))
            judged.settled(History(name))
