"""A Hypothesis machine that drives any vault through faults and lets the oracle judge every answer.

A test subclasses ``VaultMachine`` and names its cluster; the machine finds the operations, keys, times and faults. It asks one
operation at a time, so that ``model.vault`` can judge it. Not a test itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from hashlib import sha256
from typing import ClassVar

from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from msgspec.structs import replace

from model.operation import (
    Create,
    Delete,
    Failed,
    Found,
    History,
    List,
    NewValue,
    Operation,
    Read,
    Result,
    Retry,
    SecretId,
    Status,
    Update,
    Version,
    Versions,
    Written,
)
from model.secret import Write, named
from model.vault import Vault

SECOND_US = 1_000_000
HOUR_US = 3600 * SECOND_US
START_US = 1_767_225_600 * SECOND_US

NAMES = (SecretId("default", "app/db"), SecretId("default", "app/key"), SecretId("default", "smtp"), SecretId("other", "app/db"))
SECRETS = st.sampled_from((NAMES[0],) * 4 + NAMES)
"""Mostly one secret, so that much happens to it."""
CERTAIN = frozenset({"voting_failed", "writing_failed", "write_conflict", "unavailable"})
"""Failures that a healthy vault must not answer with while only one operation is under way."""


class Cluster(ABC):
    """A vault to drive, with its faults. ``perform`` returns None where the answer was lost on the way back.

    ``ends_with_answer``: once ``perform`` has returned, nothing of the operation starts anew any more: its coordinator has ended
    or died (messages that it has sent may still be late). False where a request may still wait somewhere.
    """

    nodes: tuple[str, ...]
    ends_with_answer: ClassVar[bool] = True

    @abstractmethod
    def perform(self, operation: Operation) -> Result | None:
        """One operation, as a gateway does it: at some node that is up, and again for a while where the result has ``retry_ms``.

        The result is what the operation asked for and no more: no value without ``reveal``. Where a cluster has its own clock,
        ``now`` is 0 and not to be used.
        """

    @abstractmethod
    def crash(self, node: str) -> None:
        """Stop a node at once; it keeps its disk."""

    @abstractmethod
    def restart(self, node: str) -> None:
        """Start a node that crashed."""

    @abstractmethod
    def lose_messages(self, share: float, seed: int) -> None:
        """From now on lose, delay or double this share of all messages (0 to 1); ``seed`` makes it repeatable."""

    @abstractmethod
    def settle(self) -> None:
        """End all faults, start every node, and return when the vault is at rest: nothing is on its way or left to do."""

    @abstractmethod
    def close(self) -> None:
        """Stop everything."""


def retry_for(key: str, operation: Write) -> Retry:
    """The digests of an idempotency key and of the parts of a request that are not secret (SEM-20)."""
    match operation:
        case Create(secrets=secrets):
            parts: object = ("create", sorted((new.secret.name, new.encoding) for new in secrets))
        case Update(secret=new):
            parts = ("update", new.secret.name, new.encoding, operation.expected_version)
        case Delete(secret=secret):
            parts = ("delete", secret.name)
    namespace = named(operation)[0].namespace
    return Retry(sha256(f"{namespace}\0{key}".encode()).digest(), sha256(repr(parts).encode()).digest())


class VaultMachine(RuleBasedStateMachine):
    """Subclass it and define ``make_cluster``. With ``own_clock`` the machine says what the gateways' clocks show; else they do."""

    own_clock: ClassVar[bool] = True
    most_crashed: ClassVar[int] = 3

    @abstractmethod
    def make_cluster(self) -> Cluster:
        """The cluster that is driven, running."""

    @initialize(share=st.sampled_from([0.0, 0.3]), seed=st.integers(0, 2**32 - 1))
    def begin(self, share: float, seed: int) -> None:
        self.cluster = self.make_cluster()
        self.vault = Vault()
        self.healthy = True
        self.crashed: set[str] = set()
        self.clock = START_US
        self.skew = 0
        self.count = 0
        self.latest: dict[SecretId, int] = {}
        self.times: list[int] = []
        self.keyed: list[Write] = []
        if share:
            self.lose(share, seed)

    def ask(self, operation: Operation) -> Result | None:
        """One operation: performed, checked for an answer where there has to be one, judged."""
        result = self.cluster.perform(operation)
        if self.healthy:
            assert result is not None, f"no answer from a healthy vault: {operation}"
            assert not (isinstance(result, Failed) and result.code in CERTAIN), f"a healthy vault failed: {result}: {operation}"
        self.vault = self.vault.expect(operation, result)
        if self.cluster.ends_with_answer:
            self.vault = self.vault.fenced()
        for version in _versions(result):
            self.times.append(version.valid_from)
        if isinstance(operation, Update | Read) and isinstance(result, Written | Found):
            self.latest[named(operation)[0]] = _versions(result)[-1].version
        return result

    def write(self, make: Callable[[int, Retry | None], Write], key: bool) -> None:
        operation = make(self.now(), None)
        if key:
            operation = make(operation.now, retry_for(f"key-{self.count}", operation))
            self.keyed.append(operation)
        self.ask(operation)

    def now(self) -> int:
        """What the clock of the gateway shows that attends to the next operation."""
        self.clock += 1000
        return self.clock + self.skew if self.own_clock else 0

    def fresh(self, secret: SecretId, binary: bool) -> NewValue:
        """A value unlike any before, so that the oracle can tell them apart."""
        self.count += 1
        text = f"value {self.count} ü".encode()
        return NewValue(secret, b"\xff\x00" + text, "base64") if binary else NewValue(secret, text)

    @rule(secret=SECRETS, key=st.booleans(), binary=st.booleans())
    def create(self, secret: SecretId, key: bool, binary: bool) -> None:
        new = self.fresh(secret, binary)
        self.write(lambda now, retry: Create((new,), now, retry), key)

    @rule(secrets=st.lists(st.sampled_from(NAMES[:3]), min_size=2, max_size=3, unique=True), key=st.booleans())
    def create_group(self, secrets: list[SecretId], key: bool) -> None:
        group = tuple(self.fresh(secret, binary=False) for secret in secrets)
        self.write(lambda now, retry: Create(group, now, retry), key)

    @rule(secret=SECRETS, key=st.booleans(), binary=st.booleans(), off=st.sampled_from([None, None, None, None, 0, -1, 1]))
    def update(self, secret: SecretId, key: bool, binary: bool, off: int | None) -> None:
        """``off``: how far the If-Match is from the version last seen; None sends no If-Match."""
        new = self.fresh(secret, binary)
        expected = None if off is None else max(1, self.latest.get(secret, 1) + off)
        self.write(lambda now, retry: Update(new, now, expected, retry), key)

    @rule(secret=SECRETS, key=st.booleans())
    def delete(self, secret: SecretId, key: bool) -> None:
        self.count += 1
        self.write(lambda now, retry: Delete(secret, now, retry), key)

    @precondition(lambda self: self.keyed)
    @rule(back=st.integers(0, 5), change=st.sampled_from(["nothing", "nothing", "nothing", "value", "verb"]))
    def retry(self, back: int, change: str) -> None:
        """Once more a write with a key, one of the latest six: just so, with another value, or the key on another request."""
        first = self.keyed[-1 - back % len(self.keyed)]
        again = replace(first, now=self.now())
        match again:
            case Create(secrets=(new, *others)) if change == "value":
                again = replace(again, secrets=(self.fresh(new.secret, new.encoding == "base64"), *others))
            case Update(secret=new) if change == "value":
                again = replace(again, secret=self.fresh(new.secret, new.encoding == "base64"))
            case Create() | Update() if change == "verb":
                again = Delete(named(first)[0], again.now)
            case Delete() if change == "verb":
                again = Update(self.fresh(again.secret, binary=False), again.now)
        if first.retry is not None:
            again = replace(again, retry=Retry(first.retry.key, retry_for("", again).request))
        self.ask(again)

    @rule(secret=SECRETS, reveal=st.booleans())
    def read(self, secret: SecretId, reveal: bool) -> None:
        self.ask(Read(secret, reveal=reveal))

    @rule(secret=SECRETS, version=st.integers(1, 5))
    def read_version(self, secret: SecretId, version: int) -> None:
        self.ask(Read(secret, version=version))

    @precondition(lambda self: self.times)
    @rule(secret=SECRETS, back=st.integers(0, 20), off=st.sampled_from([-1, 0, 1, 500, HOUR_US]))
    def read_at(self, secret: SecretId, back: int, off: int) -> None:
        self.ask(Read(secret, at=self.times[-1 - back % len(self.times)] + off))

    @rule(secret=SECRETS)
    def history(self, secret: SecretId) -> None:
        self.ask(History(secret))

    @rule(
        namespace=st.sampled_from(["default", "other"]),
        prefix=st.sampled_from(["", "app/", "s", "none"]),
        after=st.sampled_from(["", "app/db", "app/k"]),
        limit=st.integers(1, 4),
    )
    def list_names(self, namespace: str, prefix: str, after: str, limit: int) -> None:
        self.ask(List(namespace, prefix, after, limit))

    @rule()
    def status(self) -> None:
        self.ask(Status())

    @precondition(lambda self: self.own_clock)
    @rule(skew=st.sampled_from([0, HOUR_US, -HOUR_US]), later=st.sampled_from([0, 0, SECOND_US, 25 * HOUR_US]))
    def turn_clock(self, skew: int, later: int) -> None:
        """Another gateway, with another clock; and time passes."""
        self.skew, self.clock = skew, self.clock + later

    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        running = sorted(set(self.cluster.nodes) - self.crashed)
        assume(len(self.crashed) < self.most_crashed and running)
        node = data.draw(st.sampled_from(running))
        self.healthy = False
        self.crashed.add(node)
        self.cluster.crash(node)

    @precondition(lambda self: self.crashed)
    @rule(data=st.data())
    def restart(self, data: st.DataObject) -> None:
        node = data.draw(st.sampled_from(sorted(self.crashed)))
        self.crashed.remove(node)
        self.cluster.restart(node)

    @rule(share=st.sampled_from([0.1, 0.3, 0.6]), seed=st.integers(0, 2**32 - 1))
    def lose_messages(self, share: float, seed: int) -> None:
        self.lose(share, seed)

    def lose(self, share: float, seed: int) -> None:
        self.healthy = False
        self.cluster.lose_messages(share, seed)

    @precondition(lambda self: not self.healthy)
    @rule()
    def settle(self) -> None:
        self.heal()

    def heal(self) -> None:
        self.cluster.settle()
        self.vault = self.vault.fenced()
        self.crashed.clear()
        self.healthy = True

    def teardown(self) -> None:
        """In the end every secret can be read, and is what the oracle says."""
        if not hasattr(self, "cluster"):
            return
        try:
            self.heal()
            for secret in NAMES:
                self.ask(Read(secret))
                self.ask(History(secret))
            for namespace in sorted({secret.namespace for secret in NAMES}):
                self.ask(List(namespace))
        finally:
            self.cluster.close()


def _versions(result: Result | None) -> tuple[Version, ...]:
    match result:
        case Written(versions=versions) | Versions(versions=versions):
            return versions
        case Found(version=version):
            return (version,)
        case _:
            return ()
