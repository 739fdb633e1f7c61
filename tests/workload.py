"""Concurrent clients for a simulated cluster: random operations, asked again as a gateway does, retried as a careful client does."""

from __future__ import annotations

import random
from dataclasses import dataclass
from hashlib import sha256

import msgspec
from inspection import erased_is_gone, inspect
from linearizability import Call, linearizable
from simulation import Cluster
from simulation_parts import Faults

from model.operation import Create, Delete, Deleted, Failed, History, NewValue, Operation, Read, Result, Retry, SecretId, Update, Versions

NOTHING_HAPPENED = frozenset({"voting_failed", "write_conflict", "unavailable"})
"""Failures that promise that the operation had no effect: they say nothing about the secret."""
SKEW_US = 3_600_000_000
SECRETS = (SecretId("default", "a"), SecretId("default", "b"))


@dataclass(frozen=True)
class Shape:
    """One run: its cluster and its load."""

    share_count: int
    threshold: int
    clients: int
    operations: int
    secrets: int
    faults: Faults
    lease_ms: int
    mix: tuple[int, ...]
    write_raised: int = 0


class Client:
    """One client with some operations to do, one after the other. ``patient``: asks until it gets an answer that decides."""

    def __init__(self, run: Run, operations: int) -> None:
        self.run = run
        self.left = operations

    def next(self) -> None:
        run = self.run
        if self.left == 0:
            run.active -= 1
            return
        self.left -= 1
        self.attempt(run.operation(), 0)

    def attempt(self, operation: Operation, tries: int) -> None:
        run, cluster = self.run, self.run.cluster
        call = Call(operation, cluster.steps)
        run.calls.append(call)

        def done(result: Result) -> None:
            failed = result if isinstance(result, Failed) else None
            if failed is not None and failed.code in NOTHING_HAPPENED:
                run.calls.remove(call)
                again = failed.retry_ms is not None and tries < 500
                assert again or not run.faithful, f"{operation} answered {failed} with every node up and no message lost"
                if again and failed.retry_ms is not None:
                    delay = int(failed.retry_ms * (0.5 + run.random.random()))
                    cluster.after(delay, lambda: self.attempt(operation, tries + 1))
                    return
            elif failed is not None and failed.code == "writing_failed":
                assert not run.faithful, f"{operation} answered {failed} with every node up and no message lost"
                self.perhaps_retry(operation, tries)
                return
            else:
                call.returned, call.result = cluster.steps, result
                if isinstance(operation, Delete) and isinstance(result, Deleted):
                    erased_is_gone(cluster, operation.secret)
            self.next()

        cluster.perform(cluster.any_up(), operation, done, lambda: self.perhaps_retry(operation, tries))

    def perhaps_retry(self, operation: Operation, tries: int) -> None:
        retry = operation.retry if isinstance(operation, Create | Update | Delete) else None
        if retry is not None and tries < 500 and self.run.random.random() < 0.8:
            again = msgspec.structs.replace(operation, now=self.run.clock())
            self.run.cluster.after(self.run.random.randrange(60), lambda: self.attempt(again, tries + 1))
        else:
            self.next()


class Run:
    """One seed: clients and faults, then calm, then a last look at everything."""

    def __init__(self, seed: int, shape: Shape, kind: type[Cluster] = Cluster) -> None:
        self.random = random.Random(seed * 7919 + 1)
        self.shape = shape
        self.cluster = kind(seed, shape.share_count, shape.threshold, shape.faults, shape.lease_ms, shape.write_raised)
        self.calls: list[Call] = []
        self.active = 0
        self.serial = 0
        self.faithful = shape.faults.harmless
        self.secrets = SECRETS[: shape.secrets]

    def go(self) -> None:
        cluster, shape = self.cluster, self.shape
        self.active = shape.clients
        for _ in range(shape.clients):
            share = shape.operations // shape.clients
            cluster.after(self.random.randrange(40), Client(self, share).next)
        while self.active:
            cluster.step()
            assert cluster.steps < 200_000, "the clients do not come to an end"
        inspect(cluster)
        late = self.random.sample(cluster.parcels, len(cluster.parcels) // 2)  # a part of what is under way comes after the last look
        cluster.parcels = [parcel for parcel in cluster.parcels if parcel not in late]
        cluster.calm()
        self.faithful = True
        self.look()
        cluster.parcels += late
        cluster.drain()
        assert all(node.serving for node in cluster.nodes.values()), "a node that lost its disk does not come back"
        self.look()
        self.upkeep()
        self.look()
        inspect(cluster)
        assert linearizable(self.calls), "no order of the calls explains their answers"

    def look(self) -> None:
        """Read everything, every version too; with all nodes up this must succeed, unless a disk took the shares with it."""
        for secret in self.secrets:
            self.ask(Read(secret))
            found = self.ask(History(secret))
            for version in found.versions if isinstance(found, Versions) else ():
                self.ask(Read(secret, version=version.version))

    def upkeep(self) -> None:
        """What sweep and repair do once all nodes are back."""
        for secret in list(self.cluster.touched):
            self.cluster.settle(self.cluster.any_up(), secret)
            self.cluster.drain()
            self.cluster.mend(self.cluster.any_up(), secret)
            self.cluster.drain()

    def ask(self, operation: Operation) -> Result:
        """One operation, alone, until it is answered for good."""
        call = Call(operation, self.cluster.steps)
        for _ in range(20):
            results: list[Result] = []
            self.cluster.perform(self.cluster.any_up(), operation, results.append, lambda: None)
            while not results:
                assert self.cluster.step(), "nothing moves"
            if not isinstance(results[0], Failed) or results[0].code not in NOTHING_HAPPENED:
                self.cluster.steps += 1
                call.returned, call.result = self.cluster.steps, results[0]
                self.calls.append(call)
                return results[0]
            self.cluster.now_ms += 200  # leases of the dead run out
            self.sweep(operation)
        if self.cluster.shares_lost and isinstance(results[0], Failed) and results[0].code == "unavailable":
            return results[0]
        raise AssertionError(f"{operation} stays {results[0]} with every node up")

    def sweep(self, operation: Operation) -> None:
        """What a node does for a secret that stays in doubt: settle it."""
        if isinstance(operation, Read | History):
            self.cluster.settle(self.cluster.any_up(), operation.secret)

    def clock(self) -> int:
        """The time of some gateway: they disagree by hours, and while clocks jump now and then by a month."""
        leap = self.random.choice((-720, 720)) if self.shape.faults.jump and self.random.random() < 0.1 else 1
        return 10**15 + self.cluster.steps * 1000 + leap * self.random.choice((-SKEW_US, 0, 0, SKEW_US))

    def operation(self) -> Operation:
        chance, secret = self.random.random, self.random.choice(self.secrets)
        self.serial += 1
        value = b"value %d" % self.serial
        kind = self.random.choices(KINDS, self.shape.mix)[0]
        retry = Retry(sha256(value).digest(), kind.encode()) if chance() < 0.6 else None
        match kind:
            case "group" if len(self.secrets) > 1:
                return Create(tuple(NewValue(each, value + each.name.encode()) for each in self.secrets), self.clock(), retry)
            case "create" | "group":
                return Create((NewValue(secret, value),), self.clock(), retry)
            case "update":
                expected = self.random.randrange(1, 4) if chance() < 0.2 else None
                return Update(NewValue(secret, value), self.clock(), expected, retry)
            case "delete":
                return Delete(secret, self.clock(), retry)
            case "read":
                return Read(secret)
            case "at":
                return Read(secret, version=self.random.randrange(1, 3)) if chance() < 0.5 else Read(secret, at=self.clock())
            case _:
                return History(secret)


KINDS = ("create", "group", "update", "delete", "read", "at", "history")
MIXES = ((20, 10, 25, 12, 22, 6, 8), (15, 0, 45, 5, 20, 5, 10), (30, 0, 20, 25, 12, 2, 2))
CLUSTERS = ((3, 2), (3, 2), (3, 3), (4, 2), (4, 3), (5, 2), (5, 3), (5, 3), (5, 4))
FAULTS = (
    Faults(upkeep=0.005, impatient=0.005),
    Faults(double=0.1, upkeep=0.01, impatient=0.03),
    Faults(lose=0.05, double=0.05, late=0.05, upkeep=0.01, impatient=0.02, time_up=0.003),
    Faults(lose=0.15, late=0.1, upkeep=0.02, impatient=0.05, time_up=0.01),
    Faults(crash=0.02, upkeep=0.01, impatient=0.02, time_up=0.003),
    Faults(lose=0.05, double=0.03, late=0.15, crash=0.03, impatient=0.05, time_up=0.01, upkeep=0.03),
    Faults(torn=0.4, late=0.05, impatient=0.05, time_up=0.003, upkeep=0.005),
    Faults(torn=0.6, lose=0.02, late=0.1, crash=0.01, impatient=0.1, time_up=0.01, upkeep=0.01),
    Faults(torn=0.4, late=0.2, impatient=0.05, time_up=0.003, upkeep=0.025),
    Faults(late=0.3, crash=0.05, impatient=0.1, time_up=0.02, upkeep=0.05),
)


def shape_of(seed: int) -> Shape:
    """The run that a seed stands for: every other one is eventful, of the rest every other one robbed, and the others are of all kinds."""
    chance = random.Random(seed)
    if seed % 4 == 0:
        return robbed(seed)
    if seed % 2:
        return eventful(seed)
    share_count, threshold = chance.choice(CLUSTERS)
    clients = chance.randrange(2, 5)
    operations, secrets, faults = chance.randrange(clients, 9), chance.randrange(1, 3), chance.choice(FAULTS)
    lease_ms = 10_000 if faults.harmless else chance.choice((20, 200, 2000))
    return Shape(share_count, threshold, clients, operations, secrets, faults, lease_ms, chance.choice(MIXES))


def eventful(seed: int) -> Shape:
    """Much happens to one secret: most writes reach a few nodes only, and repairs come late."""
    chance = random.Random(seed)
    share_count, threshold = chance.choice(((3, 2), (3, 2), (4, 2), (5, 3)))
    faults = Faults(torn=0.35, late=0.1, crash=chance.choice((0, 0.01)), impatient=0.05, time_up=0.005, upkeep=0.03)
    return Shape(share_count, threshold, 3, 9, 1, faults, chance.choice((20, 200)), chance.choice(MIXES[1:]))


def robbed(seed: int) -> Shape:
    """Disks are lost, or refuse to write for a while, and clocks jump, while much happens to one secret or two."""
    chance = random.Random(seed)
    share_count, threshold = chance.choice(((3, 2), (3, 2), (4, 2), (4, 3), (5, 3)))
    torn, crash = chance.choice((0, 0.3)), chance.choice((0, 0.01))
    faults = Faults(torn=torn, late=0.1, crash=crash, impatient=0.05, time_up=0.005, upkeep=0.02, rob=0.01, full=0.005, jump=0.02, slow=0.1)
    secrets, raised = chance.randrange(1, 3), threshold + 1 if chance.random() < 0.5 else 0
    return Shape(share_count, threshold, 3, 9, secrets, faults, chance.choice((20, 200)), chance.choice(MIXES), raised)


def run(seed: int, shape: Shape | None = None) -> None:
    """Raises AssertionError with what went wrong."""
    Run(seed, shape if shape is not None else shape_of(seed)).go()
