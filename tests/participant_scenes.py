"""A register of one node in which four records may stand: a create, an update, a delete, a create again."""

from __future__ import annotations

import msgspec
from scenes import SECRET, ballot, cut_of, header_of

from model import participant
from model.message import Message, Promised, Reply, Snapshot, Write
from model.record import ZERO, Cut, Held, Kind, Register

CREATE = cut_of(header_of(1))
UPDATE = cut_of(header_of(2, CREATE.header))
TOMBSTONE = cut_of(header_of(3, UPDATE.header, kind=Kind.TOMBSTONE))
AGAIN = cut_of(header_of(4, TOMBSTONE.header))


def step(register: Register, message: Message, now_ms: int = 0, node: str = "n1") -> tuple[Register, Reply]:
    return participant.step(participant.Seat(SECRET, node), register, message, now_ms)


def holding(*records: Held, promised: int = 0, **more: object) -> Register:
    register = Register(ballot(promised) if promised else ZERO, records=records)
    return msgspec.structs.replace(register, **more)


def write_of(record: Cut, at: int | None = None, node: str = "n1") -> Write:
    accepted = record.header.tag if at is None else ballot(at)
    return Write(accepted, record.header, record.shares.get(node), record.sealed)


def counters(register: Register) -> list[int]:
    return [each.header.tag.counter for each in register.records]


def shown(reply: Reply) -> list[tuple[int, bool, bool]]:
    snapshot = reply.snapshot if isinstance(reply, Promised) else reply
    assert isinstance(snapshot, Snapshot)
    return [(each.tag.counter, each.share is not None, each.sealed is not None) for each in snapshot.views]
