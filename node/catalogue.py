"""Over all registers of a store: whose names look live, what changed since when, what stands unfinished, what is missing."""

from __future__ import annotations

from collections.abc import Sequence

import peewee

from model.message import Change, ChangePage, ChangesAfter, NamePage, NamesAfter
from model.operation import SecretId
from model.record import ZERO
from model.restoring import is_whole
from node import rows


def names(database: peewee.SqliteDatabase, namespace: str, asked: NamesAfter) -> NamePage:
    """A page of the names that may be live, sorted by code point."""
    cursor = database.execute_sql(
        "SELECT name FROM register WHERE live AND namespace = ? AND name > ? AND name >= ? AND name < ? ORDER BY name LIMIT ?",
        (namespace, asked.after, asked.prefix, asked.prefix + "\U0010ffff", asked.limit + 1),
    )
    found = [name for (name,) in cursor.fetchall()]
    return NamePage(tuple(found[: asked.limit]), len(found) > asked.limit)


def changes(database: peewee.SqliteDatabase, asked: ChangesAfter, counter: int) -> ChangePage:
    """A page of the registers whose records changed since, oldest change first. ``counter`` is passed on."""
    cursor = database.execute_sql(
        "SELECT namespace, name, newest, revision FROM register WHERE revision > ? ORDER BY revision LIMIT ?",
        (asked.revision, asked.limit + 1),
    )
    found = cursor.fetchall()
    page = found[: asked.limit]
    revision = page[-1][3] if page else asked.revision
    listed = tuple(Change(SecretId(namespace, name), rows.ballot_in(newest)) for namespace, name, newest, _ in page)
    return ChangePage(listed, revision, counter, len(found) > asked.limit)


def unfinished(database: peewee.SqliteDatabase, before_revision: int, limit: int) -> list[SecretId]:
    """Registers whose newest record is not known chosen, or a tombstone not carried out, unchanged since ``before_revision``."""
    cursor = database.execute_sql(
        "SELECT namespace, name FROM register WHERE unfinished AND revision <= ? ORDER BY revision LIMIT ?", (before_revision, limit)
    )
    return [SecretId(namespace, name) for namespace, name in cursor.fetchall()]


def missing(database: peewee.SqliteDatabase, changes: Sequence[Change]) -> list[SecretId]:
    """Those of ``changes`` whose newest record is another one here, or whose records are not all here and whole."""
    lacking = []
    for change in changes:
        found = database.execute_sql(
            "SELECT newest, header, share IS NOT NULL FROM register LEFT JOIN shard ON register_id = register.id"
            " WHERE namespace = ? AND name = ?",
            (change.secret.namespace, change.secret.name),
        ).fetchall()
        newest = rows.ballot_in(found[0][0]) if found else ZERO
        held = {rows.header_in(header): bool(has_share) for _, header, has_share in found if header is not None}
        if newest != change.newest or not is_whole(held):
            lacking.append(change.secret)
    return lacking
