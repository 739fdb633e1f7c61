"""Explores a case breadth first: every state that the machines can reach, each once, each checked.

States are remembered by a digest of 16 bytes (that two of ten million states share one has a chance below 10^-24), with that of the
state before, so that a breach comes with the shortest way to it.
"""

from __future__ import annotations

import marshal
import time
from collections import deque
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import NamedTuple

from exploration_checks import Checks
from exploration_history import after_past
from exploration_parts import Case, State
from exploration_world import World

START = b""
REPORTED_STATES = 10_000


class Figures(NamedTuple):
    """What an exploration came to. ``depth``: steps to the furthest state. ``complete``: no state within the case's bounds was left out."""

    case: str
    states: int
    steps: int
    depth: int
    complete: bool
    seconds: float


class Breach(AssertionError):
    """Something that must hold does not, and the way there."""


class Search:
    """The states of a world, nearest first."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.first = after_past(world)
        self.steps = self.depth = 0
        self._waiting = deque([(self.first, 0)])
        self._came_from: dict[bytes, bytes] = {_digest(self.first): START}

    @property
    def count(self) -> int:
        """How many states are known."""
        return len(self._came_from)

    @property
    def complete(self) -> bool:
        """Whether all of them were shown and have been followed."""
        return not self._waiting

    def states(self) -> Iterator[State]:
        """Each state once; what follows from it is looked for when the next is asked for."""
        while self._waiting:
            state, self.depth = self._waiting[0]
            yield state
            here = _digest(state)
            for _, after in self.world.steps(state):
                self.steps += 1
                digest = _digest(after)
                if digest not in self._came_from:
                    self._came_from[digest] = here
                    self._waiting.append((after, self.depth + 1))
            self._waiting.popleft()

    def way(self, last: State) -> str:
        """The steps from the first state to this one, in words, one a line."""
        digests = [_digest(last)]
        while self._came_from[digests[-1]] != START:
            digests.append(self._came_from[digests[-1]])
        told, state = [], self.first
        for digest in reversed(digests[:-1]):
            label, state = next((label, after) for label, after in self.world.steps(state) if _digest(after) == digest)
            told.append(self.world.told(label))
        return "\n".join(f"{number:3} {line}" for number, line in enumerate(told, start=1))


def explore(case: Case, *, most: int | None = None, progress: Callable[[Figures], None] | None = None) -> Figures:
    """Check all states of ``case``, or about ``most`` of them. Raises ``Breach``."""
    search = Search(World(case))
    checks = Checks(search.world)
    began = time.monotonic()

    def figures() -> Figures:
        return Figures(case.name, search.count, search.steps, search.depth, search.complete, time.monotonic() - began)

    for number, state in enumerate(search.states()):
        try:
            checks(state)
        except AssertionError as breach:
            raise Breach(f"{case.name}: {breach}\n{search.way(state)}") from breach
        if most is not None and search.count > most:
            break
        if progress is not None and number % REPORTED_STATES == 0:
            progress(figures())
    return figures()


def reached(case: Case, *, one_by_one: bool = False) -> set[object]:
    """Whatever the nodes can come to hold together with what the clients were told. ``one_by_one``: without grouping of messages."""
    search = Search(World(case, one_by_one=one_by_one))
    checks = Checks(search.world)
    return {inside for state in search.states() for inside in checks.insides(state)}


def _digest(state: State) -> bytes:
    return blake2b(marshal.dumps((*state[:-1], tuple(state.left)), 2), digest_size=16).digest()
