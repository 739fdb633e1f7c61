"""The tables of a node's store, as Peewee models, and their migrations (specs/storage-record.md).

``PRAGMA user_version`` counts the migrations that a file has seen; each runs once, in one transaction, when the store opens.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import peewee

PRAGMAS = {
    "journal_mode": "wal",
    "synchronous": "full",  # what is acknowledged has been synced; NORMAL loses committed rows in a power cut
    "secure_delete": "on",  # what is deleted is overwritten with zeros
    "temp_store": "memory",  # no plaintext pages of sorts in temporary files
    "foreign_keys": "on",
    "cache_size": -8192,  # 8 MiB, whatever the size of the store
    "busy_timeout": 250,  # writers take turns in the process; only a checkpoint ever waits, for readers
    "wal_autocheckpoint": 2000,
}


class StoreError(Exception):
    """The database file cannot be used; the text names the file and says what to do, for the operator."""


class Tables(NamedTuple):
    """The model classes of one database."""

    meta: type[peewee.Model]
    register: type[peewee.Model]
    shard: type[peewee.Model]


def tables(database: peewee.SqliteDatabase) -> Tables:
    """The store's tables, bound to ``database``."""

    class Fact(peewee.Model):
        """Facts about the whole store: id, floor, whether it serves."""

        key = peewee.TextField(primary_key=True)
        value = peewee.BlobField()

        class Meta:
            table_name = "meta"
            without_rowid = True

    class Register(peewee.Model):
        """One secret's register, or one group's. Ballots and tags are msgpack.

        ``settled`` is the sequence of the newest record known to be chosen; ``live``: that or one above it is a value.
        """

        namespace = peewee.TextField()
        name = peewee.TextField()
        promised = peewee.BlobField()
        counter = peewee.IntegerField()
        erased = peewee.BlobField()
        newest = peewee.BlobField()
        settled = peewee.IntegerField()
        live = peewee.BooleanField()
        unfinished = peewee.BooleanField()
        revision = peewee.IntegerField()

        class Meta:
            table_name = "register"
            indexes = ((("namespace", "name"), True), (("revision",), False))

    class Shard(peewee.Model):
        """One record of one register: the header, this node's share, the sealed value."""

        register = peewee.ForeignKeyField(Register, on_delete="CASCADE", index=False)
        sequence = peewee.IntegerField()
        tag = peewee.BlobField()
        version = peewee.IntegerField()
        kind = peewee.IntegerField()
        chosen = peewee.BooleanField()
        ballot = peewee.BlobField()
        header = peewee.BlobField()
        share = peewee.BlobField(null=True)
        sealed = peewee.BlobField(null=True)
        retry_key = peewee.BlobField(null=True)

        class Meta:
            table_name = "shard"
            indexes = ((("register", "sequence", "tag"), True),)

    database.bind([Fact, Register, Shard])
    return Tables(Fact, Register, Shard)


def _first(database: peewee.SqliteDatabase) -> None:
    created = tables(database)
    database.create_tables(created, safe=False)
    database.execute_sql("CREATE INDEX register_live ON register (namespace, name) WHERE live")
    database.execute_sql("CREATE INDEX register_unfinished ON register (revision) WHERE unfinished")
    database.execute_sql("CREATE INDEX shard_retry ON shard (register_id, retry_key) WHERE retry_key IS NOT NULL")
    database.execute_sql("CREATE INDEX shard_tombstone ON shard (register_id) WHERE kind = 2")


def _touch(path: Path) -> None:
    """Create an empty file that nobody else may read; SQLite gives its log the same rights. Raises StoreError if there is one."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise StoreError(f"{path}: the store cannot be created ({error.strerror})") from error


MIGRATIONS: tuple[Callable[[peewee.SqliteDatabase], None], ...] = (_first,)


def connect(path: Path, *, create: bool = False) -> peewee.SqliteDatabase:
    """Open the store at ``path`` and bring its tables up to date. Raises StoreError: no such file (unless ``create``), or a newer one."""
    if create:
        _touch(path)
    elif not path.exists():
        raise StoreError(f"{path}: there is no store; a new cluster's node is founded with: python -m node.found CONFIG")
    database = peewee.SqliteDatabase(str(path), pragmas=PRAGMAS, timeout=5)
    try:
        database.connect()
        seen = database.pragma("user_version")
        if seen > len(MIGRATIONS):
            raise StoreError(f"{path}: written by a newer kofn (schema {seen}, this one knows {len(MIGRATIONS)}); upgrade this node")
        for number, migration in enumerate(MIGRATIONS[seen:], start=seen + 1):
            with database.atomic("IMMEDIATE"):
                migration(database)
                database.pragma("user_version", number)
    except peewee.DatabaseError as error:
        raise StoreError(f"{path}: not a usable store ({error}); move it away and start the node to recover it from its peers") from error
    return database
