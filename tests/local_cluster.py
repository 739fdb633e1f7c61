"""A whole cluster in one process and one thread: real stores on real files, real coordinators and repairers, a network of faults.

Time is virtual and everything that chance decides comes from one seed, so a failing run repeats. Every exchange goes over the wire form of
``model.message``. What is not here: TLS, HTTP, threads.
"""

from __future__ import annotations

import contextlib
import heapq
import random
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty

from vault_machine import Cluster

from model.message import (
    Addressed,
    ChangePage,
    ChangesAfter,
    Exchange,
    NamesAfter,
    Query,
    Snapshot,
    Vote,
    decode_exchange,
    decode_replies,
    encode,
)
from model.operation import Create, Delete, Failed, NodeStatus, Operation, Result, SecretId, Status, Update
from model.record import Ballot
from node.api import answer
from node.config import Settings
from node.coordinator import Coordinator
from node.parcel import Delivery, Mailbox, Parcel
from node.repair import Repairer
from node.store import Store

LATENCY_SECONDS = 0.001
WRITE_PATIENCE_SECONDS, READ_PATIENCE_SECONDS = 10.0, 2.0
REST_ROUNDS = 12
MEMORY = Path("/dev/shm")
"""Where files are memory, if the system has it: the tests need SQLite's files, not a disk's syncs."""


class Died(BaseException):
    """The process that was running this is no more. Not an Exception: nothing in it gets to handle it."""


class Clock:
    """Seconds that pass only when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Network:
    """What is under way, by the time at which it arrives. ``loss``: the share of exchanges that something happens to."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.clock = Clock()
        self.loss = 0.0
        self.cut: set[tuple[str, str]] = set()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.clock.now + seconds, self._count, event))

    def next_event(self, until: float) -> bool:
        """Let time pass up to the next event, or up to ``until``. False if there was none before."""
        if not self._events or self._events[0][0] > until:
            self.clock.now = max(self.clock.now, until)
            return False
        when, _, event = heapq.heappop(self._events)
        self.clock.now = max(self.clock.now, when)
        event()
        return True

    def let_pass(self, seconds: float) -> None:
        until = self.clock.now + seconds
        while self.next_event(until):
            pass

    def mailbox(self) -> NetworkMailbox:
        return NetworkMailbox(self)


class NetworkMailbox:
    """Waiting for a delivery is what makes the world go on. Implements ``node.parcel.Mailbox``."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._items: deque[Delivery] = deque()

    def put(self, item: Delivery) -> None:
        self._items.append(item)

    def get(self, *, timeout: float) -> Delivery:
        until = self._network.clock.now + timeout
        while not self._items:
            if not self._network.next_event(until):
                raise Empty
        return self._items.popleft()

    def close(self) -> None:
        """What is still on its way arrives unread."""


class LocalPeers:
    """A node's roads to the others, with everything that can happen on the way. Implements ``node.peers.Peers``."""

    def __init__(self, cluster: LocalCluster, process: Process) -> None:
        self._cluster = cluster
        self._process = process
        self._stores: dict[str, bytes] = {}
        self._reached = dict.fromkeys(process.settings.peers, False)
        self._turn = 0

    def mailbox(self) -> Mailbox:
        return self._cluster.network.mailbox()

    def post(self, node: str, parcel: Parcel) -> None:
        self._process.live_on()
        network = self._cluster.network
        if parcel.mailbox is None:
            network.after(0.02, lambda: self._ride(node, parcel))
        else:
            self._leave(node, parcel, again=True)

    def order(self) -> tuple[str, ...]:
        self._turn += 1
        names = list(self._reached)
        start = self._turn % len(names)
        return tuple(sorted(names[start:] + names[:start], key=lambda node: not self._reached[node]))

    def reachable(self) -> tuple[str, ...]:
        return tuple(node for node, reached in self._reached.items() if reached)

    def store_of(self, node: str) -> bytes:
        return self._stores.get(node, b"")

    def _ride(self, node: str, parcel: Parcel) -> None:
        if self._process.alive:
            self._leave(node, parcel, again=False)

    def _leave(self, node: str, parcel: Parcel, *, again: bool) -> None:
        """One exchange sets out. Whatever becomes of it, the sender hears of it within the exchange's time-out."""
        network = self._cluster.network
        body = encode(Exchange(self._process.id, self.store_of(node), tuple(parcel.messages)))
        there, back = self._delays(node), self._delays(node)
        limit = self._process.settings.exchange_timeout_ms / 1000
        heard: list[bool] = []

        def hear(reply: bytes | None) -> None:
            if not heard and self._process.alive:
                heard.append(True)
                self._hear(node, parcel, reply, again=again)

        def arrive(*, first: bool) -> None:
            reply = self._cluster.receive(self._process.id, node, body)
            if first and back is not None and (reply is None or (node, self._process.id) not in network.cut):
                network.after(back, lambda: hear(reply))

        if there is not None:
            network.after(there, lambda: arrive(first=True))
        if network.random.random() < network.loss / 4:
            network.after(network.random.uniform(0.0, 2 * limit), lambda: arrive(first=False))
        quick = network.random.random() < 0.5  # a connection that breaks is noticed at once, a silent one at the time-out
        network.after(limit if there is not None or not quick else LATENCY_SECONDS, lambda: hear(None))

    def _delays(self, node: str) -> float | None:
        """How long one way takes, in seconds; None: for ever."""
        network = self._cluster.network
        if network.random.random() >= network.loss:
            return LATENCY_SECONDS
        fate = network.random.choice(["lost", "slow", "late"])
        limits = {"slow": 0.5, "late": 2 * self._process.settings.exchange_timeout_ms / 1000}
        return None if fate == "lost" else network.random.uniform(0.0, limits[fate])

    def _hear(self, node: str, parcel: Parcel, reply: bytes | None, *, again: bool) -> None:
        self._reached[node] = reply is not None
        if reply is None:
            self._deliver(parcel, Delivery(parcel.tokens, None))
            return
        replies = decode_replies(reply)
        self._stores[node] = replies.store
        opening = all(isinstance(each.message, Vote | Query | NamesAfter | ChangesAfter) for each in parcel.messages)
        if replies.replies is None and opening and again:
            self._leave(node, parcel, again=False)
        else:
            self._deliver(parcel, Delivery(parcel.tokens, replies.replies))

    @staticmethod
    def _deliver(parcel: Parcel, delivery: Delivery) -> None:
        if parcel.mailbox is not None:
            parcel.mailbox.put(delivery)


class Process:
    """One run of a node, from start to crash. ``doom``: how many more parcels it sends or takes before it dies; None: it does not."""

    def __init__(self, cluster: LocalCluster, settings: Settings) -> None:
        self.id = settings.id
        self.settings = settings
        self.alive = True
        self.doom: int | None = None
        clock = cluster.network.clock
        self.store = cluster.open_store(settings)
        self.repairer = Repairer(settings, self.store, clock)
        peers = LocalPeers(cluster, self)
        self.coordinator = Coordinator(settings, self.store, peers, self.repairer.notice, clock=clock, randomness=cluster.randomness)

    def live_on(self) -> None:
        """Raises Died when this process's hour has come."""
        if self.doom is not None:
            self.doom -= 1
            if self.doom < 0:
                self.kill()
        if not self.alive:
            raise Died

    def kill(self) -> None:
        if self.alive:
            self.alive = False
            self.store.close()


class LocalCluster(Cluster):
    """``share_count`` nodes, all founded and started. Restarting a node whose disk was lost leaves it recovering."""

    def __init__(self, share_count: int = 5, threshold: int = 3, *, write_quorum: int = 0, seed: int = 0) -> None:
        self.nodes = tuple(f"node-{number}" for number in range(1, share_count + 1))
        self.network = Network(seed)
        self.randomness = random.Random(seed)
        self.folder = Path(tempfile.mkdtemp(prefix="kofn-", dir=MEMORY if MEMORY.is_dir() else None))
        urls = {node: f"https://{node}.invalid:1" for node in self.nodes}
        self.settings = {
            node: Settings(
                id=node,
                trust_domain="kofn.local",
                bind="127.0.0.1:0",
                database=self.folder / f"{node}.db",
                certificate=self.folder,
                key=self.folder,
                ca=self.folder,
                threshold=threshold,
                nodes=urls,
                write_quorum=write_quorum,
            )
            for node in self.nodes
        }
        self.processes: dict[str, Process] = {}
        self.stuck: set[SecretId] = set()
        self.disk_was_lost = False
        for node, settings in self.settings.items():
            Store.found(settings.database, node, self.network.clock).close()
            self.restart(node)

    def open_store(self, settings: Settings) -> Store:
        """What a node that starts opens."""
        return Store.open(settings.database, settings.id, self.network.clock)

    def perform(self, operation: Operation) -> Result | None:
        """As a gateway does it: at any node, at the next where one certainly did nothing, and again while it is told so."""
        patience = WRITE_PATIENCE_SECONDS if isinstance(operation, Create | Update | Delete) else READ_PATIENCE_SECONDS
        until = self.network.clock.now + patience
        while True:
            result = self._ask(operation)
            if not isinstance(result, Failed) or result.retry_ms is None or self.network.clock.now >= until:
                return result
            self.network.let_pass(result.retry_ms / 1000 * self.network.random.uniform(0.5, 1.5))

    def _ask(self, operation: Operation) -> Result | None:
        write = isinstance(operation, Create | Update | Delete)
        line = self.network.random.sample(self.nodes, len(self.nodes))
        for node in line:
            if not self.up(node) or not self.processes[node].store.serving:
                continue
            try:
                return self.perform_at(node, operation)
            except Died:
                if write:
                    return None
        return Failed("voting_failed" if write else "unavailable")

    def perform_at(self, node: str, operation: Operation) -> Result:
        """By one coordinator, once, whatever ``retry_ms`` says. Raises Died if that dies over it."""
        return self.processes[node].coordinator.perform([operation])[0]

    def receive(self, sender: str, node: str, body: bytes) -> bytes | None:
        """What ``node`` answers to an exchange; None if it gets none, cannot answer or dies over it."""
        process = self.processes[node]
        if not process.alive or (sender, node) in self.network.cut:
            return None
        replies = encode(answer(process.store, decode_exchange(body)))
        try:
            process.live_on()
        except Died:
            return None
        return replies

    def up(self, node: str) -> bool:
        return self.processes[node].alive

    def crash(self, node: str) -> None:
        self.processes[node].kill()

    def doom(self, node: str, parcels: int) -> None:
        """Let a node die by itself, in the midst of whatever it does, after so many more parcels sent or taken."""
        self.processes[node].doom = parcels

    def restart(self, node: str) -> None:
        self.processes[node] = Process(self, self.settings[node])

    def lose_disk(self, node: str) -> None:
        """The node crashes, and its files are gone."""
        self.crash(node)
        self.disk_was_lost = True
        for path in self.files(node):
            path.unlink()

    def files(self, node: str) -> list[Path]:
        return sorted(self.folder.glob(f"{node}.db*"))

    def copy_disk(self, node: str, folder: Path) -> None:
        """Keep a copy of a crashed node's files."""
        for path in self.files(node):
            shutil.copy(path, folder / path.name)

    def put_back(self, node: str, folder: Path) -> None:
        """A crashed node's files are replaced by the kept copy."""
        self.lose_disk(node)
        for path in folder.glob(f"{node}.db*"):
            shutil.copy(path, self.folder / path.name)

    def turn(self, node: str) -> None:
        """The node's caretaker does what there is to do now."""
        with contextlib.suppress(Died):
            self.processes[node].repairer.turn(self.processes[node].coordinator)

    def lose_messages(self, share: float, seed: int) -> None:
        self.network.loss = share
        self.network.random = random.Random(seed)

    def cut_off(self, sender: str, receiver: str) -> None:
        """From now on nothing that ``sender`` says reaches ``receiver``; the other way is open."""
        self.network.cut.add((sender, receiver))

    def settle(self) -> None:
        """Faults end, nodes start, caretakers take turns; raises AssertionError if that does not bring the cluster to rest.

        Where a disk was lost, a write that was cut off half-way may stay in doubt: the lost node may have held the share that makes k.
        Such secrets are ``stuck`` until the next write.
        """
        self.stuck.clear()
        self.network.loss = 0.0
        self.network.cut.clear()
        for process in list(self.processes.values()):
            process.doom = None
            if not process.alive:
                self.restart(process.id)
        for number in range(REST_ROUNDS):
            self.network.let_pass(61.0)
            for node in self.nodes:
                self.turn(node)
            if self.at_rest():
                self.network.let_pass(61.0)
                return
            if self.disk_was_lost and number > REST_ROUNDS // 2:
                self.stuck = {secret for node in self.nodes for secret in self.processes[node].store.unfinished(2**62, 100)}
        raise AssertionError(f"not at rest: {self.unrest()}")

    def at_rest(self) -> bool:
        return not self.unrest()

    def unrest(self) -> list[str]:
        """What is still left to do, in words."""
        left = [f"{node} is recovering" for node in self.nodes if not self.processes[node].store.serving]
        left += [
            f"{node}: {secret.namespace}/{secret.name} is unfinished"
            for node in self.nodes
            for secret in self.processes[node].store.unfinished(2**62, 100)
            if secret not in self.stuck
        ]
        return left or self.lacking()

    def lacking(self) -> list[str]:
        """Which nodes lack what others hold, in words: a record or a sound share of it."""
        held = {node: self.holdings(node) for node in self.nodes}
        everything = {key for holdings in held.values() for key in holdings}
        return [
            f"{node}: {secret.namespace}/{secret.name} lacks {'record' if (secret, tag) not in holdings else 'share'} {tag}"
            for node, holdings in held.items()
            for secret, tag in sorted(everything)
            if not holdings.get((secret, tag), False) and secret not in self.stuck
        ]

    def holdings(self, node: str) -> dict[tuple[SecretId, Ballot], bool]:
        """Every record that a node holds, and whether it has a sound share of it, if one is needed."""
        store = self.processes[node].store
        (page,) = store.apply([Addressed(SecretId("", ""), ChangesAfter(0, 2**31))])
        assert isinstance(page, ChangePage)
        asked = [Addressed(change.secret, Query(shares=True, lineage=True)) for change in page.changes]
        held = {}
        for addressed, snapshot in zip(asked, store.apply(asked), strict=True):
            assert isinstance(snapshot, Snapshot)
            for view in snapshot.views:
                assert view.header is not None
                held[addressed.secret, view.tag] = view.share is not None or not view.header.needs_shares
        return held

    def status(self, node: str) -> NodeStatus:
        result = self.perform_at(node, Status())
        assert isinstance(result, NodeStatus)
        return result

    def apply(self, node: str, messages: Sequence[Addressed]) -> list[object]:
        return list(self.processes[node].store.apply(messages))

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
        shutil.rmtree(self.folder)
