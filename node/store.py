"""Records in and out: applies lists of messages to the store, one transaction for a whole list (PROTO-3).

The decisions are ``model.participant``'s; here registers are loaded as far as a message reaches, stepped, and written back.
Threads that come while a transaction is under way are served together by the next one, so many acknowledgements share one
sync of the disk.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import peewee

from model.message import (
    Addressed,
    Change,
    ChangePage,
    ChangesAfter,
    Confirm,
    Erase,
    Fence,
    NamePage,
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
from node import rows
from node.schema import StoreError, connect

logger = logging.getLogger(__name__)

_READS = (Query, NamesAfter, ChangesAfter)
_KNOWLEDGE = (Confirm, Void, Release)  # needs no sync of its own: it can be learnt again
_BATCH_MESSAGES = 2048
_CHECKPOINT_TRIES = 20


class _Turn:
    """One thread's messages, waiting for a transaction. ``replies`` is None until one has taken them."""

    __slots__ = ("messages", "replies")

    def __init__(self, messages: Sequence[Addressed]) -> None:
        self.messages = messages
        self.replies: list[Reply] | None = None


class Store:
    """A node's durable state. Thread-safe; every thread reads on its own connection, writers take turns."""

    def __init__(self, database: peewee.SqliteDatabase, node: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._node = node
        self._clock = clock
        self._writing = threading.Lock()
        self._waiting: deque[_Turn] = deque()
        self._leases: dict[SecretId, Lease] = {}
        self.id = self._meta("store_id") or b""
        if not self.id or self._meta("node") != node.encode():
            raise StoreError(f"{database.database}: not the store of {node}; put that back, or move this away to recover from the peers")
        self._floor = rows.ballot_in(self._meta("floor"))
        self._serving = self._meta("serving") == b"1"
        self._revision = self._scalar("SELECT max(revision) FROM register") or 0
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

    def serve_from(self, counter: int) -> None:
        """Recovery is over: from now on serve, and promise nothing at or below ballot counter ``counter`` (PROTO-12)."""
        with self._writing, self._database.atomic("IMMEDIATE"):
            self._raise_floor(counter)
            self._put_meta("serving", b"1")
        self._serving = True

    def apply(self, messages: Sequence[Addressed]) -> list[Reply]:
        """Apply ``messages`` in order; what the replies promise is durable. A disk that refuses makes every reply ``Unfit``."""
        if all(isinstance(addressed.message, _READS) for addressed in messages):
            return self._read(messages)
        turn = _Turn(messages)
        self._waiting.append(turn)
        with self._writing:
            if turn.replies is None:
                self._transact()
        assert turn.replies is not None, "a turn is served by the transaction it waited for"
        return turn.replies

    def promised_counter(self, secret: SecretId) -> int:
        """The counter of the highest ballot promised for ``secret``: a new proposal starts above it."""
        found = self._scalar("SELECT counter FROM register WHERE namespace = ? AND name = ?", (secret.namespace, secret.name))
        return max(found or 0, self._floor.counter)

    def unfinished(self, before_revision: int, limit: int) -> list[SecretId]:
        """Secrets whose newest record is not known chosen, or a tombstone not carried out, since ``before_revision`` or longer."""
        cursor = self._database.execute_sql(
            "SELECT namespace, name FROM register WHERE unfinished AND revision <= ? ORDER BY revision LIMIT ?", (before_revision, limit)
        )
        return [SecretId(namespace, name) for namespace, name in cursor.fetchall()]

    def missing(self, changes: Sequence[Change]) -> list[SecretId]:
        """Which of a peer's ``changes`` this node has not: its own newest record is another, or none."""
        lacking = []
        for change in changes:
            newest = self._scalar(
                "SELECT newest FROM register WHERE namespace = ? AND name = ?", (change.secret.namespace, change.secret.name)
            )
            if rows.ballot_in(newest) != change.newest:
                lacking.append(change.secret)
        return lacking

    @property
    def revision(self) -> int:
        """Counts the changes of records in this store."""
        return self._revision

    def note(self, key: str) -> bytes | None:
        """A small fact kept for the node itself, such as how far it has caught up with a peer."""
        return self._meta(f"note/{key}")

    def put_note(self, key: str, value: bytes) -> None:
        with self._writing, self._database.atomic("IMMEDIATE"):
            self._put_meta(f"note/{key}", value)

    def close(self) -> None:
        self._database.close()

    def _read(self, messages: Sequence[Addressed]) -> list[Reply]:
        try:
            return [self._look(addressed) for addressed in messages]
        except peewee.DatabaseError:
            logger.exception("the store cannot be read")
            return [Unfit() for _ in messages]

    def _look(self, addressed: Addressed) -> Reply:
        match addressed.message:
            case NamesAfter() as asked:
                return self._names(addressed.secret.namespace, asked)
            case ChangesAfter() as asked:
                return self._changes(asked)
        _, register = self._load(addressed)
        return step(Seat(addressed.secret, self._node), register, addressed.message, self._now_ms())[1]

    def _transact(self) -> None:
        """Serve the turns that wait, in one transaction. Called by the one thread that holds ``_writing``."""
        turns: list[_Turn] = []
        count = 0
        while self._waiting and count < _BATCH_MESSAGES:
            turns.append(self._waiting.popleft())
            count += len(turns[-1].messages)
        messages = [addressed for turn in turns for addressed in turn.messages]
        replies = self._commit(messages)
        start = 0
        for turn in turns:
            turn.replies = replies[start : start + len(turn.messages)]
            start += len(turn.messages)

    def _commit(self, messages: list[Addressed]) -> list[Reply]:
        leases = dict[SecretId, Lease | None]()
        revision, counter, floor = self._revision, self._counter, self._floor
        durable = not all(isinstance(addressed.message, _KNOWLEDGE) for addressed in messages)
        try:
            self._database.execute_sql(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            with self._database.atomic("IMMEDIATE"):
                replies = [self._apply(addressed, leases) for addressed in messages]
            if any(isinstance(addressed.message, Erase) for addressed in messages) and not self._scrub_log():
                replies = [Unfit() if isinstance(each.message, Erase) else reply for each, reply in zip(messages, replies, strict=True)]
        except peewee.DatabaseError:
            logger.exception("the store refused a transaction; nothing of it was kept")
            self._revision, self._counter, self._floor = revision, counter, floor
            return [Unfit() for _ in messages]
        for secret, lease in leases.items():
            if lease is None:
                self._leases.pop(secret, None)
            else:
                self._leases[secret] = lease
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

    def _load(self, addressed: Addressed, leases: dict[SecretId, Lease | None] | None = None) -> tuple[rows.Row | None, Register]:
        secret = addressed.secret
        row, register = rows.load(self._database, secret, reach(addressed.message), self._floor)
        lease = leases[secret] if leases is not None and secret in leases else self._leases.get(secret)
        if lease is not None and lease.until_ms > self._now_ms():
            register = rows.with_lease(register, lease)
        return row, register

    def _names(self, namespace: str, asked: NamesAfter) -> NamePage:
        cursor = self._database.execute_sql(
            "SELECT name FROM register WHERE live AND namespace = ? AND name > ? AND name >= ? AND name < ? ORDER BY name LIMIT ?",
            (namespace, asked.after, asked.prefix, asked.prefix + "\U0010ffff", asked.limit + 1),
        )
        names = [name for (name,) in cursor.fetchall()]
        return NamePage(tuple(names[: asked.limit]), len(names) > asked.limit)

    def _changes(self, asked: ChangesAfter) -> ChangePage:
        cursor = self._database.execute_sql(
            "SELECT namespace, name, newest, revision FROM register WHERE revision > ? ORDER BY revision LIMIT ?",
            (asked.revision, asked.limit + 1),
        )
        found = cursor.fetchall()
        changes = tuple(Change(SecretId(namespace, name), rows.ballot_in(newest)) for namespace, name, newest, _ in found[: asked.limit])
        revision = found[min(len(found), asked.limit) - 1][3] if found else asked.revision
        return ChangePage(changes, revision, self._counter, len(found) > asked.limit)

    def _scrub_log(self) -> bool:
        """Empty the write-ahead log, which may still hold what was just erased. False if readers kept it busy all the time."""
        for _ in range(_CHECKPOINT_TRIES):
            busy, _log, _done = self._database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if not busy:
                return True
            time.sleep(0.005)
        return False

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
