"""Clients of a simulated cluster: random operations, asked again as a gateway does, retried as a careful client does."""

from __future__ import annotations

import random
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec
from inspection import erased_is_gone
from linearizability import Call
from workload_shapes import KINDS, Shape

from model.operation import (
    Create,
    Delete,
    Deleted,
    Failed,
    History,
    NewValue,
    Operation,
    Read,
    Result,
    Retry,
    SecretId,
    Update,
    Written,
)

if TYPE_CHECKING:
    from workload import Run

NOTHING_HAPPENED = frozenset({"voting_failed", "write_conflict", "unavailable"})
"""Failures that promise that the operation had no effect: they say nothing about the secret."""
WRITES = (Create, Update, Delete)
SECRETS = (SecretId("default", "a"), SecretId("default", "b"))
SKEW_US = 3_600_000_000
AGAIN_MS = 600
"""How much later, at most, a write that was answered is asked once more."""


class Requests:
    """What the clients of one run ask, and the times that they attach."""

    def __init__(self, chance: random.Random, shape: Shape) -> None:
        self.random = chance
        self.shape = shape
        self.secrets = SECRETS[: shape.secrets]
        self.serial = 0

    def clock(self, step: int) -> int:
        """The time of some gateway: they disagree by hours, and while clocks jump now and then by a month."""
        leap = self.random.choice((-720, 720)) if self.shape.faults.jump and self.random.random() < 0.1 else 1
        return 10**15 + step * 1000 + leap * self.random.choice((-SKEW_US, 0, 0, SKEW_US))

    def next(self, step: int) -> Operation:
        """The next operation of whoever asks for one at this step."""
        chance, secret = self.random.random, self.random.choice(self.secrets)
        self.serial += 1
        value = b"value %d" % self.serial
        story = self.shape.story
        kind = story[self.serial % len(story) - 1] if story else self.random.choices(KINDS, self.shape.mix)[0]
        retry = Retry(sha256(value).digest(), kind.encode()) if chance() < self.shape.keyed else None
        match kind:
            case "group" if len(self.secrets) > 1:
                return Create(tuple(NewValue(each, value + each.name.encode()) for each in self.secrets), self.clock(step), retry)
            case "create" | "group":
                return Create((NewValue(secret, value),), self.clock(step), retry)
            case "update":
                expected = self.random.randrange(1, 4) if chance() < self.shape.conditional else None
                return Update(NewValue(secret, value), self.clock(step), expected, retry)
            case "delete":
                return Delete(secret, self.clock(step), retry)
            case "read":
                return Read(secret)
            case "at":
                return Read(secret, version=self.random.randrange(1, 3)) if chance() < 0.5 else Read(secret, at=self.clock(step))
            case _:
                return History(secret)


class Client:
    """One client with some operations to do, one after the other. It asks again what had no effect, and at times what may have had one."""

    def __init__(self, run: Run, operations: int) -> None:
        self.run = run
        self.left = operations

    def next(self) -> None:
        run = self.run
        if self.left == 0:
            run.active -= 1
            return
        self.left -= 1
        self.attempt(run.requests.next(run.cluster.steps), 0)

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
                if run.shape.again and isinstance(result, Written | Deleted) and run.random.random() < run.shape.again:
                    self.repeat(operation)
            self.next()

        cluster.perform(cluster.any_up(), operation, done, lambda: self.perhaps_retry(operation, tries))

    def repeat(self, operation: Operation) -> None:
        """Somebody on the way asks once more, though the client has its answer."""
        run = self.run
        if isinstance(operation, WRITES) and operation.retry is not None:
            again = msgspec.structs.replace(operation, now=run.requests.clock(run.cluster.steps))
            run.active += 1
            run.cluster.after(run.random.randrange(AGAIN_MS), lambda: Client(run, 0).attempt(again, 0))

    def perhaps_retry(self, operation: Operation, tries: int) -> None:
        retry = operation.retry if isinstance(operation, WRITES) else None
        if retry is not None and tries < 500 and self.run.random.random() < 0.8:
            again = msgspec.structs.replace(operation, now=self.run.requests.clock(self.run.cluster.steps))
            self.run.cluster.after(self.run.random.randrange(60), lambda: self.attempt(again, tries + 1))
        else:
            self.next()
