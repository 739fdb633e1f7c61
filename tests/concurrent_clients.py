"""Concurrent clients of a running vault, on a few hot secrets and several cold ones, and a nemesis beside them. Their history is recorded.

Every client asks one thing at a time, through any of the gateways. A write whose outcome is unknown it mostly asks again, with the same
key, and sometimes it walks away. It also repeats keys long after, and uses them with other values.
"""

from __future__ import annotations

import random
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import requests
from histories import NOTHING, UNKNOWN, Recorder
from history_checker import check
from http_vault import HttpVault
from msgspec.structs import replace
from vault_machine import retry_for

from model.operation import (
    Create,
    Delete,
    Deleted,
    Failed,
    Found,
    History,
    NewValue,
    Operation,
    Read,
    Result,
    SecretId,
    Update,
    Versions,
    Written,
)
from model.secret import Write, named

HOT_NAMES = tuple(f"hot/{number}" for number in range(3))
COLD_NAMES = tuple(f"cold/{number}" for number in range(24))
HOT_SHARE = 0.75
KINDS = ("create", "update", "if-match", "delete", "read", "version", "at", "history")
WEIGHTS = (16, 26, 8, 5, 30, 7, 5, 3)
CLOCK_TICK_US = 1_000_000
PATIENCE_SECONDS = 25.0
"""How long a client asks again for a write whose outcome is unknown."""
LAST_LOOK_SECONDS = 60.0
"""How long after the last fault everything may take to be readable."""


class Chooser:
    """Random operations on some names, most of them on the ``hot`` ones, with an eye on what was answered before."""

    def __init__(self, namespace: str, number: int, seed: int, *, cold: Sequence[str] = COLD_NAMES) -> None:
        self.hot = tuple(SecretId(namespace, name) for name in HOT_NAMES)
        self.cold = tuple(SecretId(namespace, name) for name in cold)
        self.random = random.Random(f"{seed}/{number}")
        self._number = number
        self._serial = 0
        self._seen: dict[SecretId, tuple[int, int]] = {}
        self._done: list[Write] = []

    def learn(self, operation: Operation, result: Result | None) -> None:
        """Remember the version shown, and a key that has done its work."""
        if isinstance(result, Found | Written) and isinstance(operation, Create | Update | Read):
            version = result.version if isinstance(result, Found) else result.versions[-1]
            self._seen[named(operation)[-1]] = (version.version, version.valid_from)
        if isinstance(operation, Write) and operation.retry is not None and isinstance(result, Written | Deleted):
            self._done = [*self._done[-9:], operation]

    def choose(self) -> Write | Read | History:
        chance = self.random.random()
        if self._done and chance < 0.04:
            write = self.random.choice(self._done)
            return self._other_value(write) if chance < 0.015 else write
        name = self.random.choice(self.hot if self.random.random() < HOT_SHARE else self.cold)
        new = self.fresh(name)
        version, time_us = self._seen.get(name, (1, 0))
        near = max(1, version + self.random.choice((-1, 0, 0, 1)))
        match self.random.choices(KINDS, WEIGHTS)[0]:
            case "create":
                return self._keyed(Create((new,), 0))
            case "update":
                return self._keyed(Update(new, 0))
            case "if-match":
                return self._keyed(Update(new, 0, near))
            case "delete":
                return self._keyed(Delete(name, 0))
            case "version":
                return Read(name, version=near)
            case "at" if time_us:
                return Read(name, at=time_us + self.random.choice((-CLOCK_TICK_US, -1, 0, 1, CLOCK_TICK_US)))
            case "history":
                return History(name)
            case _:
                return Read(name)

    def fresh(self, name: SecretId) -> NewValue:
        """A value unlike any other."""
        self._serial += 1
        return NewValue(name, f"{self._number}.{self._serial}".encode())

    def _keyed(self, write: Write) -> Write:
        if self.random.random() < 0.25:
            return write
        return replace(write, retry=retry_for(f"{self._number}/{self._serial}", write))

    def _other_value(self, write: Write) -> Write:
        """The same key with another value; a delete has none."""
        match write:
            case Create(secrets=(new,)):
                return replace(write, secrets=(self.fresh(new.secret),))
            case Update(secret=new):
                return replace(write, secret=self.fresh(new.secret))
            case _:
                return write


class Client:
    """One client. ``vaults`` are the gateways' roads to the same vault."""

    def __init__(self, vaults: Sequence[HttpVault], recorder: Recorder, chooser: Chooser) -> None:
        self.names = (*chooser.hot, *chooser.cold)
        self._vaults = vaults
        self._recorder = recorder
        self._chooser = chooser
        self._random = chooser.random

    def work(self, over: threading.Event) -> None:
        while not over.is_set():
            operation = self._chooser.choose()
            result = self.ask(operation)
            if isinstance(operation, Write):
                self._insist(operation, result, over)

    def ask(self, operation: Write | Read | History) -> Result | None:
        """One attempt, through any gateway; None where the answer was lost."""
        vault = self._random.choice(self._vaults)
        result = self._recorder.perform(lambda asked: perform(vault, asked), operation)
        self._chooser.learn(operation, result)
        return result

    def _insist(self, write: Write, result: Result | None, over: threading.Event) -> None:
        """Ask again with the same key for what is unknown, most of the time."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while unknown(result):
            if write.retry is None or self._random.random() < 0.1 or over.is_set() or time.monotonic() > deadline:
                return
            time.sleep(self._random.uniform(0.05, 0.5))
            result = self.ask(write)


def perform(vault: HttpVault, operation: Operation) -> Result | None:
    """As the vault's, with every kind of broken connection."""
    with suppress(requests.RequestException):
        return vault.perform(operation)
    return None


def unknown(result: Result | None) -> bool:
    return result is None or (isinstance(result, Failed) and result.code in UNKNOWN)


class Nemesis(ABC):
    """What goes wrong, one fault after the other, until the clients are done. ``faults`` counts them by kind."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.faults: Counter[str] = Counter()

    @abstractmethod
    def strike(self, over: threading.Event) -> None:
        """One fault: begin it, let it last, and end it, or leave it to ``heal``. Returns early when it is ``over``."""

    @abstractmethod
    def heal(self) -> None:
        """End every fault."""


class Campaign:
    """Clients and a nemesis for some time; then calm, a last look at everything, and the verdict on each secret."""

    def __init__(self, vaults: Sequence[HttpVault], nemesis: Nemesis, *, clients: int, seed: int, namespace: str = "default") -> None:
        self.recorder = Recorder()
        self.nemesis = nemesis
        self.states = 0
        self._clients = [Client(vaults, self.recorder, Chooser(namespace, number, seed)) for number in range(clients)]

    def run(self, seconds: float) -> None:
        """Raises history_checker.Violation, and AssertionError where something cannot be read in the end."""
        over = threading.Event()
        with ThreadPoolExecutor(len(self._clients)) as pool:
            works = [pool.submit(client.work, over) for client in self._clients]
            try:
                deadline = time.monotonic() + seconds
                while time.monotonic() < deadline:
                    over.wait(self.nemesis.random.uniform(0.3, 2.0))
                    self.nemesis.strike(over)
            finally:
                over.set()
                self.nemesis.heal()
            for work in works:
                work.result()
        self._look()
        for calls in self.recorder.calls.values():
            self.states += check(calls)

    def report(self) -> str:
        """What was asked, answered, broken and judged."""
        faults = ", ".join(f"{number} {kind}" for kind, number in sorted(self.nemesis.faults.items()))
        longest = max(map(len, self.recorder.calls.values()), default=0)
        return f"{self.recorder.report()}\nfaults: {faults}\nlongest history of one secret {longest}; states searched {self.states}"

    def _look(self) -> None:
        """Read everything: the latest, the history, each version of it."""
        deadline = time.monotonic() + LAST_LOOK_SECONDS
        for name in self._clients[0].names:
            self._definitely(Read(name), deadline)
            history = self._definitely(History(name), deadline)
            for version in history.versions if isinstance(history, Versions) else ():
                self._definitely(Read(name, version=version.version), deadline)

    def _definitely(self, operation: Read | History, deadline: float) -> Result:
        while (result := self._clients[0].ask(operation)) is None or (isinstance(result, Failed) and result.code in NOTHING | UNKNOWN):
            assert time.monotonic() < deadline, f"{operation} is answered with {result} long after the last fault"
            time.sleep(0.5)
        return result
