"""Registers as rows: the store's hot statements, by SQL on Peewee's connection (its model layer costs ten times as much a row)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import peewee

from model.operation import SecretId
from model.participant import Reach
from model.record import ZERO, Ballot, Header, Held, Kind, Lease, Register

_encode = msgspec.msgpack.Encoder().encode
_ballot = msgspec.msgpack.Decoder(Ballot).decode
_header = msgspec.msgpack.Decoder(Header).decode

_SHARDS = "SELECT header, ballot, chosen, share, sealed FROM shard WHERE register_id = ?"
_EVERYTHING = (
    "SELECT register.id, settled, promised, erased, header, ballot, chosen, share, sealed FROM register"
    " LEFT JOIN shard ON register_id = register.id WHERE namespace = ? AND name = ?"
)
_FROM_SETTLED = _EVERYTHING.replace("register_id = register.id", "register_id = register.id AND sequence >= settled")
"""One statement, so that a reader sees a register as it was at one moment."""


Execute = Callable[..., Any]


class Row(NamedTuple):
    """A register's row: its number and the sequence of the newest record known to be chosen."""

    id: int
    settled: int


def load(database: peewee.SqliteDatabase, secret: SecretId, reach: Reach, floor: Ballot) -> tuple[Row | None, Register]:
    """The register as far as ``reach`` needs it: the newest known-chosen record and all above, and what was asked for beside."""
    execute: Execute = database.execute_sql
    statement = _EVERYTHING if reach.everything else _FROM_SETTLED
    if not reach.shards:
        statement = statement.replace("share, sealed", "NULL, NULL")
    found = execute(statement, (secret.namespace, secret.name)).fetchall()
    if not found:
        return None, Register(promised=floor)
    number, settled, promised, erased = found[0][:4]
    lowest = 0 if reach.everything else settled
    shards = [row[4:] for row in found if row[4] is not None]
    if reach.tag is not None and lowest:
        shards += execute(_SHARDS + " AND tag = ? AND sequence < ?", (number, _encode(reach.tag), lowest)).fetchall()
    if reach.retry_key is not None and lowest:
        shards += execute(_SHARDS + " AND retry_key = ? AND sequence < ?", (number, reach.retry_key, lowest)).fetchall()
        shards += execute(_SHARDS + " AND kind = 2 AND sequence < ?", (number, lowest)).fetchall()
    records = {held.header.tag: held for held in map(_held, shards)}
    ordered = tuple(sorted(records.values(), key=lambda held: (held.header.sequence, held.header.tag)))
    return Row(number, settled), Register(max(_ballot(promised), floor), _ballot(erased), ordered)


def save(database: peewee.SqliteDatabase, secret: SecretId, row: Row | None, before: Register, after: Register, revision: int) -> None:
    """Write back what a step changed."""
    execute: Execute = database.execute_sql
    same_records = after.records is before.records
    if row is not None and same_records:
        execute(
            "UPDATE register SET promised = ?, counter = ?, erased = ? WHERE id = ?",
            (_encode(after.promised), after.promised.counter, _encode(after.erased), row.id),
        )
        return
    newest = after.records[-1] if after.records else None
    settled = max((held.header.sequence for held in after.records if held.chosen), default=0)
    may_live = any(held.header.kind is Kind.VALUE and held.header.sequence >= settled for held in after.records)
    carried_out = newest is None or newest.header.kind is not Kind.TOMBSTONE or after.erased >= newest.header.tag
    values = (
        _encode(after.promised),
        after.promised.counter,
        _encode(after.erased),
        _encode(newest.header.tag if newest is not None else ZERO),
        settled,
        may_live,
        newest is not None and not (newest.chosen and carried_out),
        revision,
    )
    if row is None:
        cursor = execute(
            "INSERT INTO register (promised, counter, erased, newest, settled, live, unfinished, revision, namespace, name)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*values, secret.namespace, secret.name),
        )
        number = cursor.lastrowid
    else:
        number = row.id
        execute(
            "UPDATE register SET promised = ?, counter = ?, erased = ?, newest = ?, settled = ?, live = ?, unfinished = ?, revision = ?"
            " WHERE id = ?",
            (*values, number),
        )
    _save_records(database, number, before, after)


def with_lease(register: Register, lease: Lease) -> Register:
    """The register with its volatile part."""
    return msgspec.structs.replace(register, lease=lease)


def ballot_in(value: bytes | None) -> Ballot:
    """A ballot as stored; ZERO for none."""
    return ZERO if value is None else _ballot(value)


def header_in(value: bytes) -> Header:
    """A header as stored."""
    return _header(value)


def ballot_out(ballot: Ballot) -> bytes:
    return _encode(ballot)


def _save_records(database: peewee.SqliteDatabase, number: int, before: Register, after: Register) -> None:
    execute: Execute = database.execute_sql
    old = {held.header.tag: held for held in before.records}
    for held in after.records:
        tag = held.header.tag
        known = old.pop(tag, None)
        if known is held:
            continue
        if known is not None and (known.header, known.share, known.sealed) == (held.header, held.share, held.sealed):
            execute(
                "UPDATE shard SET chosen = ?, ballot = ? WHERE register_id = ? AND sequence = ? AND tag = ?",
                (held.chosen, _encode(held.ballot), number, held.header.sequence, _encode(tag)),
            )
            continue
        header = held.header
        execute(
            "INSERT OR REPLACE INTO shard (register_id, sequence, tag, version, kind, chosen, ballot, header, share, sealed, retry_key)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                number,
                header.sequence,
                _encode(tag),
                header.version,
                int(header.kind),
                held.chosen,
                _encode(held.ballot),
                _encode(header),
                held.share,
                held.sealed,
                header.retry.key if header.retry is not None else None,
            ),
        )
    for tag, held in old.items():
        execute("DELETE FROM shard WHERE register_id = ? AND sequence = ? AND tag = ?", (number, held.header.sequence, _encode(tag)))


def _held(row: tuple[bytes, bytes, int, bytes | None, bytes | None]) -> Held:
    header, ballot, chosen, share, sealed = row
    return Held(_header(header), _ballot(ballot), bool(chosen), share, sealed)
