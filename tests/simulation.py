"""A whole cluster in one thread, for one seed: the machines of ``model`` over a network that loses, delays, reorders and doubles.

Every message and every reply is delivered by itself, in any order. Nodes die and come back with their disks and without their
leases; coordinators die between any two steps; patience and time run out at random moments. All chance is one ``random.Random``,
so a seed is a run. Registers are loaded as partially as ``participant.reach`` allows.

What clients saw is ``history``, for a linearizability checker. What must hold inside is ``inspect``'s: chosen records form one
chain, nothing is marked that was not chosen, and k shares of what was erased are nowhere.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from model import group as groups
from model import participant
from model import proposal as proposals
from model import reading as readings
from model.machine import Event, Heard, PatienceOver, Send, TimeUp
from model.message import Accepted, Erase, Message, Reply, Write
from model.operation import Create, Delete, Deleted, Failed, History, Operation, Read, Result, SecretId, Update
from model.participant import Reach
from model.proposal import Intent, Proposal, Seat
from model.quorum import Quorum
from model.reading import Reading, Wanted
from model.record import Ballot, Entropy, Header, Held, Kind, Register, group_register
from model.repairing import repairs
from model.session import Machine, Post, Session, Task

LEASE_MS = 40
NOTHING_WRITTEN = frozenset({"voting_failed", "write_conflict", "unavailable"})
"""Failures that promise that the operation had no effect."""


@dataclass(frozen=True)
class Faults:
    """How often things go wrong: each a probability, per message or per step."""

    lose: float = 0.0
    double: float = 0.0
    hang: float = 0.0
    crash: float = 0.0
    impatient: float = 0.0
    time_up: float = 0.0
    repair: float = 0.0

    @property
    def any(self) -> bool:
        return max(self.lose, self.double, self.hang, self.crash, self.time_up) > 0


CALM = Faults()


@dataclass
class Call:
    """One attempt of a client: when it was invoked and answered (steps), and the answer; None: unknown, for ever."""

    operation: Operation
    invoked: int
    returned: int | None = None
    result: Result | None = None


@dataclass
class Node:
    """One server: durable registers, and a session that a crash takes away."""

    name: str
    registers: dict[SecretId, Register] = field(default_factory=dict)
    up: bool = True
    boot: int = 0
    session: Session = field(init=False)
    waiting: dict[Task, Callable[[Machine], None]] = field(default_factory=dict)
    finished: set[Task] = field(default_factory=set)


@dataclass(frozen=True)
class Parcel:
    """A message or, where ``reply`` is set, its reply on the way. ``answered``: the sender has given up waiting for it."""

    sender: str
    boot: int
    task: Task
    send: Send
    reply: Reply | None = None
    back: bool = False
    muted: bool = False


class Cluster:
    """``n`` nodes of one cluster. ``step`` does one thing at random; ``calm`` ends the faults for good."""

    def __init__(self, seed: int, share_count: int, threshold: int, faults: Faults = CALM, buffer: int = 1) -> None:
        self.random = random.Random(seed)
        self.quorum = Quorum(share_count, threshold)
        self.faults = faults
        self.buffer = buffer
        self.names = tuple(f"n{number}" for number in range(1, share_count + 1))
        self.nodes = {name: Node(name) for name in self.names}
        self.now_ms = 0
        self.steps = 0
        self.parcels: list[Parcel] = []
        self.history: list[Call] = []
        self.accepted: dict[SecretId, dict[tuple[Ballot, Ballot], set[str]]] = {}
        self.headers: dict[SecretId, dict[Ballot, Header]] = {}
        self.erased: dict[SecretId, Ballot] = {}
        self.touched: set[SecretId] = set()
        for node in self.nodes.values():
            self._boot(node)

    # what clients do

    def call(self, name: str, operation: Operation, then: Callable[[Call], None]) -> Call:
        """Have node ``name`` perform ``operation``; ``then`` hears of the outcome, or of its loss with the node."""
        call = Call(operation, self.steps)
        self.history.append(call)
        node = self.nodes[name]

        def done(machine: Machine) -> None:
            outcome = machine.outcome
            assert not isinstance(outcome, proposals.Settled | proposals.Decided)
            unknown = isinstance(outcome, Failed) and outcome.code == "writing_failed"
            call.returned, call.result = (None, None) if unknown else (self.steps, outcome)
            if isinstance(outcome, Failed) and outcome.code in NOTHING_WRITTEN:
                self.history.remove(call)
                call.result = outcome
            if isinstance(operation, Delete) and isinstance(outcome, Deleted):
                self._check_erased(operation.secret)
            if isinstance(machine, Proposal) and machine.phase is proposals.Phase.DONE and machine.unheard and machine.cut is not None:
                self._erase_on(node, machine)
            then(call)

        self._open(node, *self._machine(node, operation), done)
        return call

    def _machine(self, node: Node, operation: Operation) -> tuple[Machine, list[Send]]:
        match operation:
            case Create(secrets=(new,)):
                intent = Intent("create", operation.now, new.value, new.encoding, retry=operation.retry)
                return self.proposal(node, new.secret, intent)
            case Create():
                keys = [new.secret for new in operation.secrets]
                group = f"g{self.random.getrandbits(40):x}"
                seats = tuple(self._seat(node) for _ in keys)
                counters = tuple(self._counter(node, secret) for secret in keys)
                entropies = tuple(self._entropy() for _ in keys)
                decider = self._seat(node)
                return groups.begin(seats, decider, group, operation.secrets, operation.now, operation.retry, entropies, counters)
            case Update(secret=new):
                intent = Intent("update", operation.now, new.value, new.encoding, operation.expected_version, operation.retry)
                return self.proposal(node, new.secret, intent)
            case Delete():
                return self.proposal(node, operation.secret, Intent("delete", operation.now, retry=operation.retry))
            case Read():
                return self.reading(node, operation.secret, Wanted(operation.version, operation.at, reveal=operation.reveal))
            case History():
                return self.reading(node, operation.secret, Wanted(history=True, reveal=False))
        raise TypeError(type(operation).__name__)

    def proposal(self, node: Node, secret: SecretId, intent: Intent) -> tuple[Proposal, list[Send]]:
        entropy = self._entropy() if intent.verb in ("create", "update") else None
        return proposals.begin(self._seat(node), secret, intent, entropy, self._counter(node, secret))

    def reading(self, node: Node, secret: SecretId, wanted: Wanted) -> tuple[Reading, list[Send]]:
        peers = [name for name in self.names if name != node.name]
        self.random.shuffle(peers)
        return readings.begin(node.name, secret, wanted, self.quorum, tuple(peers))

    def _seat(self, node: Node) -> Seat:
        return Seat(node.name, node.boot, self.quorum, self.names, LEASE_MS)

    def _counter(self, node: Node, secret: SecretId) -> int:
        return node.registers.get(secret, Register()).promised.counter

    def _entropy(self) -> Entropy:
        bits = self.random.getrandbits
        return Entropy(bits(256).to_bytes(32), bits(96).to_bytes(12), tuple(bits(255) for _ in range(self.quorum.threshold - 1)))

    # what nodes do by themselves

    def mend(self, name: str, secret: SecretId) -> None:
        """Survey a secret from one node and send what ``model.repairing`` says, to arrive whenever it does (PROTO-17)."""
        node = self.nodes[name]
        wanted = Wanted(reveal=False, survey=True, decision=secret.namespace == "")

        def surveyed(machine: Machine) -> None:
            assert isinstance(machine, Reading)
            self._post(node, [Post(-1, send) for send in repairs(machine, self.buffer)])

        self._open(node, *self.reading(node, secret, wanted), surveyed)

    def settle(self, name: str, secret: SecretId) -> None:
        """Settle by a vote what is in doubt at the top of a secret."""
        node = self.nodes[name]
        self._open(node, *self.proposal(node, secret, Intent("decide" if secret.namespace == "" else "settle")), lambda _: None)

    def _erase_on(self, node: Node, machine: Proposal) -> None:
        if machine.cut is not None and machine.cut.header.kind is Kind.TOMBSTONE and isinstance(machine.outcome, Deleted):
            erase = Erase(machine.cut.header)
            self._post(node, [Post(-1, Send(name, machine.secret, erase)) for name in sorted(machine.unheard)])

    # time

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
        if self.touched and chance() < faults.repair:
            (self.mend if chance() < 0.7 else self.settle)(self._any_up(), self.random.choice(sorted(self.touched)))
        if self.parcels:
            place = self.random.randrange(len(self.parcels))
            self.parcels[place], self.parcels[-1] = self.parcels[-1], self.parcels[place]
            self._deliver(self.parcels.pop())
            return True
        return self._idle()

    def _idle(self) -> bool:
        """Nothing is on its way, so who still waits waits in vain."""
        waiting = [(node, task) for node in self.nodes.values() for task in node.session.unfinished()]
        if not waiting:
            return False
        assert self.faults.any, "stuck: nothing was lost, yet somebody waits"
        for node, task in waiting:
            self._step(node, task, PatienceOver())
        if not self.parcels:
            for node, task in waiting:
                self._step(node, task, TimeUp())
        return True

    def calm(self) -> None:
        """No more faults; who waits for something lost is told that it will not come."""
        for node in self.nodes.values():
            node.up = True
            for task in node.session.unfinished():
                self._step(node, task, TimeUp())
        self.faults = CALM

    def drain(self) -> None:
        """Deliver all that is on its way."""
        while self.step():
            pass

    def _crash_or_return(self) -> None:
        node = self.nodes[self.random.choice(self.names)]
        if not node.up:
            node.up = True
            return
        node.registers = {
            secret: Register(register.promised, register.erased, register.records) for secret, register in node.registers.items()
        }
        lost = [then for task, then in node.waiting.items() if task not in node.finished]
        self._boot(node)
        node.up = self.random.random() < 0.6
        for then in lost:
            then(_Lost)  # type: ignore[arg-type]

    def _boot(self, node: Node) -> None:
        node.boot += 1 + self.random.getrandbits(20)

        def settle(group: str) -> tuple[Proposal, list[Send]]:
            return self.proposal(node, group_register(group), Intent("decide"))

        def look(group: str) -> tuple[Reading, list[Send]]:
            return self.reading(node, group_register(group), Wanted(reveal=False, decision=True))

        node.session, node.waiting, node.finished = Session(settle, look), {}, set()

    def _any_up(self) -> str:
        up = [name for name in self.names if self.nodes[name].up]
        return self.random.choice(up or list(self.names))
