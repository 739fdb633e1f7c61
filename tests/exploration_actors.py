"""The jobs of an exploration under way: how each is begun and stepped. The machines are the real ones, in a real session.

An actor is a ``Session``, copied before each step, or a ``Restore``, which is a value. Randomness is fixed by the number of the job, so
that equal histories give equal states.
"""

from __future__ import annotations

import copy
from contextlib import suppress
from hashlib import sha256

import msgspec
from exploration_parts import Case, Job, Mend, Rejoin, Settle, encode
from exploration_restoring import Restore, begin, step

from model import group as groups
from model import proposal as proposals
from model import reading as readings
from model.intent import Intent, Seat, Wanted
from model.machine import Event, Send
from model.operation import Create, Delete, History, Read, SecretId, Update
from model.proposal import Proposal
from model.reading import Reading
from model.record import Entropy, group_register
from model.repairing import repairs
from model.session import Machine, Post, Session

Actor = Session | Restore
BOOTS = 1000
"""Each job has so many boot numbers, from its own number times this: one half for its operation, one for what it opens on the way."""


class Openers:
    """What a session opens for itself to learn of a group."""

    def __init__(self, case: Case, number: int, node: str) -> None:
        self.case = case
        self.first = BOOTS * number + BOOTS // 2
        self.node = node

    def settle(self, group: str) -> tuple[Proposal, list[Send]]:
        self.first += 1
        return proposals.begin(seat(self.case, self.node, self.first), group_register(group), Intent("decide"), None, 0)

    def look(self, group: str) -> tuple[Reading, list[Send]]:
        wanted = Wanted(reveal=False, decision=True)
        return readings.begin(self.node, group_register(group), wanted, self.case.quorum, peers(self.case, self.node))


def names(case: Case) -> tuple[str, ...]:
    return tuple(f"n{number}" for number in range(1, case.quorum.share_count + 1))


def peers(case: Case, node: str) -> tuple[str, ...]:
    """The others, in the order in which this node asks them."""
    everyone = names(case)
    place = everyone.index(node)
    return everyone[place + 1 :] + everyone[:place]


def seat(case: Case, node: str, boot: int) -> Seat:
    return Seat(node, boot, case.quorum, names(case), lease_ms=0)


def entropy(case: Case, boot: int) -> Entropy:
    key = sha256(b"%d" % boot).digest()
    return Entropy(key, key[:12], tuple(boot * 7 + power for power in range(1, case.quorum.threshold)))


def author(boot: int) -> int:
    """The job whose own operation writes under this boot number; 0 if it settles a group that it met, which is no part of its operation."""
    return boot // BOOTS if boot % BOOTS < BOOTS // 2 else 0


def group_of(number: int) -> str:
    """The id of the group that a job creates."""
    return f"g{number}"


def begun(case: Case, number: int, job: Job, counters: dict[SecretId, int]) -> tuple[Actor, list[Post]]:
    """Open job ``number`` (from 1). ``counters``: the highest ballot counter that its node has promised, by secret."""
    boot = BOOTS * number
    if isinstance(job.task, Rejoin):
        restore, sends = begin(seat(case, job.node, boot), job.task.secret)
        return restore, [Post(0, send) for send in sends]
    openers = Openers(case, number, job.node)
    session = Session(openers.settle, openers.look)
    _, posts = session.open(*_machine(case, number, job, counters))
    return session, posts


def _machine(case: Case, number: int, job: Job, counters: dict[SecretId, int]) -> tuple[Machine, list[Send]]:
    node, task, boot = job.node, job.task, BOOTS * number

    def proposal(secret: SecretId, intent: Intent) -> tuple[Proposal, list[Send]]:
        fresh = entropy(case, boot) if intent.verb in ("create", "update") else None
        return proposals.begin(seat(case, node, boot), secret, intent, fresh, counters[secret])

    def reading(secret: SecretId, wanted: Wanted) -> tuple[Reading, list[Send]]:
        return readings.begin(node, secret, wanted, case.quorum, peers(case, node))

    match task:
        case Create(secrets=(new,)):
            return proposal(new.secret, Intent("create", task.now, new.value, new.encoding, retry=task.retry))
        case Create(secrets=news):
            return groups.begin(
                tuple(seat(case, node, boot + place) for place in range(1, len(news) + 1)),
                seat(case, node, boot),
                group_of(number),
                news,
                task.now,
                task.retry,
                tuple(entropy(case, boot + place) for place in range(1, len(news) + 1)),
                tuple(counters[new.secret] for new in news),
            )
        case Update(secret=new):
            return proposal(new.secret, Intent("update", task.now, new.value, new.encoding, task.expected_version, task.retry))
        case Delete():
            return proposal(task.secret, Intent("delete", task.now, retry=task.retry))
        case Read():
            return reading(task.secret, Wanted(task.version, task.at, reveal=task.reveal))
        case History():
            return reading(task.secret, Wanted(history=True, reveal=False))
        case Mend():
            return reading(task.secret, Wanted(reveal=False, survey=True))
        case Settle():
            return proposal(task.secret, Intent("settle"))
    raise TypeError(f"nothing to explore: {type(task).__name__}")


def stepped(actor: Actor, job: Job, task: int, event: Event) -> tuple[Actor, list[Post]]:
    """The actor after an event, and what it sends; the actor given is left as it was."""
    if isinstance(actor, Restore):
        restore, sends = step(actor, event)
        return restore, [Post(0, send) for send in sends]
    session: Session = copy.deepcopy(actor, {id(machine): machine for machine in machines(actor)})
    posts = session.step(task, event)
    root = session.machine(0)
    if isinstance(job.task, Mend) and isinstance(root, Reading) and root.outcome is not None:
        posts = [*posts, *(Post(0, send) for send in repairs(root, 1))]
    return session, posts


def machines(actor: Actor) -> list[Machine]:
    """The machines of a session, by task."""
    found: list[Machine] = []
    if isinstance(actor, Session):
        with suppress(KeyError):
            while True:
                found.append(actor.machine(len(found)))
    return found


def tasks(actor: Actor) -> int:
    """How many tasks it has, those that it opened for itself included."""
    return len(machines(actor)) or 1


def text(actor: Actor) -> bytes:
    """One text for equal actors."""
    return encode(actor) if isinstance(actor, Restore) else encode(machines(actor))


def outcome(actor: Actor) -> msgspec.Struct | None:
    return actor.outcome if isinstance(actor, Restore) else actor.machine(0).outcome


def shape(actor: Actor) -> object:
    """What patience at its end may change beside what is sent: where each machine stands and what it waits for."""
    if isinstance(actor, Restore):
        return actor.phase, actor.outcome is None
    return [
        (
            machine.outcome is None,
            machine.needs,
            [each.phase for each in (machine.members if isinstance(machine, groups.Group) else (machine,))],
        )
        for machine in machines(actor)
    ]
