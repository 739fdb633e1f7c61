"""Records, snapshots and a bench of three or more participants, for scenarios of the protocol told message by message."""

from __future__ import annotations

from collections.abc import Callable

from model import group as groups
from model import participant
from model import proposal as proposals
from model import reading as readings
from model.group import Group
from model.intent import Intent, Seat, Wanted
from model.machine import Event, Heard, Send
from model.message import Confirm, Message, Release, Reply, Snapshot, View, Void
from model.operation import NewValue, Retry, SecretId
from model.proposal import Proposal
from model.quorum import Quorum
from model.reading import Reading
from model.record import ZERO, Ballot, Cut, Doubt, Entropy, Header, Held, Kind, Register, cut

SECRET = SecretId("default", "db/password")
NODES = ("n1", "n2", "n3")
ENTROPY = Entropy(b"k" * 32, b"n" * 12, (1234567,))
QUORUM = Quorum(3, 2)

Reaches = Callable[[Send], bool]
ONE_WAY = (Confirm, Release, Void)


def ballot(counter: int, node: str = "n1") -> Ballot:
    return Ballot(counter, node, 7)


def retry(key: str, request: str = "r") -> Retry:
    return Retry(key.encode().ljust(32), request.encode().ljust(32))


def doubt(header: Header) -> Doubt:
    return Doubt(header.tag, header.version, header.valid_from)


def header_of(
    counter: int,
    below: Header | None = None,
    *doubts: Header,
    kind: Kind = Kind.VALUE,
    nodes: tuple[str, ...] = NODES,
    threshold: int = 2,
    retry: Retry | None = None,
    group: str | None = None,
) -> Header:
    """A record proposed under ballot ``counter`` on top of the chosen ``below``, with ``doubts`` (newest first) between."""
    tag = ballot(counter)
    live = below is not None and below.kind is Kind.VALUE
    under = doubts[0] if doubts else below
    version = under.version if live and under is not None else 0
    return Header(
        tag=tag,
        kind=kind,
        incarnation=below.incarnation if live and below is not None else tag,
        sequence=under.sequence + 1 if under is not None else 1,
        version=version + (kind is Kind.VALUE),
        base=below.tag if below is not None else None,
        doubts=tuple(doubt(each) for each in doubts),
        valid_from=1000 + counter,
        threshold=threshold,
        placement=nodes,
        retry=retry,
        group=group,
    )


def cut_of(header: Header, value: bytes = b"secret") -> Cut:
    return cut(SECRET, header, value, ENTROPY) if header.needs_shares else Cut(header, None, {})


def held(record: Cut, node: str = "n1", *, at: int | None = None, chosen: bool = False) -> Held:
    """How ``node`` holds it, accepted under ballot ``at`` (0: by repair; default: that of its first proposal)."""
    accepted = record.header.tag if at is None else ZERO if at == 0 else ballot(at)
    return Held(record.header, accepted, chosen, record.shares.get(node), record.sealed)


def view(record: Cut, node: str, *, at: int | None = None, chosen: bool = False, sealed: bool = True) -> View:
    each = held(record, node, at=at, chosen=chosen)
    return View(record.header.tag, record.header, each.ballot, chosen, each.share, each.sealed if sealed else None)


def snapshot(*views: View, promised: int = 0, erased: Ballot = ZERO, lease_ms: int = 0) -> Snapshot:
    return Snapshot(ballot(promised) if promised else ZERO, erased, views, lease_ms)


Machine = Proposal | Group | Reading


def step(machine: Machine, event: Event) -> tuple[Machine, list[Send]]:
    match machine:
        case Proposal():
            return proposals.step(machine, event)
        case Group():
            return groups.step(machine, event)
    return readings.step(machine, event)


class Bench:
    """Nodes that answer at once. ``run`` carries a machine's sends, as far as ``reaches`` lets them, until nothing follows."""

    def __init__(self, quorum: Quorum = QUORUM) -> None:
        self.quorum = quorum
        self.names = tuple(f"n{number}" for number in range(1, quorum.share_count + 1))
        self.registers: dict[tuple[str, SecretId], Register] = {}
        self.now_ms = 0
        self.boots = 0

    def apply(self, node: str, message: Message, secret: SecretId = SECRET) -> Reply:
        register, reply = participant.step(participant.Seat(secret, node), self.register(node, secret), message, self.now_ms)
        self.registers[node, secret] = register
        return reply

    def register(self, node: str, secret: SecretId = SECRET) -> Register:
        return self.registers.get((node, secret), Register())

    def tags(self, node: str, secret: SecretId = SECRET) -> list[int]:
        """The counters of the tags of what a node holds."""
        return [each.header.tag.counter for each in self.register(node, secret).records]

    def seat(self, me: str = "n1") -> Seat:
        self.boots += 1
        return Seat(me, self.boots, self.quorum, self.names, 1000)

    def propose(self, intent: Intent, me: str = "n1", secret: SecretId = SECRET) -> tuple[Proposal, list[Send]]:
        counter = self.register(me, secret).promised.counter
        return proposals.begin(self.seat(me), secret, intent, self.entropy(), counter)

    def entropy(self) -> Entropy:
        return Entropy(b"k" * 32, b"n" * 12, tuple(range(5, 4 + self.quorum.threshold)))

    def read(self, wanted: Wanted | None = None, me: str = "n1", secret: SecretId = SECRET) -> tuple[Reading, list[Send]]:
        peers = tuple(name for name in self.names if name != me)
        return readings.begin(me, secret, wanted if wanted is not None else Wanted(), self.quorum, peers)

    def group(self, *names: str, group: str = "g", me: str = "n1", retry: Retry | None = None) -> tuple[Group, list[Send]]:
        news = tuple(NewValue(SecretId("default", name), name.encode()) for name in names)
        counters = tuple(self.register(me, new.secret).promised.counter for new in news)
        seats = tuple(self.seat(me) for _ in news)
        return groups.begin(seats, self.seat(me), group, news, 5000, retry, tuple(self.entropy() for _ in news), counters)

    def run(self, machine: Machine, sends: list[Send], reaches: Reaches = lambda _: True) -> Machine:
        """``reaches`` False: the message is lost, and the sender learns that no reply will come."""
        waiting = list(sends)
        while waiting:
            send = waiting.pop(0)
            reply = self.apply(send.node, send.message, send.secret) if reaches(send) else None
            if not isinstance(send.message, ONE_WAY):
                machine, more = step(machine, Heard(send, reply))
                waiting += more
        return machine


def to(*nodes: str) -> Reaches:
    """Only messages to these nodes arrive."""
    return lambda send: send.node in nodes


def without(kind: type, *nodes: str) -> Reaches:
    """All messages arrive, but those of a kind to these nodes (to all, if none is named) are lost."""
    return lambda send: not (isinstance(send.message, kind) and (not nodes or send.node in nodes))
