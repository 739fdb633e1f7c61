"""The store keeps what it acknowledged, a whole list in one transaction, and behaves as if it always loaded everything."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from local_cluster import LocalCluster
from test_cluster_machine import ClusterMachine

from model.message import (
    Accepted,
    Addressed,
    ChangePage,
    ChangesAfter,
    Confirm,
    Erase,
    Erased,
    Fence,
    Locked,
    NamePage,
    NamesAfter,
    Promised,
    Query,
    Refused,
    Release,
    Repair,
    Reply,
    Snapshot,
    Unfit,
    Vote,
    Write,
)
from model.operation import SecretId
from model.participant import Seat, reach, step
from model.record import ZERO, Ballot, Cut, Entropy, Header, Kind, Register, cut
from node import rows
from node.config import Settings
from node.schema import StoreError, connect
from node.store import Store

SECRET = SecretId("default", "app/db")
NODES = ("node-1", "node-2", "node-3")
LEASE_MS = 1000


def ballot(counter: int, node: str = "node-1") -> Ballot:
    return Ballot(counter, node, 7)


def value(counter: int, base: Header | None = None, secret: SecretId = SECRET, text: bytes = b"a value") -> Cut:
    """A version as its coordinator cuts it: the create of a secret, or the next version on top of ``base``."""
    tag = ballot(counter)
    live = base is not None and base.kind is Kind.VALUE
    header = Header(
        tag=tag,
        kind=Kind.VALUE,
        incarnation=base.incarnation if base is not None and live else tag,
        sequence=base.sequence + 1 if base is not None else 1,
        version=base.version + 1 if base is not None and live else 1,
        base=base.tag if base is not None else None,
        doubts=(),
        valid_from=counter,
        threshold=2,
        placement=NODES,
    )
    seed = sha256(b"%d" % counter + text).digest()
    return cut(secret, header, text, Entropy(seed, seed[:12], (int.from_bytes(seed),)))


def tombstone(counter: int, base: Header) -> Header:
    tag = ballot(counter)
    return Header(tag, Kind.TOMBSTONE, base.incarnation, base.sequence + 1, base.version, base.tag, (), counter, 2, NODES)


def write(record: Cut, node: str = "node-1") -> Write:
    return Write(record.header.tag, record.header, record.shares[node], record.sealed)


def say(store: Store, *messages: Any, secret: SecretId = SECRET) -> list[Reply]:
    return store.apply([Addressed(secret, message) for message in messages])


def look(store: Store, secret: SecretId = SECRET) -> Snapshot:
    (snapshot,) = say(store, Query(lineage=True, shares=True, sealed=True), secret=secret)
    assert isinstance(snapshot, Snapshot)
    return snapshot


class HeldClock:
    """A clock that stands still, and that can hold whoever looks at it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.looked = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self) -> float:
        self.looked.set()
        assert self.go_on.wait(30)
        return self.now


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def store(path: Path, clock: HeldClock) -> Store:
    return Store.found(path, "node-1", clock)


def test_what_was_acknowledged_is_there_after_a_restart(store: Store, path: Path) -> None:
    record = value(1)
    assert [type(reply) for reply in say(store, Vote(ballot(1), LEASE_MS), write(record))] == [Promised, Accepted]
    say(store, Release(ballot(1)))
    before = look(store)
    store.close()
    assert look(Store.open(path, "node-1")) == before
    assert before.promised == ballot(1)
    assert before.views[0].share == record.shares["node-1"]


def test_a_restart_forgets_leases_and_no_promise(store: Store, path: Path, clock: HeldClock) -> None:
    say(store, Vote(ballot(5), LEASE_MS))
    assert say(store, Vote(ballot(6, "node-2"), LEASE_MS)) == [Locked(LEASE_MS)]
    store.close()
    again = Store.open(path, "node-1", clock)
    assert say(again, Vote(ballot(5, "node-0"), LEASE_MS)) == [Refused(ballot(5))]
    assert isinstance(say(again, Vote(ballot(6, "node-2"), LEASE_MS))[0], Promised)


def test_a_lease_ends_when_its_time_is_over(store: Store, clock: HeldClock) -> None:
    say(store, Vote(ballot(1), LEASE_MS))
    clock.now += LEASE_MS / 1000
    assert isinstance(say(store, Vote(ballot(2, "node-2"), LEASE_MS))[0], Promised)


def test_leases_that_nobody_ends_do_not_pile_up(store: Store, clock: HeldClock) -> None:
    for start in range(0, 20_000, 1000):
        store.apply([Addressed(SecretId("default", f"n{start + number}"), Vote(ballot(1), LEASE_MS)) for number in range(1000)])
        clock.now += 1.0
    assert store.lease_count <= 2 * 4096


def test_a_fence_holds_for_every_secret_and_through_a_restart(store: Store, path: Path) -> None:
    say(store, Vote(ballot(3), LEASE_MS), Release(ballot(3)))
    say(store, Fence(10), secret=SecretId("", ""))
    store.close()
    again = Store.open(path, "node-1")
    for secret in (SECRET, SecretId("default", "never seen")):
        assert isinstance(say(again, Vote(ballot(10), LEASE_MS), secret=secret)[0], Refused)
        assert again.promised_counter(secret) == 10
        assert isinstance(say(again, Vote(ballot(11), LEASE_MS), secret=secret)[0], Promised)


def test_threads_that_wait_share_one_transaction(store: Store, clock: HeldClock, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "peewee"):
        replies = _together(store, clock, [[Vote(ballot(number + 1), LEASE_MS)] for number in range(10)])
    assert all(isinstance(reply, Promised) for (reply,) in replies)
    begun = [record for record in caplog.records if "synchronous" in record.getMessage()]
    assert len(begun) == 2, "one for the thread that came first, one for the nine that waited meanwhile"


def test_more_may_wait_than_fit_into_one_transaction(store: Store, clock: HeldClock) -> None:
    lists = [[Vote(ballot(number + 1), LEASE_MS) for _ in range(900)] for number in range(8)]
    replies = _together(store, clock, lists)
    assert all(isinstance(each[0], Promised) and len(each) == 900 for each in replies)


def test_a_list_that_cannot_be_stored_fails_alone(store: Store, clock: HeldClock) -> None:
    lists: list[list[Any]] = [[Vote(ballot(number + 1), LEASE_MS)] for number in range(6)]
    lists[3] = [Vote(ballot(1), LEASE_MS), Vote(ballot(2**64 - 1), LEASE_MS)]  # SQLite's integers are 64 bits, with a sign
    replies = _together(store, clock, lists)
    assert replies[3] == [Unfit(), Unfit()]
    assert all(isinstance(reply, Promised) for number, (reply, *_) in enumerate(replies) if number != 3)
    assert look(store, SecretId("default", "n3")).promised == ZERO


def _together(store: Store, clock: HeldClock, lists: Sequence[Sequence[Any]]) -> list[list[Reply]]:
    """Apply each list in a thread of its own: the first is held in its transaction until all others wait. Each has its own secret."""
    replies: list[list[Reply]] = [[] for _ in lists]

    def apply(number: int) -> None:
        replies[number] = say(store, *lists[number], secret=SecretId("default", f"n{number}"))

    clock.looked.clear()
    clock.go_on.clear()
    threads = [threading.Thread(target=apply, args=(number,)) for number in range(len(lists))]
    threads[0].start()
    assert clock.looked.wait(30)
    for thread in threads[1:]:
        thread.start()
    while store.waiting_count < len(lists) - 1:
        time.sleep(0.001)
    clock.go_on.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    return replies


@pytest.mark.parametrize("pragma", ["max_page_count = 1", "query_only = 1"], ids=["full", "read-only"])
def test_a_disk_that_refuses_acknowledges_nothing_and_changes_nothing(path: Path, clock: HeldClock, pragma: str) -> None:
    store = Store.found(path, "node-1", clock)
    first = value(1)
    say(store, Vote(ballot(1), LEASE_MS), write(first), Confirm(first.header.tag))
    before, revision = look(store), store.revision
    store.close()
    database = connect(path)
    database.execute_sql(f"PRAGMA {pragma}")
    store = Store(database, "node-1", clock)
    second = value(2, first.header, text=b"x" * 100_000)
    assert say(store, Vote(ballot(2), LEASE_MS), write(second), Fence(9)) == [Unfit()] * 3
    assert look(store) == before
    assert store.promised_counter(SECRET) == 1
    database.execute_sql("PRAGMA max_page_count = 100000")
    database.execute_sql("PRAGMA query_only = 0")
    assert isinstance(say(store, Vote(ballot(2), LEASE_MS), secret=SECRET)[0], Promised), "no lease was left behind"
    assert store.revision > revision


def test_a_file_without_the_right_to_write_serves_no_vote(store: Store, path: Path) -> None:
    say(store, write(value(1)))
    store.close()
    database = connect(path)
    database.execute_sql("PRAGMA query_only = 1")
    damaged = Store(database, "node-1")
    assert say(damaged, Vote(ballot(2), LEASE_MS)) == [Unfit()]
    assert look(damaged).views


def test_a_corrupt_row_spoils_only_its_own_secret(store: Store, path: Path) -> None:
    other = SecretId("default", "other")
    say(store, write(value(1)))
    say(store, write(value(1, secret=other)), secret=other)
    store.close()
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE shard SET header = x'c1' WHERE register_id = (SELECT id FROM register WHERE name = 'app/db')")
    raw.close()
    store = Store.open(path, "node-1")
    queries = [Addressed(secret, Query()) for secret in (SECRET, other)]
    assert [type(reply) for reply in store.apply(queries)] == [Unfit, Snapshot]
    assert say(store, Vote(ballot(9), LEASE_MS)) == [Unfit()]
    assert isinstance(say(store, Vote(ballot(9), LEASE_MS), secret=other)[0], Promised)


def test_marks_that_a_power_cut_may_take_back_leave_their_numbers_unused(store: Store, path: Path) -> None:
    record = value(1)
    say(store, write(record))
    page = _changes(store, 0)
    say(store, Confirm(record.header.tag))
    told = _changes(store, page.revision).revision
    with sqlite3.connect(path) as raw:  # as if the mark had not reached the disk
        raw.execute("UPDATE shard SET chosen = 0")
        raw.execute("UPDATE register SET revision = ?", (page.revision,))
    raw.close()
    store.close()
    again = Store.open(path, "node-1")
    say(again, Confirm(record.header.tag))
    assert [change.secret for change in _changes(again, told).changes] == [SECRET]


def _changes(store: Store, revision: int) -> ChangePage:
    (page,) = say(store, ChangesAfter(revision, 10))
    assert isinstance(page, ChangePage)
    return page


def test_changes_are_told_page_by_page_and_none_twice(store: Store) -> None:
    for number in range(25):
        say(store, write(value(1, secret=SecretId("default", f"n{number:02}"))), secret=SecretId("default", f"n{number:02}"))
    names: list[str] = []
    revision, more = 0, True
    while more:
        page = _changes(store, revision)
        names += [change.secret.name for change in page.changes]
        revision, more = page.revision, page.more
    assert names == [f"n{number:02}" for number in range(25)]


def test_a_name_is_listed_as_long_as_its_deletion_is_in_doubt(store: Store) -> None:
    record = value(1)
    grave = tombstone(2, record.header)
    say(store, write(record), Confirm(record.header.tag), Write(grave.tag, grave, None, None))
    assert _names(store) == ("app/db",)
    say(store, Confirm(grave.tag))
    assert _names(store) == ()


def _names(store: Store) -> tuple[str, ...]:
    (page,) = say(store, NamesAfter("", "", 10), secret=SecretId("default", ""))
    assert isinstance(page, NamePage)
    return page.names


def test_a_version_that_is_missing_or_has_no_share_is_missed(store: Store) -> None:
    first = value(1)
    second = value(2, first.header)
    say(store, Repair(second.header, second.shares["node-1"], second.sealed))
    change = _changes(store, 0).changes
    assert store.missing(change) == [SECRET], "the newest is here, the one before it is not"
    say(store, Repair(first.header, None, None))
    assert store.missing(change) == [SECRET], "a header without a share is not whole"
    say(store, Repair(first.header, first.shares["node-1"], first.sealed))
    assert store.missing(change) == []


def test_what_asks_for_headers_alone_loads_no_share_and_no_sealed_value(store: Store, path: Path) -> None:
    first = value(1)
    second = value(2, first.header)
    say(store, write(first), write(second), Confirm(second.header.tag))
    database = connect(path)
    for query, shown in ((Query(lineage=True), 2), (Query(), 1)):
        _, bare = rows.load(database, SECRET, reach(query), ZERO)
        _, whole = rows.load(database, SECRET, reach(msgspec.structs.replace(query, shares=True)), ZERO)
        assert len(bare.records) == len(whole.records) == shown
        assert all(held.share is None and held.sealed is None for held in bare.records)
        assert all(held.share is not None and held.sealed is not None for held in whole.records)
    database.close()


def test_what_was_erased_is_in_no_file_once_that_is_acknowledged(store: Store, path: Path) -> None:
    record = value(1, text=b"unmistakable" * 500)
    grave = tombstone(2, record.header)
    say(store, write(record), Confirm(record.header.tag))
    assert _on_disk(path, record)
    assert say(store, Write(grave.tag, grave, None, None), Erase(grave))[1] == Erased(grave.tag)
    assert not _on_disk(path, record)


def test_an_erasure_is_not_acknowledged_while_the_log_still_holds_the_share(store: Store, path: Path) -> None:
    record = value(1, text=b"unmistakable" * 500)
    grave = tombstone(2, record.header)
    say(store, write(record), Confirm(record.header.tag))
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM shard").fetchone()
    assert say(store, Write(grave.tag, grave, None, None), Erase(grave))[1] == Unfit()
    reader.close()
    say(store, Vote(ballot(9), LEASE_MS), secret=SecretId("default", "other"))
    assert not _on_disk(path, record), "the next transaction scrubs what this one could not"
    assert say(store, Erase(grave)) == [Erased(grave.tag)]


def _on_disk(path: Path, record: Cut) -> bool:
    """Whether a share or a piece of the sealed value is in the raw bytes of any of the store's files."""
    raw = b"".join(each.read_bytes() for each in path.parent.glob(f"{path.name}*"))
    assert record.sealed is not None
    return record.shares["node-1"] in raw or record.sealed[100:132] in raw


def test_a_store_refuses_to_serve_another_node(store: Store, path: Path) -> None:
    store.close()
    with pytest.raises(StoreError, match="node-2"):
        Store.open(path, "node-2")


def test_an_empty_file_is_not_taken_for_a_store(path: Path) -> None:
    path.touch()
    with pytest.raises(StoreError):
        Store.open(path, "node-1")


def test_a_node_without_its_file_does_not_serve_until_told(path: Path) -> None:
    store = Store.open(path, "node-1")
    assert not store.serving
    store.serve_from(12)
    assert store.serving
    store.close()
    again = Store.open(path, "node-1")
    assert again.serving
    assert isinstance(say(again, Vote(ballot(12), LEASE_MS))[0], Refused)


class ShadowedStore(Store):
    """A store beside which every register is kept whole in memory, and stepped with the same messages."""

    shadow: dict[SecretId, Register]
    ticks: Any

    def apply(self, messages: Sequence[Addressed]) -> list[Reply]:
        replies = super().apply(messages)
        for addressed, reply in zip(messages, replies, strict=True):
            if isinstance(addressed.message, NamesAfter | ChangesAfter | Fence):
                continue
            seat = Seat(addressed.secret, "node-1")
            now_ms = int(self.ticks() * 1000)
            register, expected = step(seat, self.shadow.get(addressed.secret, Register()), addressed.message, now_ms)
            self.shadow[addressed.secret] = register
            assert reply == expected, f"{addressed.message} was answered differently"
        for secret in {addressed.secret for addressed in messages} & self.shadow.keys():
            everything = Query(shares=True, sealed=True, lineage=True)
            seat, now_ms = Seat(secret, "node-1"), int(self.ticks() * 1000)
            assert super().apply([Addressed(secret, everything)]) == [step(seat, self.shadow[secret], everything, now_ms)[1]]
        return replies


class ShadowedCluster(LocalCluster):
    """node-1 has a shadow. It survives crashes, without its leases."""

    def open_store(self, settings: Settings) -> Store:
        if settings.id != "node-1":
            return super().open_store(settings)
        store = ShadowedStore.open(settings.database, settings.id, self.network.clock)
        assert isinstance(store, ShadowedStore)
        crashed = self.processes["node-1"].store if "node-1" in self.processes else None
        before = crashed.shadow if isinstance(crashed, ShadowedStore) else {}
        store.shadow = {secret: Register(each.promised, each.erased, each.records) for secret, each in before.items()}
        store.ticks = self.network.clock
        return store


class ShadowedMachine(ClusterMachine):
    """As every cluster, but no disk is lost: the shadow would outlive it."""

    lose_disk = None

    def make_cluster(self) -> LocalCluster:
        self.local = ShadowedCluster()
        return self.local


def test_loading_a_part_of_a_register_gives_the_same_replies_and_the_same_store_as_loading_all_of_it() -> None:
    run_state_machine_as_test(
        ShadowedMachine,
        settings=settings(max_examples=15, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)),
    )
