"""A whole cluster in one thread, for one seed: the machines of ``model`` over a network that loses, delays, reorders and doubles.

Every message and every reply is delivered by itself, in any order. Nodes die and come back with their disks and without their
leases; coordinators die between any two steps; patience and time run out at random moments. All chance is one ``random.Random``,
so a seed is a run. Registers are loaded as partially as ``participant.reach`` allows.

What clients see is the tests' business; what must hold inside a cluster is ``inspection``'s.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from model import group as groups
from model import participant
from model import proposal as proposals
from model import reading as readings
from model.machine import Event, Heard, PatienceOver, Send, TimeUp
from model.message import Accepted, Confirm, Message, Release, Repair, Reply, Void, Write
from model.operation import Create, Delete, Failed, History, Operation, Read, Result, SecretId, Update
from model.proposal import Intent, Proposal, Seat
from model.quorum import Quorum
from model.reading import Reading, Wanted
from model.record import Ballot, Entropy, Header, Register, group_register
from model.repairing import repairs
from model.session import Machine, Post, Session, Task

ONE_WAY = (Confirm, Release, Void)


@dataclass(frozen=True)
class Faults:
    """How often things go wrong: each a probability, per message or per step. ``torn``: how many more of the writes are lost."""

    lose: float = 0.0
    torn: float = 0.0
    double: float = 0.0
    late: float = 0.0
    crash: float = 0.0
    impatient: float = 0.0
    time_up: float = 0.0
    upkeep: float = 0.0

    @property
    def harmless(self) -> bool:
        return self.lose == self.torn == self.late == self.crash == self.time_up == 0


@dataclass(frozen=True)
class Job:
    """Who is told when a task has its outcome, or that the node died with it."""

    done: Callable[[Machine], None]
    lost: Callable[[], None]


@dataclass
class Node:
    """One server: durable registers, and a session that dies with its process."""

    name: str
    registers: dict[SecretId, Register] = field(default_factory=dict)
    up: bool = True
    boot: int = 0
    session: Session = field(init=False)
    jobs: dict[Task, Job] = field(default_factory=dict)
    claimed: set[SecretId] = field(default_factory=set)


@dataclass(frozen=True)
class Parcel:
    """A message on its way, or its reply (``back``). ``heard``: its sender was already told that no reply will come."""

    sender: Node
    boot: int
    post: Post
    heard: bool = False
    back: bool = False
    reply: Reply | None = None

    @property
    def road(self) -> tuple[str, str, bool]:
        return self.sender.name, self.post.send.node, self.back


class Cluster:
    """``share_count`` nodes. ``step`` does one thing at random; ``calm`` ends the faults for good, ``drain`` lets all arrive."""

    def __init__(self, seed: int, share_count: int, threshold: int, faults: Faults, lease_ms: int = 10_000) -> None:
        self.random = random.Random(seed)
        self.quorum = Quorum(share_count, threshold)
        self.faults = faults
        self.lease_ms = lease_ms
        self.names = tuple(f"n{number}" for number in range(1, share_count + 1))
        self.nodes = {name: Node(name) for name in self.names}
        self.now_ms = self.steps = 0
        self.calmed = False
        self.parcels: list[Parcel] = []
        self.alarms: list[tuple[int, Callable[[], None]]] = []
        self.touched: dict[SecretId, None] = {}
        self.headers: dict[SecretId, dict[Ballot, Header]] = {}
        self.acceptances: dict[tuple[SecretId, Ballot, Ballot], set[str]] = {}
        for node in self.nodes.values():
            self._boot(node)

    def perform(self, name: str, operation: Operation, done: Callable[[Result], None], lost: Callable[[], None]) -> None:
        """Have a node perform ``operation``; ``done`` hears the result, ``lost`` that the node died with it."""
        node = self.nodes[name]
        wanted = _written(operation) if self.faults.harmless else frozenset()
        if node.claimed & wanted:
            done(Failed("write_conflict", retry_ms=proposals.RETRY_MS))
            return

        def finished(machine: Machine) -> None:
            outcome = machine.outcome
            node.claimed -= wanted
            assert outcome is not None
            assert not isinstance(outcome, proposals.Settled | proposals.Decided)
            done(outcome)

        node.claimed |= wanted
        self._open(node, *self._machine(node, operation), Job(finished, lost))

    def mend(self, name: str, secret: SecretId) -> None:
        """Survey a secret from one node and send what ``model.repairing`` says, to arrive whenever it does (PROTO-17)."""
        node = self.nodes[name]
        wanted = Wanted(reveal=False, survey=True, decision=secret.namespace == "")

        def surveyed(machine: Machine) -> None:
            assert isinstance(machine, Reading)
            self._send(node, [Post(-1, send) for send in repairs(machine, 1)])

        self._open(node, *self._reading(node, secret, wanted), Job(surveyed, _nothing))

    def settle(self, name: str, secret: SecretId) -> None:
        """Settle by a vote what is in doubt at the top of a secret."""
        node = self.nodes[name]
        if secret in node.claimed or (secret.namespace == "" and self.faults.harmless and not self.calmed):
            return
        intent = Intent("decide" if secret.namespace == "" else "settle")
        node.claimed |= {secret}
        job = Job(lambda _: node.claimed.discard(secret), _nothing)
        self._open(node, *self._proposal(node, secret, intent), job)

    def after(self, delay_ms: int, alarm: Callable[[], None]) -> None:
        """Call ``alarm`` when so much time has passed."""
        self.alarms.append((self.now_ms + delay_ms, alarm))

    def any_up(self) -> str:
        return self.random.choice([name for name in self.names if self.nodes[name].up])

    def step(self) -> bool:
        """One thing happens. False if nothing is under way."""
        self.steps += 1
        self.now_ms += self.random.randrange(3)
        faults, chance = self.faults, self.random.random
        if chance() < faults.crash:
            self._crash_or_return()
        if chance() < faults.impatient:
            self._tell_somebody(PatienceOver())
        if chance() < faults.time_up:
            self._tell_somebody(TimeUp())
        if self.touched and chance() < faults.upkeep:
            (self.mend if chance() < 0.7 else self.settle)(self.any_up(), self.random.choice(list(self.touched)))
        due = [alarm for alarm in self.alarms if alarm[0] <= self.now_ms]
        if due:
            self.alarms.remove(due[0])
            due[0][1]()
        elif self.parcels:
            self._deliver(self._picked())
        elif self._waiting():
            self._give_up()
        elif self.alarms:
            self.now_ms = min(due_ms for due_ms, _ in self.alarms)
        else:
            return False
        return True

    def calm(self) -> None:
        """No more faults, all nodes up; who waits for something lost is told that its time is up."""
        self.faults = Faults()
        self.calmed = True
        for node in self.nodes.values():
            node.up = True
        for node, task in self._waiting():
            self._step(node, task, TimeUp())

    def drain(self, bound: int = 100_000) -> None:
        """Let everything arrive. Fails if that takes more than ``bound`` steps."""
        end = self.steps + bound
        while self.step():
            assert self.steps < end, "the cluster does not come to rest"

    # the inside

    def _picked(self) -> Parcel:
        """Any parcel; where all goes well, the first of those on the same road, as roads between healthy nodes keep the order."""
        place = self.random.randrange(len(self.parcels))
        if self.faults.harmless:
            picked = self.parcels[place]
            return self.parcels.pop(next(i for i, parcel in enumerate(self.parcels) if parcel.road == picked.road))
        self.parcels[place], self.parcels[-1] = self.parcels[-1], self.parcels[place]
        return self.parcels.pop()

    def _machine(self, node: Node, operation: Operation) -> tuple[Machine, list[Send]]:
        match operation:
            case Create(secrets=(new,)):
                return self._proposal(node, new.secret, Intent("create", operation.now, new.value, new.encoding, retry=operation.retry))
            case Create():
                return self._group(node, operation)
            case Update(secret=new):
                intent = Intent("update", operation.now, new.value, new.encoding, operation.expected_version, operation.retry)
                return self._proposal(node, new.secret, intent)
            case Delete():
                return self._proposal(node, operation.secret, Intent("delete", operation.now, retry=operation.retry))
            case Read():
                return self._reading(node, operation.secret, Wanted(operation.version, operation.at, reveal=operation.reveal))
            case History():
                return self._reading(node, operation.secret, Wanted(history=True, reveal=False))
        raise TypeError(type(operation).__name__)

    def _group(self, node: Node, create: Create) -> tuple[groups.Group, list[Send]]:
        keys = [new.secret for new in create.secrets]
        self.touched.update(dict.fromkeys(keys))
        return groups.begin(
            tuple(self._seat(node) for _ in keys),
            self._seat(node),
            f"g{self.random.getrandbits(40):x}",
            create.secrets,
            create.now,
            create.retry,
            tuple(self._entropy() for _ in keys),
            tuple(self._counter(node, secret) for secret in keys),
        )

    def _proposal(self, node: Node, secret: SecretId, intent: Intent) -> tuple[Proposal, list[Send]]:
        self.touched[secret] = None
        entropy = self._entropy() if intent.verb in ("create", "update") else None
        return proposals.begin(self._seat(node), secret, intent, entropy, self._counter(node, secret))

    def _reading(self, node: Node, secret: SecretId, wanted: Wanted) -> tuple[Reading, list[Send]]:
        peers = [name for name in self.names if name != node.name]
        self.random.shuffle(peers)
        return readings.begin(node.name, secret, wanted, self.quorum, tuple(peers))

    def _seat(self, node: Node) -> Seat:
        return Seat(node.name, self.random.getrandbits(63), self.quorum, self.names, self.lease_ms)

    def _counter(self, node: Node, secret: SecretId) -> int:
        return node.registers.get(secret, Register()).promised.counter

    def _entropy(self) -> Entropy:
        bits = self.random.getrandbits
        return Entropy(bits(256).to_bytes(32), bits(96).to_bytes(12), tuple(bits(255) for _ in range(self.quorum.threshold - 1)))

    def _boot(self, node: Node) -> None:
        """A new process: its boot number is fresh, nothing of the one before is left but its disk."""
        node.boot = self.random.getrandbits(63)
        node.jobs, node.claimed = {}, set()
        node.session = Session(
            lambda group: self._proposal(node, group_register(group), Intent("decide")),
            lambda group: self._reading(node, group_register(group), Wanted(reveal=False, decision=True)),
        )
        node.registers = {secret: Register(each.promised, each.erased, each.records) for secret, each in node.registers.items()}

    def _crash_or_return(self) -> None:
        node = self.nodes[self.random.choice(self.names)]
        if not node.up:
            node.up = True
            return
        jobs = list(node.jobs.values())
        self._boot(node)
        node.up = self.random.random() < 0.5 or sum(other.up for other in self.nodes.values()) == 1
        for job in jobs:
            job.lost()

    def _waiting(self) -> list[tuple[Node, Task]]:
        return [(node, task) for node in self.nodes.values() for task in node.session.unfinished()]

    def _tell_somebody(self, event: Event) -> None:
        waiting = self._waiting()
        if waiting:
            self._step(*self.random.choice(waiting), event)

    def _give_up(self) -> None:
        """Nothing is on its way, so who still waits does so in vain."""
        assert not self.faults.harmless, "nothing was lost, yet somebody waits"
        for node, task in self._waiting():
            self._step(node, task, PatienceOver())
        if not self.parcels:
            for node, task in self._waiting():
                self._step(node, task, TimeUp())

    def _open(self, node: Node, machine: Machine, sends: list[Send], job: Job) -> None:
        task, posts = node.session.open(machine, sends)
        node.jobs[task] = job
        self._send(node, posts)

    def _step(self, node: Node, task: Task, event: Event) -> None:
        self._send(node, node.session.step(task, event))
        for finished in [task for task in node.jobs if node.session.machine(task).outcome is not None]:
            job = node.jobs.pop(finished, None)
            if job is not None:
                job.done(node.session.machine(finished))

    def _send(self, node: Node, posts: list[Post]) -> None:
        for post in posts:
            message, secret = post.send.message, post.send.secret
            self.touched[secret] = None
            if isinstance(message, Write):
                self.headers.setdefault(secret, {})[message.header.tag] = message.header
            lost = self.faults.lose + (self.faults.torn if isinstance(message, Write) else 0)
            if self.random.random() < lost:
                self.parcels.append(Parcel(node, node.boot, post, back=True))
                continue
            late = self.random.random() < self.faults.late * (4 if isinstance(message, Repair) else 1)
            if late:
                self.parcels.append(Parcel(node, node.boot, post, back=True))
            self.parcels.append(Parcel(node, node.boot, post, heard=late))
            if self.random.random() < self.faults.double:
                self.parcels.append(Parcel(node, node.boot, post, heard=self.random.random() < 0.5))

    def _deliver(self, parcel: Parcel) -> None:
        sender, post = parcel.sender, parcel.post
        if parcel.back:
            alive = sender.boot == parcel.boot and sender.up
            if alive and not parcel.heard and post.task >= 0 and not isinstance(post.send.message, ONE_WAY):
                self._step(sender, post.task, Heard(post.send, parcel.reply))
            return
        node = self.nodes[post.send.node]
        if parcel.heard and not self.faults.harmless and len(self.parcels) > 3 and self.random.random() < 0.9:  # later than most
            self.parcels.append(parcel)
            return
        if not node.up:
            self.parcels.append(Parcel(sender, parcel.boot, post, heard=parcel.heard, back=True))
            return
        reply = self.apply(node, post.send.secret, post.send.message)
        lost = self.random.random() < self.faults.lose
        self.parcels.append(Parcel(sender, parcel.boot, post, heard=parcel.heard, back=True, reply=None if lost else reply))

    def apply(self, node: Node, secret: SecretId, message: Message) -> Reply:
        """What a store does: load as far as the message reaches, step, write back."""
        register = node.registers.get(secret, Register())
        part = self._loaded(register, message)
        after, reply = participant.step(participant.Seat(secret, node.name), part, message, self.now_ms)
        untouched = [held for held in register.records if held not in part.records]
        records = tuple(sorted([*untouched, *after.records], key=lambda held: (held.header.sequence, held.header.tag)))
        node.registers[secret] = Register(after.promised, after.erased, records, after.lease)
        if isinstance(message, Write) and isinstance(reply, Accepted):
            self.acceptances.setdefault((secret, message.header.tag, message.ballot), set()).add(node.name)
        return reply

    def _loaded(self, register: Register, message: Message) -> Register:
        wanted = participant.reach(message)
        first = participant.newest_chosen(register.records)
        records = tuple(
            held
            for index, held in enumerate(register.records)
            if index >= first or wanted.everything or held.header.tag == wanted.tag or _carries(held.header, wanted.retry_key)
        )
        return Register(register.promised, register.erased, records, register.lease)


def _carries(header: Header, retry_key: bytes | None) -> bool:
    own = [header.retry.key] if header.retry is not None else []
    return retry_key in [*own, *(entry.retry.key for entry in header.buried)]


def _written(operation: Operation) -> frozenset[SecretId]:
    """What a node lets only one of its own operations propose for at a time; here only where every answer must come."""
    match operation:
        case Create(secrets=news):
            return frozenset(new.secret for new in news)
        case Update(secret=new):
            return frozenset({new.secret})
        case Delete(secret=secret):
            return frozenset({secret})
        case _:
            return frozenset()


def _nothing() -> None:
    return None
