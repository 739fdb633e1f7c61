"""Drives a batch of operations through the machines of ``model``, the own store and the roads to the peers.

It decides nothing: it opens a machine for each operation, carries sends and replies between machines and nodes, tells them when
their patience or time is over, and hands the outcomes back in order.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from random import Random, SystemRandom

from model.intent import RETRY_MS, Decided, Intent, Settled, Wanted
from model.listing import merge
from model.machine import Send
from model.message import Addressed, NamePage, NamesAfter, Reply, Unfit
from model.operation import Create, Delete, Failed, Found, List, Names, Operation, Read, Result, SecretId, Status, Update
from model.reading import Reading
from model.selection import Outcome, Selection
from model.session import Machine, Task
from node.census import Census
from node.checking import is_sound
from node.config import Settings
from node.machines import Machines, wanted
from node.peers import Peers
from node.run import Ports, Run
from node.store import Store


class Coordinator:
    """This node in its role of coordinator. Thread-safe. ``learnt`` is told of every secret that repair should look at."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        peers: Peers,
        learnt: Callable[[SecretId], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        randomness: Random | None = None,
    ) -> None:
        self._settings = settings
        self._quorum = settings.quorum()
        self._store = store
        self._peers = peers
        self._learnt = learnt
        self._machines = Machines(settings, store.promised_counter, peers.order, randomness if randomness is not None else SystemRandom())
        self._lock = threading.Lock()
        self._proposing: set[SecretId] = set()
        patience, voting, operation = (
            each / 1000 for each in (settings.patience_ms, settings.voting_timeout_ms, settings.operation_timeout_ms)
        )
        self._ports = Ports(settings.id, self._apply, peers.post, peers.mailbox, clock, patience, voting, operation)
        self._census = Census(settings, self.send, clock)

    def perform(self, operations: Sequence[Operation]) -> list[Result]:
        """The results of ``operations``, in order. Operations of one batch on one secret are independent of each other."""
        results: list[Result | None] = [None] * len(operations)
        run = self._run()
        opened: dict[Task, list[int]] = {}
        past: dict[SecretId, dict[int, Read]] = {}
        claimed: set[SecretId] = set()
        try:
            for number, operation in enumerate(operations):
                written = _written(operation)
                if not is_sound(operation):
                    results[number] = Failed("invalid_request")
                    continue
                if not self._claim(written):
                    results[number] = Failed("write_conflict", names=_names(written), retry_ms=RETRY_MS)
                    continue
                claimed |= written
                match operation:
                    case List():
                        results[number] = self._list(operation)
                    case Status():
                        results[number] = self._census.status()
                    case Read() if wanted(operation).lineage:
                        past.setdefault(operation.secret, {})[number] = operation
                    case _:
                        opened[run.open(*self._machines.machine(operation))] = [number]
            for secret, reads in past.items():
                opened[run.open(*self._machines.past(secret, tuple(reads.values())))] = list(reads)
            run.drive()
        finally:
            self._release(claimed)
        for task, numbers in opened.items():
            for number, outcome in zip(numbers, _outcomes(run.machine(task)), strict=True):
                results[number] = self._result(operations[number], outcome)
        return [result if result is not None else Failed("internal_error") for result in results]

    def survey(self, keys: Iterable[SecretId], *, histories: bool = False) -> list[Reading]:
        """Read the latest record of each of ``keys``, or their whole histories, from every node that answers; for repair and recovery."""
        run = self._run()
        tasks = [run.open(*self._machines.reading(secret, Wanted(history=histories, survey=True))) for secret in keys]
        run.drive()
        return [machine for machine in map(run.machine, tasks) if isinstance(machine, Reading)]

    def settle(self, keys: Iterable[SecretId]) -> None:
        """Settle whatever is in doubt at the top of each of ``keys`` by a vote; those being written here are left out."""
        mine = {secret for secret in keys if self._claim({secret})}
        try:
            run = self._run()
            for secret in mine:
                run.open(*self._machines.proposal(secret, Intent("decide" if secret.namespace == "" else "settle")))
            run.drive()
        finally:
            self._release(mine)

    def send(self, sends: Iterable[Send], silence_seconds: float) -> list[tuple[Send, Reply | None]]:
        """Send messages that belong to no machine; wait for what becomes of them until nobody has spoken for so long."""
        return self._run().exchange(list(sends), silence_seconds)

    def is_peer(self, node: str) -> bool:
        """Whether ``node`` is another node of this cluster; a certificate of the right role alone does not make it one."""
        return node in self._settings.peers

    def reachable(self) -> tuple[str, ...]:
        """The peers whose last exchange succeeded."""
        return self._peers.reachable()

    def store_of(self, node: str) -> bytes:
        """The id of a peer's store as last heard, empty if never."""
        return self._peers.store_of(node)

    def _run(self) -> Run:
        """A fresh run of machines on this node."""
        return Run(self._ports, self._machines.session())

    def _result(self, operation: Operation, outcome: Outcome | Settled) -> Result:
        if isinstance(operation, Delete) or (isinstance(operation, Read) and isinstance(outcome, Found)):
            self._learnt(operation.secret)
        if outcome is None or isinstance(outcome, Settled | Decided):
            return Failed("internal_error")
        return outcome

    def _list(self, asked: List) -> Result:
        """Names that some R nodes between them hold as live, each confirmed by a reading."""
        names: list[str] = []
        after = asked.after
        while True:
            message = NamesAfter(asked.prefix, after, asked.limit)
            everyone = (self._settings.id, *self._peers.order())
            replies = self.send((Send(node, SecretId(asked.namespace, ""), message) for node in everyone), self._ports.patience_seconds)
            pages = [reply for _, reply in replies if isinstance(reply, NamePage)]
            if len(pages) < self._quorum.read:
                return Failed("unavailable")
            candidates, more = merge(pages, asked.limit)
            run = self._run()
            keys = [SecretId(asked.namespace, name) for name in candidates]
            tasks = [run.open(*self._machines.reading(secret, Wanted(reveal=False))) for secret in keys]
            run.drive()
            for secret, task in zip(keys, tasks, strict=True):
                outcome = run.machine(task).outcome
                if isinstance(outcome, Found):
                    names.append(secret.name)
                elif not (isinstance(outcome, Failed) and outcome.code == "secret_not_found"):
                    return outcome if isinstance(outcome, Failed) else Failed("unavailable")
            if len(names) >= asked.limit or not more:
                return Names(tuple(names[: asked.limit]), more or len(names) > asked.limit)
            after = candidates[-1]

    def _apply(self, messages: Sequence[Addressed]) -> list[Reply]:
        """The own store's replies; one that recovers takes no part."""
        return self._store.apply(messages) if self._store.serving else [Unfit() for _ in messages]

    def _claim(self, secrets: set[SecretId]) -> bool:
        """Two proposals of one node never meet: the second is asked again a moment later."""
        with self._lock:
            if secrets & self._proposing:
                return False
            self._proposing |= secrets
            return True

    def _release(self, claimed: set[SecretId]) -> None:
        with self._lock:
            self._proposing -= claimed


def _written(operation: Operation) -> set[SecretId]:
    match operation:
        case Create():
            return {new.secret for new in operation.secrets}
        case Update():
            return {operation.secret.secret}
        case Delete():
            return {operation.secret}
        case _:
            return set()


def _outcomes(machine: Machine) -> Sequence[Outcome | Settled]:
    """One for each operation that the machine was opened for."""
    return (machine.outcome,) if not isinstance(machine, Selection) else machine.outcome or (None,) * len(machine.wanted)


def _names(keys: set[SecretId]) -> tuple[str, ...]:
    return tuple(sorted(secret.name for secret in keys))
