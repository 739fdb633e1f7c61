"""Records in and out: applies lists of messages to the store, one transaction for a whole list (PROTO-3).

The decisions are ``model.participant``'s; here registers are loaded as far as a message reaches, stepped, and written back.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import peewee

from model.message import (
    Addressed,
    Change,
    ChangesAfter,
    Confirm,
    Erase,
    Fence,
    NamesAfter,
    Noted,
    Query,
    Release,
    Reply,
    Unfit,
    Void,
)
from model.operation import SecretId
from model.participant import Seat, reach, step
from model.record import Ballot, Lease, Register
from node import catalogue, rows
from node.leases import Leases
from node.schema import StoreError, connect
from node.turns import Turns

logger = logging.getLogger(__name__)

_READS = (Query, NamesAfter, ChangesAfter)
_KNOWLEDGE = (Confirm, Void, Release)  # needs no sync of its own: it can be learnt again
_UNSYNCED_REVISIONS = 1 << 20
"""More than the marks that a power cut can take back: peers may have counted those already, so their numbers are not given again."""


class Store:
    """A node's durable state. Thread-safe; every thread reads on its own connection, writers take turns."""

    def __init__(self, database: peewee.SqliteDatabase, node: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._node = node
        self._clock = clock
        self._turns = Turns(self._commit)
        self._leases = Leases()
        self._must_scrub = True
        self._refusing = False
        self.id = self._meta("store_id") or b""
        if not self.id or self._meta("node") != node.encode():
            raise StoreError(f"{database.database}: not the store of {node}; put that back, or move this away to recover from the peers")
        self._floor = rows.ballot_in(self._meta("floor"))
        self._serving = self._meta("serving") == b"1"
        self._revision = (self._scalar("SELECT max(revision) FROM register") or 0) + _UNSYNCED_REVISIONS
        self._counter = max(self._floor.counter, self._scalar("SELECT max(counter) FROM register") or 0)

    @classmethod
    def open(cls, path: Path, node: str, clock: Callable[[], float] = time.monotonic) -> Store:
        """The store at ``path``; without one, a new store that does not serve until it has recovered (PROTO-12). Raises StoreError."""
        if path.exists():
            return cls(connect(path), node, clock)
        return cls._create(path, node, clock, serving=False)

    @classmethod
    def found(cls, path: Path, node: str, clock: Callable[[], float] = time.monotonic) -> Store:
        """A new store of a brand-new cluster. Raises StoreError."""
        return cls._create(path, node, clock, serving=True)

    @classmethod
    def _create(cls, path: Path, node: str, clock: Callable[[], float], *, serving: bool) -> Store:
        database = connect(path, create=True)
        facts = {"store_id": secrets.token_bytes(16), "serving": b"1" if serving else b"0", "node": node.encode()}
        with database.atomic("IMMEDIATE"):
            for key, value in facts.items():
                database.execute_sql("INSERT INTO meta (key, value) VALUES (?, ?)", (key, value))
        return cls(database, node, clock)

    @property
    def serving(self) -> bool:
        """Whether this node votes and answers; false while it recovers from a lost disk."""
        return self._serving

    @property
    def refusing(self) -> bool:
        """Whether the disk refused the last transaction. What this node coordinates could not keep its own share then."""
        return self._refusing

    def serve_from(self, counter: int) -> None:
        """Recovery is over: from now on serve, and promise nothing at or below ballot counter ``counter`` (PROTO-12)."""
        with self._turns.alone, self._database.atomic("IMMEDIATE"):
            self._raise_floor(counter)
            self._put_meta("serving", b"1")
        self._serving = True

    def apply(self, messages: Sequence[Addressed]) -> list[Reply]:
        """Apply ``messages`` in order; what the replies promise is durable. A disk that refuses makes every reply ``Unfit``."""
        if all(isinstance(addressed.message, _READS) for addressed in messages):
            return self._read(messages)
        return self._turns.ask(messages)

    def promised_counter(self, secret: SecretId) -> int:
        """The counter of the highest ballot promised for ``secret``: a new proposal starts above it."""
        try:
            found = self._scalar("SELECT counter FROM register WHERE namespace = ? AND name = ?", (secret.namespace, secret.name))
        except peewee.DatabaseError:  # this store will not vote either, and that ends the proposal
            found = 0
        return max(found or 0, self._floor.counter)

    def unfinished(self, before_revision: int, limit: int) -> list[SecretId]:
        """Secrets whose newest record is not known chosen, or a tombstone not carried out, since ``before_revision`` or longer."""
        return catalogue.unfinished(self._database, before_revision, limit)

    def missing(self, changes: Sequence[Change]) -> list[SecretId]:
        """Which of a peer's ``changes`` this node has not whole: its newest record is another, or a version or a share is missing."""
        return catalogue.missing(self._database, changes)

    @property
    def revision(self) -> int:
        """Counts the changes of records in this store."""
        return self._revision

    @property
    def lease_count(self) -> int:
        """How many leases are remembered, those that ran out since they were last looked for included."""
        return len(self._leases)

    @property
    def waiting_count(self) -> int:
        """How many lists of messages wait for a transaction."""
        return len(self._turns)

    def note(self, key: str) -> bytes | None:
        """A small fact kept for the node itself, such as how far it has caught up with a peer."""
        return self._meta(f"note/{key}")

    def put_note(self, key: str, value: bytes) -> None:
        with self._turns.alone, self._database.atomic("IMMEDIATE"):
            self._put_meta(f"note/{key}", value)

    def close(self) -> None:
        self._database.close()

    def _read(self, messages: Sequence[Addressed]) -> list[Reply]:
        replies: list[Reply] = []
        for addressed in messages:
            try:
                replies.append(self._look(addressed))
            except Exception:  # a page or a row may be corrupt in any way
                logger.exception("the store cannot be read")
                replies.append(Unfit())
        return replies

    def _look(self, addressed: Addressed) -> Reply:
        match addressed.message:
            case NamesAfter() as asked:
                return catalogue.names(self._database, addressed.secret.namespace, asked)
            case ChangesAfter() as asked:
                return catalogue.changes(self._database, asked, self._counter)
        _, register = self._load(addressed, {})
        return step(Seat(addressed.secret, self._node), register, addressed.message, self._now_ms())[1]

    def _commit(self, messages: Sequence[Addressed]) -> list[Reply] | None:
        """Apply ``messages`` in one transaction. None if it came to nothing: then nothing has changed."""
        leases = dict[SecretId, Lease | None]()
        revision, counter, floor = self._revision, self._counter, self._floor
        durable = not all(isinstance(addressed.message, _KNOWLEDGE) for addressed in messages)
        try:
            self._database.execute_sql(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            with self._database.atomic("IMMEDIATE"):
                replies = [self._apply(addressed, leases) for addressed in messages]
        except Exception as error:  # a full disk, a corrupt row, a number that SQLite cannot hold
            logger.exception("a transaction failed; nothing of it was kept")
            self._refusing = isinstance(error, peewee.DatabaseError)
            self._revision, self._counter, self._floor = revision, counter, floor
            return None
        self._refusing = self._refusing and not durable  # a lease that ends is no proof that the disk takes anything
        self._leases.take_over(leases, self._now_ms())
        if self._must_scrub or any(isinstance(addressed.message, Erase) for addressed in messages):
            self._must_scrub = not self._scrub_log()
        if self._must_scrub:
            return [Unfit() if isinstance(each.message, Erase) else reply for each, reply in zip(messages, replies, strict=True)]
        return replies

    def _apply(self, addressed: Addressed, leases: dict[SecretId, Lease | None]) -> Reply:
        if isinstance(addressed.message, _READS):
            return self._look(addressed)
        if isinstance(addressed.message, Fence):
            return Noted(self._raise_floor(addressed.message.counter))
        row, before = self._load(addressed, leases)
        after, reply = step(Seat(addressed.secret, self._node), before, addressed.message, self._now_ms())
        if after.lease is not before.lease:
            leases[addressed.secret] = after.lease
        if (after.promised, after.erased, after.records) != (before.promised, before.erased, before.records):
            if after.records is not before.records:
                self._revision += 1
            self._counter = max(self._counter, after.promised.counter)
            rows.save(self._database, addressed.secret, row, before, after, self._revision)
        return reply

    def _raise_floor(self, counter: int) -> bool:
        """Refuse every ballot up to ``counter`` for every secret. Within a transaction; false if they were refused already."""
        if counter <= self._floor.counter:
            return False
        self._floor = Ballot(counter, "\U0010ffff", 0)
        self._counter = max(self._counter, counter)
        self._put_meta("floor", rows.ballot_out(self._floor))
        return True

    def _load(self, addressed: Addressed, leases: dict[SecretId, Lease | None]) -> tuple[rows.Row | None, Register]:
        row, register = rows.load(self._database, addressed.secret, reach(addressed.message), self._floor)
        lease = self._leases.running(addressed.secret, leases, self._now_ms())
        return row, register if lease is None else rows.with_lease(register, lease)

    def _scrub_log(self) -> bool:
        """Empty the write-ahead log, which may still hold what was just erased.

        False if that failed, because a reader keeps the log busy or the disk refuses: then the next transaction tries again, and
        no erasure is acknowledged until one succeeds.
        """
        try:
            busy, _log, _done = self._database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except peewee.DatabaseError:
            logger.exception("the write-ahead log cannot be emptied yet")
            return False
        return not busy

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)

    def _meta(self, key: str) -> bytes | None:
        value = self._scalar("SELECT value FROM meta WHERE key = ?", (key,))
        return None if value is None else bytes(value)

    def _put_meta(self, key: str, value: bytes) -> None:
        self._database.execute_sql(
            "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", (key, value)
        )

    def _scalar(self, sql: str, parameters: tuple[object, ...] = ()) -> Any:
        row = self._database.execute_sql(sql, parameters).fetchone()
        return None if row is None else row[0]
