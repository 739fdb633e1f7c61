"""What goes into the coordinator's machines and what comes out of them.

A machine is a frozen value with a step function: ``step(machine, event) -> (machine, sends)``. It never looks at a clock: the
driver tells it when its patience is over (somebody is slow: go on without them), when the time to vote is, and when its time is up.
"""

from __future__ import annotations

from typing import NamedTuple

from model.message import Message, Reply
from model.operation import SecretId


class Send(NamedTuple):
    """A message for a node. One-way messages (Confirm, Void, Release) are sent too; nobody waits for their replies."""

    node: str
    secret: SecretId
    message: Message


class Heard(NamedTuple):
    """The reply to a send; None: none will come (refused connection, time-out, a node that cannot serve)."""

    send: Send
    reply: Reply | None


class PatienceOver(NamedTuple):
    """Somebody is slow: decide with what is there where that is safe, or ask somebody else."""


class VotingOver(NamedTuple):
    """The time for voting, and for reading, is over: end now, unless something is being written."""


class TimeUp(NamedTuple):
    """The deadline has come: end now."""


class Resolved(NamedTuple):
    """A group's decision, asked for through ``needs``: committed, not committed, or None where it could not be learnt.

    ``busy``: it could not because others are at work on it; asking again soon can help.
    """

    group: str
    committed: bool | None
    busy: bool = False


class Proceed(NamedTuple):
    """To a proposal that was told to hold before writing: write now (``abort``: write the decision *aborted* instead)."""

    abort: bool = False


Event = Heard | PatienceOver | VotingOver | TimeUp | Resolved | Proceed


def to_all(nodes: tuple[str, ...], secret: SecretId, message: Message) -> list[Send]:
    """The same message to every one of ``nodes``."""
    return [Send(node, secret, message) for node in nodes]
