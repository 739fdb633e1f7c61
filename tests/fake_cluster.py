"""A vault in one process, built on the reference machine, that loses answers and is late as a cluster may be. For tests of tests.

It shows behaviour that specs/semantics.md allows under faults and no other, so the oracle must accept all of it. The clusters of
``broken_clusters`` each break one promise, so the oracle must find them out.
"""

from __future__ import annotations

import random

from vault_machine import NAMES, Cluster

from model.operation import (
    Failed,
    History,
    List,
    Names,
    NodeStatus,
    Operation,
    Read,
    Result,
    SecretId,
    Status,
    Update,
)
from model.secret import Secret, Write, named, perform


class FakeCluster(Cluster):
    """``late`` are writes of unknown outcome that may still take effect; ``doubts`` counts the updates of each name that will not,
    but whose version number may be left out.
    """

    def __init__(self, seed: int = 0) -> None:
        self.nodes = tuple(f"node-{number}" for number in range(1, 6))
        self.up = set(self.nodes)
        self.secrets = {name: Secret() for name in NAMES}
        self.late: list[Write] = []
        self.doubts = dict.fromkeys(NAMES, 0)
        self.random = random.Random(seed)
        self.loss = 0.0

    def crash(self, node: str) -> None:
        self.up.remove(node)

    def restart(self, node: str) -> None:
        self.up.add(node)

    def lose_messages(self, share: float, seed: int) -> None:
        self.loss = share
        self.random = random.Random(seed)

    def settle(self) -> None:
        self.up = set(self.nodes)
        self.loss = 0.0
        while self.late:
            self.arrive(0)

    def close(self) -> None:
        pass

    def perform(self, operation: Operation) -> Result | None:
        if isinstance(operation, Status):
            return NodeStatus("node-1", 5, 3, 3)
        write = isinstance(operation, Write)
        if len(self.up) < 3:
            return Failed("voting_failed" if write else "unavailable")
        if self.late and self.random.random() < 0.2:
            self.arrive(self.random.randrange(len(self.late)))
        if self.random.random() >= self.loss:
            return self.answer(operation)
        if not isinstance(operation, Write):
            return self.random.choice([None, Failed("unavailable")])
        return self.go_wrong(operation)

    def go_wrong(self, operation: Write) -> Result | None:
        unknown = self.random.choice([None, Failed("writing_failed")])
        match self.random.choice(["refused", "conflict", "lost", "late", "late", "dropped", "skipped"]):
            case "refused":
                return Failed("voting_failed")
            case "conflict":
                return Failed("write_conflict", retry_ms=5)
            case "lost":
                self.answer(operation)
            case "late":
                self.late.append(operation)
            case "skipped" if isinstance(operation, Update):
                self.doubts[operation.secret.secret] += 1
        return unknown

    def arrive(self, index: int) -> None:
        """A late write takes effect, or it turns out that it never will."""
        operation = self.late.pop(index)
        if self.random.random() < 0.7:
            self.answer(operation, later=self.late[index:])

    def answer(self, operation: Operation, later: list[Write] | None = None) -> Result:
        """The operation takes effect now. That ends the chances of every earlier write to the same secrets; ``later`` ones keep theirs."""
        assert not isinstance(operation, Status)
        if isinstance(operation, List):
            return self.list_names(operation)
        skipped = 0
        if isinstance(operation, Write):
            self.forget(operation)
        if isinstance(operation, Update):
            skipped = self.random.randint(0, self.doubts[operation.secret.secret])
        before = self.secrets
        self.secrets, result = self.apply(operation, skipped)
        if isinstance(operation, Write) and self.secrets != before:
            self.doubts |= dict.fromkeys(named(operation), 0)
            self.late = [each for each in self.late if each in (later or ()) or not set(named(each)).intersection(named(operation))]
        return result

    def apply(self, operation: Write | Read | History, skipped: int) -> tuple[dict[SecretId, Secret], Result]:
        return perform(self.secrets, operation, skipped)

    def forget(self, operation: Write) -> None:
        """Where the operation's key is old enough to be forgotten, forget it or not."""
        retry = operation.retry
        for name in named(operation):
            if retry is not None and self.secrets[name].may_forget(retry, operation.now) and self.random.random() < 0.5:
                self.secrets = {**self.secrets, name: self.secrets[name].forget(retry)}

    def list_names(self, asked: List) -> Names:
        live = sorted(
            secret.name
            for secret, state in self.secrets.items()
            if state.live and secret.namespace == asked.namespace and secret.name.startswith(asked.prefix) and secret.name > asked.after
        )
        return Names(tuple(live[: asked.limit]), len(live) > asked.limit)
