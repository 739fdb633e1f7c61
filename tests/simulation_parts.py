"""What a simulated cluster is made of: its faults, its nodes, and what is under way between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from model.machine import Send
from model.message import Reply
from model.operation import SecretId
from model.record import Register
from model.session import Machine, Post, Session, Task


@dataclass(frozen=True)
class Faults:
    """How often things go wrong: each a probability, per message or per step.

    ``torn``: how many more of the writes are lost; ``late``: arrives after its sender was told that no reply will come; ``slow``: arrives
    after most others, and its sender waits; ``rob``: a node loses its disk, one at a time; ``full``: a disk begins or ends to refuse to
    write; ``jump``: a node's clock leaps ahead; ``cut``: a node is cut off from all others, or all are joined again; ``held``: a write is
    under way for so long that whole operations fit in between. ``rob_writer``: a node that has just accepted a write loses its disk;
    ``cut_writer``: one that has just heard of an acceptance is cut off.
    """

    lose: float = 0.0
    torn: float = 0.0
    double: float = 0.0
    late: float = 0.0
    crash: float = 0.0
    impatient: float = 0.0
    time_up: float = 0.0
    upkeep: float = 0.0
    rob: float = 0.0
    full: float = 0.0
    jump: float = 0.0
    slow: float = 0.0
    rob_writer: float = 0.0
    cut: float = 0.0
    cut_writer: float = 0.0
    held: float = 0.0

    @property
    def harmless(self) -> bool:
        return self.lose == self.torn == self.late == self.crash == self.time_up == self.rob == self.full == self.cut == self.held == 0


@dataclass(frozen=True)
class Job:
    """Who is told when a task has its outcome, or that the node died with it."""

    done: Callable[[Machine], None]
    lost: Callable[[], None]


@dataclass
class Node:
    """One server: durable registers and a session that dies with its process.

    ``store`` is the number of its disk, ``stores`` what it knows of those of others, ``floor`` up to where it was fenced; ``full``: its
    disk refuses to write; ``ahead_ms``: how far its clock has jumped; ``cut``: no other node reaches it, nor it them.
    """

    name: str
    registers: dict[SecretId, Register] = field(default_factory=dict)
    up: bool = True
    boot: int = 0
    serving: bool = True
    store: int = 1
    floor: int = 0
    full: bool = False
    ahead_ms: int = 0
    cut: bool = False
    stores: dict[str, int] = field(default_factory=dict)
    exchanges: dict[Task, Exchange] = field(default_factory=dict)
    session: Session = field(init=False)
    jobs: dict[Task, Job] = field(default_factory=dict)
    claimed: set[SecretId] = field(default_factory=set)


class Exchange:
    """Messages of no machine: ``done`` hears what became of each once all is known."""

    def __init__(self, sends: list[Send], done: Callable[[list[tuple[Send, Reply | None]]], None]) -> None:
        self.replies: dict[Send, Reply | None] = {}
        self.sends = list(dict.fromkeys(sends))
        self.over = False
        self.done = done

    def hear(self, send: Send, reply: Reply | None) -> None:
        if not self.over:
            self.replies.setdefault(send, reply)
            if len(self.replies) == len(self.sends):
                self._end()

    def give_up(self) -> None:
        """Nobody has spoken for so long: what was not heard is not waited for."""
        if not self.over:
            self._end()

    def _end(self) -> None:
        self.over = True
        self.done([(each, self.replies.get(each)) for each in self.sends])


@dataclass(frozen=True)
class Parcel:
    """A message on its way, or its reply (``back``). ``heard``: its sender was already told that no reply will come. ``store``: the
    receiver's disk as far as its sender knows it, then that which replied.
    """

    sender: Node
    boot: int
    post: Post
    heard: bool = False
    back: bool = False
    reply: Reply | None = None
    store: int | None = None
    slow: bool = False

    @property
    def road(self) -> tuple[str, str, bool]:
        return self.sender.name, self.post.send.node, self.back
