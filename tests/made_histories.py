"""Made-up histories of one secret: right ones of any length, from the reference machine, and ways to make them wrong.

Clients work at once: each call is asked, takes effect, and is answered at random steps; its answer may be lost, and then it may take effect
later or never, and is perhaps asked again with the same key.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from hashlib import sha256

import msgspec
from linearizability import Call

from model.operation import (
    Create,
    Delete,
    Failed,
    Found,
    History,
    NewValue,
    Read,
    Result,
    Retry,
    SecretId,
    Update,
    Version,
    Versions,
    Written,
)
from model.secret import Secret, Write, perform

NAME = SecretId("default", "hot")
KINDS = ("create", "update", "if-match", "delete", "read", "version", "at", "history")
SAFE_TIME = 10**15


class UnderWay:
    """A call that was asked; ``result`` once it has taken effect."""

    def __init__(self, operation: Write | Read | History, step: int) -> None:
        self.operation = operation
        self.call = Call(operation, step)
        self.result: Result | None = None


class Maker:
    """One history. ``lost`` is the share of writes whose answer is lost; ``calm`` makes creates and deletes rare."""

    def __init__(self, seed: int, *, calls: int, clients: int, lost: float = 0.1, calm: bool = False) -> None:
        self.random = random.Random(seed)
        self.calls: list[Call] = []
        self.secret = Secret()
        self._left = calls
        self._clients = clients
        self._lost = lost
        self._weights = (2, 60, 8, 1, 25, 5, 5, 1) if calm else (14, 20, 10, 12, 22, 8, 8, 6)
        self._step = 0
        self._serial = 0
        self._asked: list[Write] = []
        self._late: list[Write] = []

    def make(self) -> list[Call]:
        """The calls, of which some have no answer."""
        under_way: list[UnderWay] = []
        while self._left or under_way:
            self._step += 1
            if self._late and self.random.random() < 0.05:
                self._perform(self._late.pop(self.random.randrange(len(self._late))))
            if self._left and len(under_way) < self._clients and (not under_way or self.random.random() < 0.5):
                self._left -= 1
                under_way.append(UnderWay(self._operation(), self._step))
                self.calls.append(under_way[-1].call)
            elif under_way:
                one = self.random.choice(under_way)
                if one.result is not None:
                    one.call.returned, one.call.result = self._step, one.result
                elif isinstance(one.operation, Write) and self.random.random() < self._lost:
                    self._lose(one.operation)
                else:
                    one.result = self._perform(one.operation)
                    continue
                under_way.remove(one)
        return self.calls

    def _lose(self, write: Write) -> None:
        """Its answer never comes: it took effect, or will, or never does; and somebody may ask again."""
        fate = self.random.random()
        if fate < 0.4:
            self._perform(write)
        elif fate < 0.7:
            self._late.append(write)
        if write.retry is not None:
            self._asked.append(write)

    def _perform(self, operation: Write | Read | History) -> Result:
        if isinstance(operation, Write):
            operation = msgspec.structs.replace(operation, now=SAFE_TIME + self._step * 10)
        secrets, result = perform({NAME: self.secret}, operation)
        self.secret = secrets[NAME]
        return result

    def _operation(self) -> Write | Read | History:
        chance = self.random.random
        if self._asked and chance() < 0.3:
            return self._asked.pop(self.random.randrange(len(self._asked)))
        self._serial += 1
        kind = self.random.choices(KINDS, self._weights)[0]
        value = NewValue(NAME, b"value %d" % self._serial)
        retry = Retry(sha256(value.value).digest(), kind.encode()) if chance() < 0.5 else None
        latest = self.secret.versions[-1] if self.secret.live else None
        near = self.random.randrange(-1, 2)
        match kind:
            case "create":
                return Create((value,), 0, retry)
            case "update":
                return Update(value, 0, None, retry)
            case "if-match":
                return Update(value, 0, max(1, latest.version + near if latest is not None else 1), retry)
            case "delete":
                return Delete(NAME, 0, retry)
            case "read":
                return Read(NAME)
            case "version":
                return Read(NAME, version=max(1, latest.version + near if latest is not None else 1))
            case "at":
                return Read(NAME, at=SAFE_TIME + self.random.randrange(-10, self._step * 10 + 10))
            case _:
                return History(NAME)


def make(seed: int, *, calls: int, clients: int, lost: float = 0.1, calm: bool = False) -> list[Call]:
    """A right history: ``calls`` calls by ``clients`` clients."""
    return Maker(seed, calls=calls, clients=clients, lost=lost, calm=calm).make()


def stale_read(calls: list[Call], chance: random.Random) -> bool:
    """A read answers as another read did."""
    found = [call for call in calls if isinstance(call.operation, Read) and isinstance(call.result, Found) and call.operation == Read(NAME)]
    if len(found) < 2:
        return False
    one, other = chance.sample(found, 2)
    one.result = other.result
    return True


def lost_update(calls: list[Call], chance: random.Random) -> bool:
    """An answer is attributed to another call: two answers of one kind change places."""
    done = [call for call in calls if call.result is not None]
    if len(done) < 2:
        return False
    one, other = chance.sample(done, 2)
    if type(one.operation) is not type(other.operation):
        return False
    one.result, other.result = other.result, one.result
    return True


def moved_call(calls: list[Call], chance: random.Random) -> bool:
    """A call is asked and answered at another time."""
    call = chance.choice(calls)
    if call.returned is None:
        return False
    far = chance.randrange(-12, 13)
    call.invoked, call.returned = call.invoked + far, call.returned + far
    return True


def false_refusal(calls: list[Call], chance: random.Random) -> bool:
    """Something succeeded, or was refused, and the answer says the opposite."""
    call = chance.choice([call for call in calls if call.result is not None] or calls)
    if call.result is None:
        return False
    if isinstance(call.operation, Create):
        call.result = (
            Failed("secret_exists") if isinstance(call.result, Written) else Written((Version(1, SAFE_TIME + call.invoked * 10 + 5),))
        )
    else:
        call.result = Failed("secret_not_found")
    return True


def shorter_history(calls: list[Call], chance: random.Random) -> bool:
    """A history lacks its first, or its last version."""
    shown = [call for call in calls if isinstance(call.result, Versions) and len(call.result.versions) > 1]
    if not shown:
        return False
    call = chance.choice(shown)
    assert isinstance(call.result, Versions)
    versions = call.result.versions
    cut = versions[1:] if chance.random() < 0.3 else (*versions[:-2], msgspec.structs.replace(versions[-2], valid_to=None))
    call.result = Versions(cut)
    return True


def lost_answer(calls: list[Call], chance: random.Random) -> bool:
    """The answer of a write is lost: that makes nothing wrong, but leaves more open."""
    writes = [call for call in calls if isinstance(call.operation, Write) and call.result is not None]
    if not writes:
        return False
    call = chance.choice(writes)
    call.returned = call.result = None
    return True


MUTATIONS: tuple[Callable[[list[Call], random.Random], bool], ...] = (
    stale_read,
    lost_update,
    moved_call,
    false_refusal,
    shorter_history,
    lost_answer,
)
