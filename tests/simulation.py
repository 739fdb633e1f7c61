"""A whole cluster in one thread, for one seed: the machines of ``model`` over a network that loses, delays, reorders and doubles.

Every message and every reply is delivered by itself, in any order. Nodes die and come back with their disks and without their
leases, or lose their disks and recover; disks refuse to write for a while; clocks jump; coordinators die between any two steps;
patience and time run out at random moments. All chance is one ``random.Random``, so a seed is a run. Registers are loaded as partially
as ``participant.reach`` allows. A list of messages is never kept in part: the store applies it in one transaction (PROTO-3), and
here each message travels alone, which is harder.

``simulation_network`` carries messages, ``simulation_stores`` carries them out, ``simulation_machines`` opens what sends them,
``simulation_misfortunes`` strikes. What clients see is the tests' business; what must hold inside a cluster is ``inspection``'s.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import simulation_misfortunes as misfortunes
import simulation_stores as stores
import simulation_upkeep as upkeep
from simulation_machines import Opener
from simulation_network import Network
from simulation_parts import Exchange, Faults, Job, Node, Parcel

from model.intent import RETRY_MS, Decided, Intent, Settled, Wanted
from model.machine import Event, Heard, PatienceOver, Send, TimeUp
from model.message import Accepted, Confirm, Message, Release, Reply, Void, Write
from model.operation import Create, Delete, Failed, Operation, Result, SecretId, Update
from model.quorum import Quorum
from model.record import Ballot, Header, Register, group_register
from model.session import Machine, Post, Session, Task

SILENCE_MS = 40
ONE_WAY = (Confirm, Release, Void)


class Cluster:
    """``share_count`` nodes. ``step`` does one thing at random; ``calm`` ends the faults for good, ``drain`` lets all arrive.

    ``headers`` and ``acceptances``: every record that was ever sent, and by whom it was ever accepted under which ballot.
    """

    def __init__(self, seed: int, share_count: int, threshold: int, faults: Faults, lease_ms: int = 10_000, write_raised: int = 0) -> None:
        self.random = random.Random(seed)
        self.quorum = Quorum(share_count, threshold, write_raised)
        self.faults = faults
        self.lease_ms = lease_ms
        self.names = tuple(f"n{number}" for number in range(1, share_count + 1))
        self.nodes = {name: Node(name) for name in self.names}
        self.network = Network(self)
        self.opener = Opener(self.random, self.quorum, self.names, lease_ms)
        self.now_ms = self.steps = 0
        self.calmed = False
        self.robberies = 0
        self.alarms: list[tuple[int, Callable[[], None]]] = []
        self.touched: dict[SecretId, None] = {}
        self.headers: dict[SecretId, dict[Ballot, Header]] = {}
        self.acceptances: dict[tuple[SecretId, Ballot, Ballot], set[str]] = {}
        for node in self.nodes.values():
            self.boot(node)

    def perform(self, name: str, operation: Operation, done: Callable[[Result], None], lost: Callable[[], None]) -> None:
        """Have a node perform ``operation``; ``done`` hears the result, ``lost`` that the node died with it."""
        node = self.nodes[name]
        wanted = _written(operation) if self.faults.harmless else frozenset()
        if node.claimed & wanted:
            done(Failed("write_conflict", retry_ms=RETRY_MS))
            return

        def finished(machine: Machine) -> None:
            outcome = machine.outcome
            node.claimed -= wanted
            assert outcome is not None
            assert not isinstance(outcome, Settled | Decided)
            done(outcome)

        node.claimed |= wanted
        self.open(node, *self.opener.machine(node, operation), Job(finished, lost))

    def exchange(self, node: Node, sends: list[Send], done: Callable[[list[tuple[Send, Reply | None]]], None]) -> None:
        """Send messages that belong to no machine; ``done`` hears what became of each."""
        task = -2 - len(node.exchanges)
        exchange = node.exchanges[task] = Exchange(sends, done)
        boot = node.boot
        self.send(node, [Post(task, send) for send in exchange.sends])
        self.after(SILENCE_MS if sends else 0, lambda: exchange.give_up() if node.boot == boot else None)

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
        misfortunes.strike(self)
        if self.touched and self.random.random() < self.faults.upkeep:
            (upkeep.mend if self.random.random() < 0.7 else upkeep.settle)(self, self.any_up(), self.random.choice(list(self.touched)))
        due = [alarm for alarm in self.alarms if alarm[0] <= self.now_ms]
        if due:
            self.alarms.remove(due[0])
            due[0][1]()
        elif self.network.parcels:
            self.network.deliver()
        elif self.waiting() and not self.network.held:
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
        misfortunes.reunite(self)
        for node in self.nodes.values():
            node.full = False
            if not node.up:
                misfortunes.come_up(self, node)
        for node, task in self.waiting():
            self.tell(node, task, TimeUp())

    def drain(self, bound: int = 100_000) -> None:
        """Let everything arrive. Fails if that takes more than ``bound`` steps."""
        end = self.steps + bound
        while self.step():
            assert self.steps < end, "the cluster does not come to rest"

    def open(self, node: Node, machine: Machine, sends: list[Send], job: Job) -> None:
        """A machine sets to work on a node; ``job`` says who is told what comes of it."""
        task, posts = node.session.open(machine, sends)
        node.jobs[task] = job
        self.send(node, posts)

    def send(self, node: Node, posts: list[Post]) -> None:
        """What a node sends goes to the network."""
        for post in posts:
            message, secret = post.send.message, post.send.secret
            self.touched[secret] = None
            if isinstance(message, Write):
                self.headers.setdefault(secret, {})[message.header.tag] = message.header
            self.network.send(node, post)

    def waiting(self) -> list[tuple[Node, Task]]:
        """Every task that has no outcome yet, and where it runs."""
        return [(node, task) for node in self.nodes.values() for task in node.session.unfinished()]

    def tell(self, node: Node, task: Task, event: Event) -> None:
        """A task hears of an event; what it sends sets out, and who waits for an outcome is told."""
        self.send(node, node.session.step(task, event))
        for finished in [task for task in node.jobs if node.session.machine(task).outcome is not None]:
            job = node.jobs.pop(finished, None)
            if job is not None:
                job.done(node.session.machine(finished))

    def hear(self, parcel: Parcel) -> None:
        """What came back arrives where it was asked for."""
        sender, post = parcel.sender, parcel.post
        if parcel.store is not None:
            sender.stores[post.send.node] = parcel.store
        if parcel.heard or isinstance(post.send.message, ONE_WAY):
            return
        if post.task in sender.exchanges:
            sender.exchanges[post.task].hear(post.send, parcel.reply)
        elif post.task >= 0:
            self.tell(sender, post.task, Heard(post.send, parcel.reply))

    def apply(self, node: Node, secret: SecretId, message: Message, *, counts: bool = True) -> Reply:
        """A node carries out a message. ``counts``: an acceptance is one."""
        reply = stores.apply(node, secret, message, self.now_ms)
        if counts and isinstance(message, Write) and isinstance(reply, Accepted):
            self.acceptances.setdefault((secret, message.header.tag, message.ballot), set()).add(node.name)
        return reply

    def boot(self, node: Node) -> None:
        """A new process: its boot number is fresh, nothing of the one before is left but its disk."""
        node.boot = self.random.getrandbits(63)
        node.jobs, node.claimed, node.stores, node.exchanges = {}, set(), {}, {}
        node.session = Session(
            lambda group: self.opener.proposal(node, group_register(group), Intent("decide")),
            lambda group: self.opener.reading(node, group_register(group), Wanted(reveal=False, decision=True)),
        )
        node.registers = {secret: Register(each.promised, each.erased, each.records) for secret, each in node.registers.items()}

    def _give_up(self) -> None:
        """Nothing is on its way, so who still waits does so in vain."""
        assert not self.faults.harmless, "nothing was lost, yet somebody waits"
        for node, task in self.waiting():
            self.tell(node, task, PatienceOver())
        if not self.network.parcels:
            for node, task in self.waiting():
                self.tell(node, task, TimeUp())


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
