"""A store's file: who may read it, what it is opened with, and which files are refused."""

from __future__ import annotations

import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from node.schema import MIGRATIONS, StoreError, connect, tables


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def test_nobody_else_may_read_a_stores_files(path: Path) -> None:
    database = connect(path, create=True)
    database.execute_sql("INSERT INTO meta (key, value) VALUES ('a', x'00')")
    files = sorted(path.parent.iterdir())
    assert [each.name for each in files] == ["store.db", "store.db-shm", "store.db-wal"]
    assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}


def test_every_threads_connection_syncs_fully_and_overwrites_what_it_deletes(path: Path) -> None:
    database = connect(path, create=True)
    seen = []

    def look() -> None:
        names = ("journal_mode", "synchronous", "secure_delete", "temp_store", "foreign_keys")
        seen.append([database.execute_sql(f"PRAGMA {name}").fetchone()[0] for name in names])
        database.close()

    look()
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [["wal", 2, 1, 2, 1]] * 2


def test_the_migrations_make_the_tables_that_the_models_describe(path: Path) -> None:
    database = connect(path, create=True)
    assert database.pragma("user_version") == len(MIGRATIONS)
    for model in tables(database):
        columns = {column.name for column in database.get_columns(model._meta.table_name)}
        assert columns == {field.column_name for field in model._meta.sorted_fields}


def test_opening_again_changes_nothing(path: Path) -> None:
    database = connect(path, create=True)
    database.execute_sql("INSERT INTO meta (key, value) VALUES ('a', x'00')")
    database.close()
    again = connect(path)
    assert again.execute_sql("SELECT count(*) FROM meta").fetchone() == (1,)


def test_a_store_is_not_created_over_another(path: Path) -> None:
    connect(path, create=True).close()
    with pytest.raises(StoreError, match=r"store\.db"):
        connect(path, create=True)


def test_a_store_that_is_not_there_is_not_opened(path: Path) -> None:
    with pytest.raises(StoreError, match="founded"):
        connect(path)
    assert not path.exists()


def test_a_store_of_a_newer_kofn_is_refused(path: Path) -> None:
    connect(path, create=True).close()
    with sqlite3.connect(path) as raw:
        raw.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    raw.close()
    with pytest.raises(StoreError, match="newer"):
        connect(path)


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"not a database, and long enough to be looked at" * 100)
    with pytest.raises(StoreError, match="recover"):
        connect(path)


def test_a_file_that_was_cut_short_is_refused(path: Path) -> None:
    database = connect(path, create=True)
    database.close()
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(StoreError, match="recover"):
        connect(path)
