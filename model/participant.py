"""One node's machine for one secret: ``step(seat, register, message, now) -> (register, reply)`` (PROTO-4 to PROTO-8).

It decides what a node may promise, accept, mark, erase and take over. Storing the result before the reply leaves, and
grouping many steps into one transaction, is the node's business (``node.store``).
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from model.message import (
    Accepted,
    Confirm,
    Erase,
    Erased,
    Locked,
    Message,
    Noted,
    Promised,
    Query,
    Refused,
    Release,
    Repair,
    Reply,
    Snapshot,
    View,
    Void,
    Vote,
    Write,
)
from model.operation import SecretId
from model.record import ZERO, Ballot, Header, Held, Lease, Register, sealed_is_sound, share_is_sound

_replace = msgspec.structs.replace


class Seat(NamedTuple):
    """Whose register it is: the secret, and the node that keeps it."""

    secret: SecretId
    node: str


class Reach(NamedTuple):
    """Which stored records a message must see beside the newest known-chosen one and all above it.

    ``shards`` False: of each its header, ballot and mark will do; shares and sealed values may be left out.
    """

    everything: bool = False
    tag: Ballot | None = None
    retry_key: bytes | None = None
    shards: bool = True


def reach(message: Message) -> Reach:
    """What must be loaded before ``step`` may be called with this message; more never changes the result."""
    match message:
        case Vote():
            return Reach(everything=message.gather, retry_key=message.retry_key)
        case Write():
            return Reach(everything=message.header.is_create, tag=message.header.base)
        case Repair():
            return Reach(everything=message.header.is_create, tag=message.header.tag)
        case Confirm():
            return Reach(tag=message.tag)
        case Query():
            return Reach(everything=message.lineage, tag=message.tag, shards=message.shares or message.sealed)
        case Erase() | Void():
            return Reach(everything=True)
        case _:
            return Reach()


def step(seat: Seat, register: Register, message: Message, now_ms: int) -> tuple[Register, Reply]:
    """Apply one message. ``now_ms`` is the node's monotonic clock, used for leases only."""
    match message:
        case Vote():
            return _vote(seat, register, message, now_ms)
        case Write():
            return _write(register, message)
        case Confirm():
            return _confirm(register, message.tag)
        case Void():
            return _void(register, message)
        case Release():
            return _end_lease(register, message.ballot), Noted(False)
        case Query():
            return register, _answer(seat, register, message, now_ms)
        case Erase():
            return _erase(register, message.header)
        case Repair():
            return _repair(seat, register, message)
        case _:
            raise TypeError(f"not a message for a participant: {type(message).__name__}")


def newest_chosen(records: tuple[Held, ...]) -> int:
    """The index of the newest record known to be chosen, 0 if none is: from here up a snapshot shows everything."""
    return max((index for index, held in enumerate(records) if held.chosen), default=0)


def _vote(seat: Seat, register: Register, vote: Vote, now_ms: int) -> tuple[Register, Reply]:
    if vote.ballot <= register.promised:
        return register, Refused(register.promised)
    lease = register.lease
    if lease is not None and now_ms < lease.until_ms and not lease.ballot.held_by_same(vote.ballot):
        return register, Locked(lease.until_ms - now_ms)
    register = _replace(register, promised=vote.ballot, lease=Lease(vote.ballot, now_ms + vote.lease_ms))
    first = 0 if vote.gather else newest_chosen(register.records)
    views = tuple(
        _view(
            seat, held, shares=not held.chosen or _carries(held, vote.retry_key), sealed=not held.chosen or _carries(held, vote.retry_key)
        )
        for index, held in enumerate(register.records)
        if index >= first or _carries(held, vote.retry_key)
    )
    return register, Promised(vote.ballot, Snapshot(register.promised, register.erased, views))


def _write(register: Register, write: Write) -> tuple[Register, Reply]:
    header = write.header
    overtaken = any(held.chosen and held.header.tag > header.tag for held in register.records)
    if write.ballot < register.promised or header.tag < register.erased or overtaken:
        return register, Refused(register.promised)
    before = register.held(header.tag)
    held = Held(header, write.ballot, before is not None and before.chosen, write.share, write.sealed)
    older = tuple(other for other in register.records if other.header.tag < header.tag)
    register = _replace(register, promised=write.ballot, records=older)
    return _keep(register, held), Accepted(write.ballot, header.tag)


def _confirm(register: Register, tag: Ballot) -> tuple[Register, Reply]:
    held = register.held(tag)
    register = _end_lease(register, tag)
    if held is None or held.chosen:
        return register, Noted(False)
    return _keep(register, _replace(held, chosen=True)), Noted(True)


def _void(register: Register, void: Void) -> tuple[Register, Reply]:
    """Drop what a vote showed to be dead. What lies below a record known to be chosen stays: histories rely on it (PROTO-9), and an older
    Void may be late.
    """
    newest = max((held.header.tag for held in register.records if held.chosen), default=ZERO)
    kept = tuple(
        held for held in register.records if held.header.tag <= newest or held.header.tag not in void.tags or held.ballot >= void.ballot
    )
    return _replace(register, records=kept), Noted(len(kept) < len(register.records))


def _erase(register: Register, tombstone: Header) -> tuple[Register, Reply]:
    before = register.held(tombstone.tag)
    held = _replace(before, chosen=True) if before is not None else Held(tombstone, ZERO, True, None, None)
    if register.erased < tombstone.tag:
        newer = tuple(other for other in register.records if other.header.tag > tombstone.tag)
        promised = max(register.promised, tombstone.tag)
        register = _keep(_replace(register, promised=promised, erased=tombstone.tag, records=newer), held)
    return _end_lease(register, tombstone.tag), Erased(tombstone.tag)


def _repair(seat: Seat, register: Register, repair: Repair) -> tuple[Register, Reply]:
    header = repair.header
    before = register.held(header.tag)
    if header.tag < register.erased:
        return register, Noted(False)
    held = Held(header, before.ballot if before is not None else ZERO, True, repair.share, repair.sealed)
    if before is not None and (is_sound(seat, before) or not is_sound(seat, held)):
        return _confirm(register, header.tag)
    return _keep(register, held), Noted(True)


def is_sound(seat: Seat, held: Held) -> bool:
    """Whether this node's shard of the record is whole: its share is the committed one and the sealed value matches."""
    if not held.header.needs_shares:
        return True
    return share_is_sound(seat.secret, held.header, seat.node, held.share) and sealed_is_sound(held.header, held.sealed)


def _keep(register: Register, held: Held) -> Register:
    """Put ``held`` in its place, mark its base, drop what it proves dead (PROTO-5).

    Dead is what is older than ``held`` but not among its ancestors and, if ``held`` was chosen, what is newer but does not
    stand on it. A create stands on a tombstone that was chosen: what lies below is erased (PROTO-8).
    """
    header = held.header
    erased = register.erased
    if header.is_create and header.base is not None:
        erased = max(erased, header.base)
    kept = [held]
    for other in register.records:
        tag = other.header.tag
        if tag == header.tag or tag < erased:
            continue
        if tag < header.tag and not (header.names_ancestor(tag) and other.header.sequence < header.sequence):
            continue
        if tag > header.tag and held.chosen and not other.header.names_ancestor(header.tag):
            continue
        kept.append(_replace(other, chosen=True) if tag == header.base and not other.chosen else other)
    records = tuple(sorted(kept, key=lambda each: (each.header.sequence, each.header.tag)))
    return _replace(register, erased=erased, records=records)


def _end_lease(register: Register, ballot: Ballot) -> Register:
    """A proposal is over, its earlier rounds too; not a later one of the same process: this message may be late."""
    lease = register.lease
    if lease is not None and lease.ballot.held_by_same(ballot) and lease.ballot <= ballot:
        return _replace(register, lease=None)
    return register


def _carries(held: Held, retry_key: bytes | None) -> bool:
    if retry_key is None:
        return False
    header = held.header
    return (header.retry is not None and header.retry.key == retry_key) or any(entry.retry.key == retry_key for entry in header.buried)


def _answer(seat: Seat, register: Register, query: Query, now_ms: int) -> Snapshot:
    records, known = register.records, frozenset(query.known)
    if query.tag is not None:
        shown = tuple(held for held in records if held.header.tag == query.tag)
    else:
        shown = records if query.lineage else records[newest_chosen(records) :]
    views = tuple(_view(seat, held, shares=query.shares, sealed=query.sealed, known=held.header.tag in known) for held in shown)
    lease_ms = max(0, register.lease.until_ms - now_ms) if register.lease is not None else 0
    return Snapshot(register.promised, register.erased, views, lease_ms)


def _view(seat: Seat, held: Held, *, shares: bool, sealed: bool, known: bool = False) -> View:
    header = held.header
    share = held.share if shares and share_is_sound(seat.secret, header, seat.node, held.share) else None
    return View(header.tag, None if known else header, held.ballot, held.chosen, share, held.sealed if sealed and not known else None)
