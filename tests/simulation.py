"""A whole cluster in one thread, for one seed: the machines of ``model`` over a network that loses, delays, reorders and doubles.

Every message and every reply is delivered by itself, in any order. Nodes die and come back with their disks and without their
leases, or lose their disks and recover; disks refuse to write for a while; clocks jump; coordinators die between any two steps;
patience and time run out at random moments. All chance is one ``random.Random``, so a seed is a run. Registers are loaded as partially
as ``participant.reach`` allows. A list of messages is never kept in part: the store applies it in one transaction (PROTO-3), and
here each message travels alone, which is harder.

What clients see is the tests' business; what must hold inside a cluster is ``inspection``'s.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import fencing
from rejoining import Recovery
from simulation_parts import Exchange, Faults, Job, Node, Parcel

from model import group as groups
from model import participant
from model import proposal as proposals
from model import reading as readings
from model.machine import Event, Heard, PatienceOver, Send, TimeUp
from model.message import (
    Accepted,
    Change,
    ChangePage,
    ChangesAfter,
    Confirm,
    Fence,
    Message,
    Noted,
    Query,
    Release,
    Repair,
    Reply,
    Void,
    Write,
)
from model.operation import Create, Delete, Failed, History, Operation, Read, Result, SecretId, Update
from model.proposal import Intent, Proposal, Seat
from model.quorum import Quorum
from model.reading import Reading, Wanted
from model.record import ZERO, Ballot, Entropy, Header, Register, group_register
from model.repairing import repairs
from model.session import Machine, Post, Session, Task

SILENCE_MS = 40
ROBBED_WRITERS = 0.03
"""Where disks are lost, how many of the nodes that just accepted a write lose theirs."""
ONE_WAY = (Confirm, Release, Void)


class Cluster:
    """``share_count`` nodes. ``step`` does one thing at random; ``calm`` ends the faults for good, ``drain`` lets all arrive."""

    def __init__(self, seed: int, share_count: int, threshold: int, faults: Faults, lease_ms: int = 10_000, write_raised: int = 0) -> None:
        self.random = random.Random(seed)
        self.quorum = Quorum(share_count, threshold, write_raised)
        self.faults = faults
        self.lease_ms = lease_ms
        self.names = tuple(f"n{number}" for number in range(1, share_count + 1))
        self.nodes = {name: Node(name) for name in self.names}
        self.now_ms = self.steps = 0
        self.calmed = False
        self.robberies = 0
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

    def exchange(self, node: Node, sends: list[Send], done: Callable[[list[tuple[Send, Reply | None]]], None]) -> None:
        """Send messages that belong to no machine; ``done`` hears what became of each."""
        task = -2 - len(node.exchanges)
        exchange = node.exchanges[task] = Exchange(sends, done)
        boot = node.boot
        self._send(node, [Post(task, send) for send in exchange.sends])
        self.after(SILENCE_MS if sends else 0, lambda: exchange.give_up() if node.boot == boot else None)

    def survey(self, node: Node, secrets: list[SecretId], done: Callable[[dict[SecretId, Reading]], None]) -> None:
        """Read the whole history of each of ``secrets`` from every node that answers."""
        found: dict[SecretId, Reading] = {}

        def surveyed(machine: Machine) -> None:
            assert isinstance(machine, Reading)
            found[machine.secret] = machine
            if len(found) == len(secrets):
                done(found)

        for secret in secrets:
            self._open(node, *self._reading(node, secret, Wanted(history=True, reveal=False, survey=True)), Job(surveyed, _nothing))
        if not secrets:
            done(found)

    def settle_all(self, node: Node, secrets: list[SecretId], done: Callable[[], None]) -> None:
        """Settle by a vote what is in doubt at the top of each of ``secrets``."""
        left = set(secrets)

        def settled(machine: Machine) -> None:
            assert isinstance(machine, Proposal)
            left.discard(machine.secret)
            if not left:
                done()

        for secret in secrets:
            intent = Intent("decide" if secret.namespace == "" else "settle")
            self._open(node, *self._proposal(node, secret, intent), Job(settled, _nothing))
        if not secrets:
            done()

    def after(self, delay_ms: int, alarm: Callable[[], None]) -> None:
        """Call ``alarm`` when so much time has passed."""
        self.alarms.append((self.now_ms + delay_ms, alarm))

    @property
    def registers(self) -> dict[str, dict[SecretId, Register]]:
        return {name: node.registers for name, node in self.nodes.items()}

    @property
    def shares_lost(self) -> bool:
        """Whether more disks were lost than the acceptances of a write outnumber the shares that rebuild it: some may be too few."""
        return self.robberies > self.quorum.write - self.quorum.threshold

    def any_up(self) -> str:
        """A node to ask: one that serves, as a gateway finds it."""
        up = [name for name in self.names if self.nodes[name].up]
        return self.random.choice([name for name in up if self.nodes[name].serving] or up)

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
        if faults.rob and chance() < faults.rob:
            self._rob(self.nodes[self.random.choice(self.names)])
        if faults.full and chance() < faults.full:
            node = self.nodes[self.random.choice(self.names)]
            node.full = not node.full
        if faults.jump and chance() < faults.jump:
            self.nodes[self.random.choice(self.names)].ahead_ms += self.random.randrange(2 * self.lease_ms)
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
            node.full = False
            if not node.up:
                node.up = True
                self._recover(node)
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
        return max(node.registers.get(secret, Register()).promised.counter, node.floor)

    def _entropy(self) -> Entropy:
        bits = self.random.getrandbits
        return Entropy(bits(256).to_bytes(32), bits(96).to_bytes(12), tuple(bits(255) for _ in range(self.quorum.threshold - 1)))

    def _boot(self, node: Node) -> None:
        """A new process: its boot number is fresh, nothing of the one before is left but its disk."""
        node.boot = self.random.getrandbits(63)
        node.jobs, node.claimed, node.stores, node.exchanges = {}, set(), {}, {}
        node.session = Session(
            lambda group: self._proposal(node, group_register(group), Intent("decide")),
            lambda group: self._reading(node, group_register(group), Wanted(reveal=False, decision=True)),
        )
        node.registers = {secret: Register(each.promised, each.erased, each.records) for secret, each in node.registers.items()}

    def _crash_or_return(self) -> None:
        node = self.nodes[self.random.choice(self.names)]
        if not node.up:
            node.up = True
            self._recover(node)
            return
        self._crash(node)

    def _crash(self, node: Node) -> None:
        """A process dies; at times it is back at once."""
        jobs = list(node.jobs.values())
        self._boot(node)
        node.up = self.random.random() < 0.5 or sum(other.up for other in self.nodes.values()) == 1
        self._recover(node)
        for job in jobs:
            job.lost()

    def _rob(self, node: Node) -> None:
        """A node dies and its disk is gone; never two at once (PROTO-12)."""
        if all(other.serving for other in self.nodes.values()):
            node.registers, node.floor, node.serving = {}, 0, False
            node.store += 1
            self.robberies += 1
            self._crash(node)

    def _recover(self, node: Node) -> None:
        if node.up and not node.serving:
            Recovery(self, node).begin()

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
            store = node.stores.get(post.send.node)
            if self.random.random() < lost:
                self.parcels.append(Parcel(node, node.boot, post, back=True))
                continue
            late = self.random.random() < self.faults.late * (4 if isinstance(message, Repair) else 1)
            if late:
                self.parcels.append(Parcel(node, node.boot, post, back=True))
            slow = self.faults.slow > 0 and self.random.random() < self.faults.slow
            self.parcels.append(Parcel(node, node.boot, post, heard=late, store=store, slow=slow))
            if self.random.random() < self.faults.double:
                self.parcels.append(Parcel(node, node.boot, post, heard=self.random.random() < 0.5, store=store))

    def _deliver(self, parcel: Parcel) -> None:
        sender, post = parcel.sender, parcel.post
        if parcel.back:
            if sender.boot == parcel.boot and sender.up:
                self._hear(parcel)
            return
        node = self.nodes[post.send.node]
        deferred = (parcel.heard or parcel.slow) and not self.faults.harmless and len(self.parcels) > 3
        if deferred and self.random.random() < 0.9:  # later than most
            self.parcels.append(parcel)
            return
        back = Parcel(sender, parcel.boot, post, heard=parcel.heard, back=True)
        if not node.up:
            self.parcels.append(back)
        elif not self._takes(node, parcel):
            self.parcels.append(replace(back, store=node.store))
        else:
            reply = self.apply(node, post.send.secret, post.send.message)
            lost = self.random.random() < self.faults.lose
            self.parcels.append(back if lost else replace(back, reply=reply, store=node.store))
            if self.faults.rob and isinstance(reply, Accepted) and self.random.random() < ROBBED_WRITERS:
                self._rob(node)

    def _hear(self, parcel: Parcel) -> None:
        sender, post = parcel.sender, parcel.post
        if parcel.store is not None:
            sender.stores[post.send.node] = parcel.store
        if parcel.heard or isinstance(post.send.message, ONE_WAY):
            return
        if post.task in sender.exchanges:
            sender.exchanges[post.task].hear(post.send, parcel.reply)
        elif post.task >= 0:
            self._step(sender, post.task, Heard(post.send, parcel.reply))

    def _takes(self, node: Node, parcel: Parcel) -> bool:
        """Whether a node does what a message asks: not for another store, not while it recovers, not what its disk refuses."""
        if not node.serving or parcel.store not in (None, node.store):
            return False
        return not node.full or isinstance(parcel.post.send.message, Query | ChangesAfter)

    def apply(self, node: Node, secret: SecretId, message: Message, *, counts: bool = True) -> Reply:
        """What a store does: load as far as the message reaches, step, write back. ``counts``: an acceptance is one."""
        match message:
            case Fence():
                node.floor = max(node.floor, message.counter)
                return Noted(True)
            case ChangesAfter():
                counters = [register.promised.counter for register in node.registers.values()]
                changes = tuple(Change(each, ZERO) for each, register in node.registers.items() if register.records)
                return ChangePage(changes, 1, max([node.floor, *counters]), more=False)
        register = node.registers.get(secret, Register())
        if node.floor:
            register = fencing.fenced(register, node.floor)
        part = self._loaded(register, message)
        after, reply = participant.step(participant.Seat(secret, node.name), part, message, self.now_ms + node.ahead_ms)
        untouched = [held for held in register.records if held not in part.records]
        records = tuple(sorted([*untouched, *after.records], key=lambda held: (held.header.sequence, held.header.tag)))
        node.registers[secret] = Register(after.promised, after.erased, records, after.lease)
        if counts and isinstance(message, Write) and isinstance(reply, Accepted):
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
