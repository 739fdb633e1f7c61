"""The vocabulary of exploration: what a case is made of, and how a state of it is written down in numbers."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

import msgspec

from model.machine import Send
from model.message import Reply
from model.operation import Operation, SecretId
from model.quorum import Quorum

encode = msgspec.msgpack.Encoder(order="deterministic").encode
"""One text for one value, whatever the order in which its sets and mappings were filled."""


class Faults(NamedTuple):
    """How often at most, in one run: a message is ``lost`` and its sender told, one is ``doubled``, a reply is ``late``, a job is
    ``stopped``, a proposal votes in another of its ``rounds``, a node's disk is lost (``disks``).
    """

    lost: int = 0
    doubled: int = 0
    late: int = 0
    stopped: int = 0
    rounds: int = 0
    disks: int = 0


class Mend(NamedTuple):
    """Survey a secret and send what ``model.repairing`` says (PROTO-17)."""

    secret: SecretId


class Settle(NamedTuple):
    """Settle what is in doubt at the top of a secret, as a sweep does (PROTO-13)."""

    secret: SecretId


class Rejoin(NamedTuple):
    """A node that lost its disk recovers (PROTO-12)."""

    secret: SecretId


class Job(NamedTuple):
    """One thing that a node does. ``after``: the number of the job of the same client that must have ended, or been stopped, before."""

    node: str
    task: Operation | Mend | Settle | Rejoin
    after: int | None = None


class Past(NamedTuple):
    """A job of the time before, and how far it got: which nodes ("13": n1 and n3) took its votes and queries, its writes, its marks and
    erasures. What else it sent is lost, or still under way if ``late``.
    """

    node: str
    task: Operation | Mend | Settle
    votes: str = "123"
    writes: str = "123"
    marks: str = "123"
    late: bool = False


class Case(NamedTuple):
    """A small case: what was done before, the jobs whose every interleaving is explored, and the faults that may strike."""

    name: str
    about: str
    jobs: tuple[Job, ...]
    past: tuple[Past, ...] = ()
    faults: Faults = Faults()
    quorum: Quorum = Quorum(3, 2)
    large: bool = False


class Item(NamedTuple):
    """On the road: a message of a job (-1: nobody listens for a reply) or, ``back``, its reply."""

    job: int
    task: int
    send: Send
    back: bool = False
    reply: Reply | None = None


class State(NamedTuple):
    """Numbers only. ``registers`` by secret and node; ``jobs``: 0 not begun, above 0 the actor, below 0 minus the result;
    ``before``: a bit for each job that had ended when this one began; ``road``: items, sorted; ``ledger``: a bit for each acceptance that
    there ever was; ``blank``: a bit for each node that has lost its disk and does not serve; ``left``: the faults left.
    """

    registers: tuple[int, ...]
    jobs: tuple[int, ...]
    before: tuple[int, ...]
    road: tuple[int, ...]
    ledger: int
    blank: int
    left: Faults

    def is_blank(self, node: int) -> bool:
        """Whether the node at this place has lost its disk and does not serve."""
        return bool(self.blank >> node & 1)

    def less(self, fault: str) -> State:
        """The state with one ``fault`` fewer left."""
        return self._replace(left=self.left._replace(**{fault: getattr(self.left, fault) - 1}))


def put(row: tuple[int, ...], place: int, number: int) -> tuple[int, ...]:
    """The row with another number at this place."""
    return row if row[place] == number else (*row[:place], number, *row[place + 1 :])


V = TypeVar("V")


class Table(Generic[V]):
    """Values and their numbers, which count from 1. Equal keys are one value."""

    def __init__(self) -> None:
        self._values: list[V] = []
        self._numbers: dict[Hashable, int] = {}

    def __getitem__(self, number: int) -> V:
        return self._values[number - 1]

    def __len__(self) -> int:
        return len(self._values)

    def number(self, key: Hashable, value: V) -> int:
        known = self._numbers.setdefault(key, len(self._values) + 1)
        if known > len(self._values):
            self._values.append(value)
        return known
