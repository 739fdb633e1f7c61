"""Carries sends and replies between machines, the own store and the roads to the peers: one batch, one thread, until all is decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from queue import Empty
from typing import NamedTuple

from model.machine import Event, Heard, PatienceOver, Send, TimeUp, VotingOver
from model.message import Addressed, Confirm, Release, Reply, Unfit, Void
from model.session import Machine, Post, Session, Task
from node.parcel import Delivery, Mailbox, Parcel

_ONE_WAY = (Confirm, Release, Void)


class Ports(NamedTuple):
    """What a run needs of its node: who it is, its store, the roads to the others, a mailbox, the time, and how long to wait."""

    me: str
    apply: Callable[[Sequence[Addressed]], list[Reply]]
    post: Callable[[str, Parcel], None]
    mailbox: Callable[[], Mailbox]
    clock: Callable[[], float]
    patience_seconds: float
    voting_seconds: float
    operation_seconds: float


class Run:
    """One batch's machines, driven to their outcomes by the calling thread."""

    def __init__(self, ports: Ports, session: Session) -> None:
        self._ports = ports
        self._session = session
        self._mailbox = ports.mailbox()
        self._first: list[Post] = []

    def open(self, machine: Machine, sends: list[Send]) -> Task:
        task, posts = self._session.open(machine, sends)
        self._first += posts
        return task

    def machine(self, task: Task) -> Machine:
        return self._session.machine(task)

    def drive(self) -> None:
        """Until every machine has its outcome."""
        try:
            begun = self._ports.clock()
            self._drive(begun + self._ports.voting_seconds, VotingOver())
            self._drive(begun + self._ports.operation_seconds, TimeUp())
        finally:
            self._mailbox.close()

    def exchange(self, sends: list[Send], silence_seconds: float) -> list[tuple[Send, Reply | None]]:
        """Send messages that belong to no machine; return what came of each, None for no reply."""
        try:
            replies = self._exchange(sends, silence_seconds)
        finally:
            self._mailbox.close()
        return [(send, replies.get(number)) for number, send in enumerate(sends)]

    def _drive(self, deadline: float, last: Event) -> None:
        """Until every machine has its outcome, or has been told the ``last`` event at the deadline."""
        self._carry(self._first)
        self._first = []
        while tasks := self._session.unfinished():
            left = deadline - self._ports.clock()
            if left <= 0:
                self._tell(tasks, last)
                return
            try:
                delivery = self._mailbox.get(timeout=min(left, self._ports.patience_seconds))
            except Empty:
                self._tell(tasks, PatienceOver())
                continue
            self._carry(self._hear(delivery))

    def _tell(self, tasks: list[Task], event: Event) -> None:
        self._carry([post for task in tasks for post in self._session.step(task, event)])

    def _exchange(self, sends: list[Send], silence_seconds: float) -> dict[Task, Reply]:
        """The replies to ``sends``, by their place, until all have come or nothing has for so long."""
        replies = dict[Task, Reply]()
        deliveries = self._dispatch([Post(number, send) for number, send in enumerate(sends)])
        heard, expected = 0, sum(send.node == self._ports.me or not isinstance(send.message, _ONE_WAY) for send in sends)
        while True:
            for delivery in deliveries:
                heard += len(delivery.tokens)
                if delivery.replies is not None:
                    replies.update((post.task, reply) for post, reply in zip(delivery.tokens, delivery.replies, strict=True))
            if heard == expected:
                return replies
            try:
                deliveries = [self._mailbox.get(timeout=silence_seconds)]
            except Empty:
                return replies

    def _carry(self, posts: list[Post]) -> None:
        """Send to the peers, then apply to the own store, until nothing more follows from that."""
        while posts:
            posts = [post for delivery in self._dispatch(posts) for post in self._hear(delivery)]

    def _dispatch(self, posts: Sequence[Post]) -> list[Delivery]:
        """Peers first: they work while this node applies its own part. Returns what the own store replied."""
        by_node: dict[str, tuple[list[Post], list[Post]]] = {}
        for post in posts:
            waited, riding = by_node.setdefault(post.send.node, ([], []))
            (riding if isinstance(post.send.message, _ONE_WAY) else waited).append(post)
        here = by_node.pop(self._ports.me, ([], []))
        for node, (waited, riding) in by_node.items():
            if riding:
                self._ports.post(node, Parcel(_addressed(riding), (), None))
            if waited:
                self._ports.post(node, Parcel(_addressed(waited), waited, self._mailbox))
        local = [*here[1], *here[0]]
        if not local:
            return []
        return [Delivery(local, self._ports.apply(_addressed(local)))]

    def _hear(self, delivery: Delivery) -> list[Post]:
        replies = delivery.replies if delivery.replies is not None else [None] * len(delivery.tokens)
        posts: list[Post] = []
        for post, reply in zip(delivery.tokens, replies, strict=True):
            if not isinstance(post.send.message, _ONE_WAY):
                posts += self._session.step(post.task, Heard(post.send, reply if not isinstance(reply, Unfit) else None))
        return posts


def _addressed(posts: Sequence[Post]) -> tuple[Addressed, ...]:
    return tuple(Addressed(post.send.secret, post.send.message) for post in posts)
