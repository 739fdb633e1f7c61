"""What some secrets may be, when the outcome of writes to them is unknown: worlds (SEM-8).

A *world* is one consistent story: what each secret is, and which writes are *pending*, that is, may still take effect at any
later moment, once, or never. Pending writes take effect lazily: a world stands for everything that it can become. How it does
that, and how it can answer, is decided by ``model.explaining``.

The times of versions are believed rather than predicted: one that no answer has shown yet is a guess, the earliest possible.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from model.operation import Retry, SecretId, Update
from model.secret import Secret, Write, named

NEVER_USED = Secret()


@dataclass(frozen=True, slots=True)
class Belief:
    """One secret in one world. ``guessed`` are the times in it that no answer has shown; ``skipped`` counts version numbers left out."""

    secret: Secret = NEVER_USED
    guessed: frozenset[int] = frozenset()
    skipped: int = 0

    def learn(self, seen: Mapping[int, int]) -> Belief | None:
        """With the times that were ``seen`` (believed -> true), or None where they cannot be true.

        A guess is a lower bound; guesses that follow move up to stay in order.
        """
        move: dict[int, int] = {}
        last: int | None = None
        for time in sorted(self.secret.times()):
            guess = time in self.guessed
            true = seen.get(time, time)
            if guess and time not in seen and last is not None:
                true = max(true, last + 1)
            if true < time or (true > time and not guess) or (last is not None and true <= last):
                return None
            last = move[time] = true
        return replace(self, secret=self.secret.retimed(move), guessed=frozenset(move[time] for time in self.guessed if time not in seen))

    def not_before(self, time: int, bound: int) -> Belief | None:
        """The write believed to be of ``time`` took place at ``bound`` or later; None where that is known to be wrong."""
        if time >= bound:
            return self
        moved = self.learn({time: bound})
        return None if moved is None else replace(moved, guessed=moved.guessed | {bound})

    def wrote(self, secret: Secret, skipped: int) -> Belief:
        """After a write: the times that are new in ``secret`` are guesses."""
        guessed = (self.guessed | (secret.times() - self.secret.times())) & secret.times()
        return Belief(secret, guessed, self.skipped + skipped)

    def forget(self, retry: Retry) -> Belief:
        secret = self.secret.forget(retry)
        return replace(self, secret=secret, guessed=self.guessed & secret.times())


@dataclass(frozen=True, slots=True)
class Pending:
    """A write with an unknown outcome. Once it takes effect, pending writes numbered below ``fence`` no longer can."""

    serial: int
    fence: int
    operation: Write


@dataclass(frozen=True, slots=True)
class World:
    """What some secrets, sorted, may be, and the writes to them that may still take effect."""

    beliefs: tuple[tuple[SecretId, Belief], ...]
    pending: frozenset[Pending] = frozenset()

    def secrets(self) -> dict[SecretId, Secret]:
        return {name: belief.secret for name, belief in self.beliefs}

    def having(self, changed: Mapping[SecretId, Belief]) -> World:
        return replace(self, beliefs=tuple((name, changed.get(name, belief)) for name, belief in self.beliefs))

    def only(self, names: Collection[SecretId]) -> World:
        """The part of this world that concerns ``names``."""
        pending = frozenset(each for each in self.pending if named(each.operation)[0] in names)
        return World(tuple(pair for pair in self.beliefs if pair[0] in names), pending)

    def updates(self, name: SecretId) -> int:
        return sum(1 for each in self.pending if isinstance(each.operation, Update) and each.operation.secret.secret == name)

    def idle(self) -> set[Pending]:
        """The pending writes that can never take effect: they are retries of one that did."""
        return {each for each in self.pending if any(self.secrets()[name].outcome(each.operation.retry) for name in named(each.operation))}

    def without(self, gone: Collection[Pending]) -> World:
        """With ``gone`` no longer pending. Numbers that they may have taken no longer count as skipped."""
        left = replace(self, pending=self.pending.difference(gone))
        released = {name: self.updates(name) - left.updates(name) for name, _ in self.beliefs}
        return left.having({name: replace(each, skipped=max(0, each.skipped - released[name])) for name, each in self.beliefs})


def tied(parts: Iterable[frozenset[World]]) -> frozenset[World]:
    """The worlds of several sets of secrets as worlds of all of them."""
    return frozenset(
        World(
            tuple(sorted(itertools.chain.from_iterable(world.beliefs for world in choice), key=lambda pair: pair[0])),
            frozenset(itertools.chain.from_iterable(world.pending for world in choice)),
        )
        for choice in itertools.product(*parts)
    )


def distinct(worlds: Iterable[World]) -> frozenset[World]:
    """Without the worlds that differ from another one only in fewer pending writes: they can become nothing that it cannot."""
    alike: dict[tuple[tuple[SecretId, Belief], ...], set[World]] = {}
    for world in worlds:
        alike.setdefault(world.beliefs, set()).add(world)
    return frozenset(world for group in alike.values() for world in group if not any(world.pending < other.pending for other in group))


def apart(worlds: frozenset[World]) -> Iterator[frozenset[World]]:
    """The opposite of ``tied``: a set of worlds for each group of secrets that does not depend on the others."""
    blocks = [{name} for name, _ in next(iter(worlds)).beliefs]
    for pending in {pending for world in worlds for pending in world.pending}:
        touched = [block for block in blocks if block.intersection(named(pending.operation))]
        blocks = [block for block in blocks if block not in touched] + [set().union(*touched)]
    for block in blocks:
        rest = {name for name, _ in next(iter(worlds)).beliefs} - block
        part = frozenset(world.only(block) for world in worlds)
        others = frozenset(world.only(rest) for world in worlds)
        if rest and len(part) * len(others) == len(worlds):
            yield part
            worlds = others
    yield worlds
