"""The machines of a case by number: what becomes of each pair of a machine and what happens to it.

The machines are pure, so that is computed once and remembered. Registers, actors, messages and results are entered in tables, equal ones
under one number; numbers come in, numbers go out. What may happen when is the business of ``exploration_world``.
"""

from __future__ import annotations

from typing import NamedTuple

import fencing
import msgspec
from exploration_actors import Actor, begun, group_of, names, outcome, shape, stepped, tasks, text
from exploration_parts import Case, Item, Job, Mend, Rejoin, Settle, Table, encode
from exploration_restoring import FLOOR, Restored

from model import participant
from model.machine import Event, Heard, PatienceOver
from model.message import Accepted, Confirm, Fence, Noted, Release, Reply, Void, Vote, Write
from model.operation import Create, Delete, History, Read, SecretId, Update
from model.participant import Seat
from model.record import Ballot, Header, Register, group_register
from model.session import Post

_replace = msgspec.structs.replace
ONE_WAY = (Confirm, Void)


class Moved(NamedTuple):
    """An actor after an event: its number, or minus its result; what it sends; how many rounds of votes it opened anew."""

    job: int
    items: tuple[int, ...]
    rounds: int


class Acceptance(NamedTuple):
    """That a node once accepted a record under a ballot."""

    secret: int
    header: Header
    ballot: Ballot
    node: str


class Machines:
    """Tables of all that was met so far, and of what became of it. Jobs, nodes and secrets are numbered from 0, the rest from 1."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.jobs = (*(Job(each.node, each.task) for each in case.past), *case.jobs)
        self.nodes = names(case)
        self.secrets = _secrets(self.jobs)
        self.registers: Table[Register] = Table()
        self.actors: Table[Actor] = Table()
        self.items: Table[Item] = Table()
        self.replies: Table[Reply] = Table()
        self.results: Table[msgspec.Struct | None] = Table()
        self.ledger: Table[Acceptance] = Table()
        self.results.number(None, None)
        self._taken: dict[tuple[int, int], tuple[int, int]] = {}
        self._moved: dict[tuple[int, int, int], Moved] = {}
        self._begun: dict[tuple[int, tuple[int, ...]], tuple[int, tuple[int, ...]]] = {}
        self._impatient: dict[int, tuple[Moved, ...]] = {}
        self._places: dict[int, int] = {}

    def register(self, register: Register) -> int:
        """The number of a register, leases left out."""
        register = _replace(register, lease=None)
        return self.registers.number(encode(register), register)

    def item(self, item: Item) -> int:
        """The number of what is on the road."""
        send, reply = item.send, item.reply
        if item.job < 0:
            item = item._replace(task=0)
        key = item.job, item.task, send.node, send.secret, type(send.message), encode(send.message), item.back, type(reply), encode(reply)
        return self.items.number(key, item)

    def place(self, number: int) -> int:
        """Where the register is that an item is for: all nodes of the first secret, then those of the next."""
        if number not in self._places:
            send = self.items[number].send
            self._places[number] = self.secrets.index(send.secret) * len(self.nodes) + self.nodes.index(send.node)
        return self._places[number]

    def node(self, number: int) -> int:
        """The node that an item is for."""
        return self.place(number) % len(self.nodes)

    def begin(self, number: int, registers: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        """The actor of a job that begins now, and what it sends."""
        job, width = self.jobs[number], len(self.nodes)
        at = self.nodes.index(job.node)
        counters = {secret: self.registers[registers[place * width + at]].promised.counter for place, secret in enumerate(self.secrets)}
        key = number, tuple(counters.values())
        if key not in self._begun:
            actor, posts = begun(self.case, number + 1, job, counters)
            self._begun[key] = self._actor(number, actor), self._posted(number, posts)
        return self._begun[key]

    def take(self, register: int, number: int) -> tuple[int, int]:
        """What becomes of a register by a message, and the reply."""
        key = register, number
        if key not in self._taken:
            send = self.items[number].send
            before = self.registers[register]
            reply: Reply
            if isinstance(send.message, Fence):
                after, reply = fencing.fenced(before, FLOOR), Noted(changed=True)
            else:
                after, reply = participant.step(Seat(send.secret, send.node), before, send.message, 0)
            self._taken[key] = self.register(after), self.replies.number((type(reply), encode(reply)), reply)
        return self._taken[key]

    def accepted(self, number: int, reply: int) -> int:
        """The bit of the ledger for a reply to a message, 0 if it is no acceptance."""
        item = self.items[number]
        write = item.send.message
        if not isinstance(write, Write) or not isinstance(self.replies[reply], Accepted):
            return 0
        place = self.secrets.index(item.send.secret)
        key = place, encode(write.header), write.ballot, item.send.node
        return 1 << self.ledger.number(key, Acceptance(place, write.header, write.ballot, item.send.node))

    def hear(self, actor: int, number: int, reply: Reply | None) -> Moved:
        """What becomes of an actor that hears the reply to its message, None: that none will come."""
        key = actor, number, 0 if reply is None else self.replies.number((type(reply), encode(reply)), reply)
        if key not in self._moved:
            item = self.items[number]
            self._moved[key] = self.move(item.job, actor, item.task, Heard(item.send, reply))
        return self._moved[key]

    def move(self, job: int, actor: int, task: int, event: Event) -> Moved:
        """What becomes of the actor of a job by an event in one of its tasks."""
        before = self.actors[actor]
        after, posts = stepped(before, self.jobs[job], task, event)
        anew = {post.task for post in posts if isinstance(post.send.message, Vote) and post.task < tasks(before)}
        return Moved(self._actor(job, after), self._posted(job, posts), len(anew))

    def impatience(self, job: int, actor: int) -> tuple[Moved, ...]:
        """What may become of an actor whose patience ends; only what makes it go on."""
        if actor not in self._impatient:
            before = self.actors[actor]
            found = []
            for task in range(tasks(before)):
                after, _ = stepped(before, self.jobs[job], task, PatienceOver())
                moved = self.move(job, actor, task, PatienceOver())
                if moved.items or moved.job < 0 or shape(after) != shape(before):
                    found.append(moved)
            self._impatient[actor] = tuple(found)
        return self._impatient[actor]

    def install(self, node: str, restored: Restored) -> int:
        """The register of a new store once a node has applied what it found on the others."""
        register = Register()
        for message in restored.messages:
            register, _ = participant.step(Seat(self.secrets[0], node), register, message, 0)
        return self.register(fencing.fenced(register, FLOOR))

    def _actor(self, job: int, actor: Actor) -> int:
        """The number of an actor, or minus that of its result."""
        result = outcome(actor)
        if result is None:
            return self.actors.number((job, text(actor)), actor)
        return -self.results.number((type(result), encode(result)), result)

    def _posted(self, job: int, posts: list[Post]) -> tuple[int, ...]:
        sent = [post for post in posts if not isinstance(post.send.message, Release)]
        return tuple(self.item(Item(-1 if isinstance(post.send.message, ONE_WAY) else job, post.task, post.send)) for post in sent)


def _secrets(jobs: tuple[Job, ...]) -> tuple[SecretId, ...]:
    found: dict[SecretId, None] = {}
    for number, job in enumerate(jobs, start=1):
        match job.task:
            case Create(secrets=news):
                found.update(dict.fromkeys(new.secret for new in news))
                if len(news) > 1:
                    found[group_register(group_of(number))] = None
            case Update(secret=new):
                found[new.secret] = None
            case Delete(secret=secret) | Read(secret=secret) | History(secret=secret) | Mend(secret=secret) | Settle(secret=secret):
                found[secret] = None
            case Rejoin(secret=secret):
                found[secret] = None
    return tuple(found)
