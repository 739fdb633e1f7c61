"""The oracle, one observation at a time: what an unknown outcome leaves open, and what closes it (specs/semantics.md)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from fake_cluster import FakeCluster
from hypothesis import given, settings
from hypothesis import strategies as st
from vault_machine import NAMES

from model.operation import (
    Create,
    Delete,
    Deleted,
    Failed,
    Found,
    History,
    List,
    Names,
    NewValue,
    NodeStatus,
    Operation,
    Read,
    Result,
    Retry,
    SecretId,
    Status,
    Update,
    Version,
    Versions,
    Written,
)
from model.record import RETRY_KEPT_US
from model.vault import SHOWN_WORLDS, Contradiction, Vault
from model.world import distinct

DB, KEY, OTHER = SecretId("default", "db"), SecretId("default", "key"), SecretId("other", "db")
ABSENT = Failed("secret_not_found", names=("db",))
UNKNOWN = Failed("writing_failed")
RETRY = Retry(b"k" * 32, b"r" * 32)

Seen = tuple[Operation, Result | None]


def new(value: bytes, secret: SecretId = DB) -> NewValue:
    return NewValue(secret, value)


def judged(*seen: Seen, vault: Vault | None = None, fenced: bool = False) -> Vault:
    vault = vault or Vault()
    for operation, result in seen:
        vault = vault.expect(operation, result)
        vault = vault.fenced() if fenced else vault
    return vault


def contradicts(vault: Vault, operation: Operation, result: Result | None) -> str:
    with pytest.raises(Contradiction) as caught:
        vault.expect(operation, result)
    return str(caught.value)


CREATED: Seen = (Create((new(b"one"),), 10), Written((Version(1, 10),)))
UPDATED: Seen = (Update(new(b"two"), 20), Written((Version(2, 20),)))
DELETED: Seen = (Delete(DB, 30), Deleted())
FIRST = Found(Version(1, 10), b"one", "utf-8")
SECOND = Found(Version(2, 20), b"two", "utf-8")


def test_an_acknowledged_write_can_be_read_and_nothing_else_can() -> None:
    vault = judged(CREATED)
    vault.expect(Read(DB), FIRST)
    contradicts(vault, Read(DB), ABSENT)
    contradicts(vault, Read(DB), Found(Version(1, 10), b"two", "utf-8"))
    contradicts(vault, Read(DB), Found(Version(1, 10), b"one", "base64"))
    contradicts(vault, Read(DB), Found(Version(1, 11), b"one", "utf-8"))
    contradicts(vault, Read(DB), Found(Version(1, 10, 20), b"one", "utf-8"))
    assert "versions 1 [10, )" in contradicts(vault, Read(DB), Versions((Version(1, 10),)))


def test_a_stale_read_contradicts() -> None:
    """SEM-16."""
    vault = judged(CREATED, UPDATED)
    contradicts(vault, Read(DB), FIRST)
    judged((Read(DB), SECOND), (Read(DB, version=1), Found(Version(1, 10, 20), b"one", "utf-8")), vault=vault)


def test_a_deleted_secret_does_not_come_back() -> None:
    """SEM-29, SEM-30."""
    vault = judged(CREATED, DELETED, (Read(DB), ABSENT), (History(DB), ABSENT), (Read(DB, version=1), ABSENT))
    contradicts(vault, Read(DB), FIRST)
    contradicts(vault, History(DB), Versions((Version(1, 10),)))
    assert "answered with deleted" in contradicts(vault, Delete(DB, 40), Deleted())
    contradicts(vault, Create((new(b"one"),), 5), Written((Version(1, 30),)))
    judged((Create((new(b"one"),), 5), Written((Version(1, 31),))), vault=vault)


@pytest.mark.parametrize("code", ["voting_failed", "write_conflict", "invalid_request", "too_large", "rate_limited", "forbidden"])
def test_a_definite_failure_has_no_effect(code: str) -> None:
    """SEM-7."""
    vault = judged(CREATED, (UPDATED[0], Failed(code)))
    vault.expect(Read(DB), FIRST)
    contradicts(vault, Read(DB), SECOND)


@pytest.mark.parametrize("code", ["internal_error", "unavailable", "version_not_found", "no_such_code"])
def test_a_write_cannot_fail_with_a_code_that_does_not_say_whether_it_happened(code: str) -> None:
    contradicts(judged(CREATED), UPDATED[0], Failed(code))


@pytest.mark.parametrize("code", ["internal_error", "writing_failed", "voting_failed", "write_conflict", "secret_exists"])
def test_a_read_cannot_fail_as_a_write_does(code: str) -> None:
    contradicts(judged(CREATED), Read(DB), Failed(code))


@pytest.mark.parametrize("operation", [Read(DB), History(DB), List("default")])
def test_a_read_may_always_be_unavailable_or_get_lost(operation: Operation) -> None:
    vault = judged(CREATED)
    assert vault.expect(operation, Failed("unavailable")) == vault.expect(operation, None) == vault


def test_a_status_is_not_judged() -> None:
    assert Vault().expect(Status(), NodeStatus("node-1", 5, 3, 3)) == Vault()


@pytest.mark.parametrize("unknown", [None, UNKNOWN])
def test_an_unknown_update_is_there_or_not_until_it_was_seen(unknown: Result | None) -> None:
    """SEM-8, SEM-9."""
    vault = judged(CREATED, (UPDATED[0], unknown))
    vault = judged((Read(DB), FIRST), (Read(DB), FIRST), vault=vault)
    vault = vault.expect(Read(DB), SECOND)
    contradicts(vault, Read(DB), FIRST)
    contradicts(vault, History(DB), Versions((Version(1, 10),)))


def test_an_unknown_update_takes_effect_at_most_once() -> None:
    vault = judged(CREATED, (UPDATED[0], UNKNOWN), (Read(DB), SECOND))
    contradicts(vault, Read(DB), Found(Version(3, 21), b"two", "utf-8"))


def test_without_a_fence_an_unknown_write_may_be_later_than_any_other() -> None:
    """SEM-9."""
    seen = [CREATED, (Update(new(b"late"), 15), None), UPDATED]
    late = Found(Version(3, 21), b"late", "utf-8")
    judged(*seen, (Read(DB), SECOND), (Read(DB), late))
    contradicts(judged(*seen, (Read(DB), SECOND), fenced=True), Read(DB), late)


def test_a_version_number_is_left_out_only_for_an_update_of_unknown_outcome() -> None:
    """SEM-10."""
    third = Written((Version(3, 20),))
    contradicts(judged(CREATED), UPDATED[0], third)
    vault = judged(CREATED, (Update(new(b"lost"), 15), UNKNOWN), (UPDATED[0], third), fenced=True)
    vault.expect(History(DB), Versions((Version(1, 10, 20), Version(3, 20))))
    vault = vault.expect(History(DB), Versions((Version(1, 10, 15), Version(2, 15, 20), Version(3, 20))))
    contradicts(vault, History(DB), Versions((Version(1, 10, 20), Version(3, 20))))
    contradicts(vault, Update(new(b"four"), 30), Written((Version(5, 30),)))


def test_each_unknown_update_leaves_out_at_most_one_number() -> None:
    """SEM-10: without a fence the update stays pending, but its number is used up."""
    vault = judged(CREATED, (Update(new(b"lost"), 15), UNKNOWN), (UPDATED[0], Written((Version(3, 20),))))
    contradicts(vault, Update(new(b"x"), 30), Written((Version(5, 30),)))
    skipped = Versions((Version(1, 10, 20), Version(3, 20)))
    vault = vault.expect(History(DB), skipped)
    contradicts(vault, Read(DB), Found(Version(4, 21), b"lost", "utf-8"))


def test_an_unknown_delete_hides_everything_or_nothing() -> None:
    vault = judged(CREATED, UPDATED, (Delete(DB, 30), UNKNOWN))
    judged((Read(DB), SECOND), (History(DB), Versions((Version(1, 10, 20), Version(2, 20)))), vault=vault)
    gone = vault.expect(Read(DB), ABSENT)
    contradicts(gone, Read(DB, version=1), Found(Version(1, 10, 20), b"one", "utf-8"))
    contradicts(gone, Read(DB), SECOND)


def test_an_unknown_create_of_a_live_secret_does_nothing() -> None:
    """SEM-8."""
    vault = judged(CREATED, (Create((new(b"again"),), 15), None))
    contradicts(vault, Read(DB), Found(Version(1, 15), b"again", "utf-8"))
    judged(DELETED, (Read(DB), ABSENT), (Read(DB), Found(Version(1, 31), b"again", "utf-8")), vault=vault)


def test_an_unknown_group_is_there_whole_or_not_at_all() -> None:
    """SEM-19."""
    group = Create((new(b"1", KEY), new(b"2", DB)), 10)
    vault = judged((group, None))
    seen = vault.expect(Read(KEY), Found(Version(1, 10), b"1", "utf-8"))
    contradicts(seen, Read(DB), ABSENT)
    judged((Read(DB), Found(Version(1, 12), b"2", "utf-8")), vault=seen)
    overtaken = judged((Read(KEY), Failed("secret_not_found")), (Create((new(b"x", KEY),), 20), Written((Version(1, 20),))), vault=vault)
    contradicts(overtaken, Read(DB), Found(Version(1, 12), b"2", "utf-8"))


def test_alternatives_that_differ_only_in_what_may_still_happen_are_one() -> None:
    """Two creates of unknown outcome: whichever is undone by the delete, the other may follow or not."""
    unknown = Create((new(b"one"),), 0)
    vault = judged((unknown, None), (unknown, None), (Delete(DB, 50), Deleted()))
    assert [len(world.pending) for world in vault.worlds[DB]] == [1, 1]
    some, other = vault.worlds[DB]
    assert distinct([some, other, replace(some, pending=frozenset())]) == {some, other}


def test_a_group_ties_its_secrets_only_while_it_is_open() -> None:
    group = Create((new(b"1", KEY), new(b"2", DB)), 10)
    tied = judged((group, None), (Delete(KEY, 20), None))
    assert tied.worlds[KEY] is tied.worlds[DB]
    free = judged((Read(KEY), Found(Version(1, 10), b"1", "utf-8")), (Delete(KEY, 30), Deleted()), vault=tied, fenced=True)
    assert free.worlds[KEY] is not free.worlds[DB]


def test_secrets_stay_tied_as_long_as_one_tells_of_the_other() -> None:
    """KEY was created by the group or else by the create after it; only in the first case is DB there."""
    group, alone = Create((new(b"g", KEY), new(b"2", DB)), 10), Create((new(b"a", KEY),), 10)
    vault = judged((group, None), (alone, None), (Update(new(b"u", KEY), 20), Written((Version(2, 20),))), fenced=True)
    assert vault.worlds[KEY] is vault.worlds[DB]
    assert not any(world.pending for world in vault.worlds[KEY])
    by_group = vault.expect(Read(KEY, version=1), Found(Version(1, 12, 20), b"g", "utf-8"))
    contradicts(by_group, Read(DB), ABSENT)
    alone_only = vault.expect(Read(KEY, version=1), Found(Version(1, 12, 20), b"a", "utf-8"))
    alone_only.expect(Read(DB), ABSENT)
    assert alone_only.worlds[KEY] is not alone_only.worlds[DB]


def test_a_group_is_refused_by_every_name_that_exists_and_no_other() -> None:
    """SEM-17."""
    vault = judged(CREATED)
    group = Create((new(b"1", KEY), new(b"2", DB)), 10)
    vault.expect(group, Failed("secret_exists", names=("db",)))
    for names in ((), ("key",), ("db", "key")):
        contradicts(vault, group, Failed("secret_exists", names=names))
    vault.expect(Create((new(b"2"),), 10), Failed("secret_exists"))


def test_a_retry_gets_the_first_outcome_and_never_a_second_version() -> None:
    """SEM-21."""
    once = Update(new(b"two"), 20, retry=RETRY)
    vault = judged(CREATED, (once, Written((Version(2, 20),))))
    vault.expect(once, Written((Version(2, 20),)))
    contradicts(vault, once, Written((Version(3, 21),)))
    contradicts(vault, Update(new(b"x"), 20, retry=RETRY), Written((Version(2, 20),)))
    vault.expect(Update(new(b"x"), 20, retry=RETRY), Failed("idempotency_key_reused"))


def test_a_retry_after_an_unknown_outcome_gets_one_version_by_either_attempt() -> None:
    once = Update(new(b"two"), 20, retry=RETRY)
    vault = judged(CREATED, (once, UNKNOWN), (Update(new(b"two"), 25, retry=RETRY), None))
    for time in (20, 25):
        done = judged((once, Written((Version(2, time),))), (Read(DB), Found(Version(2, time), b"two", "utf-8")), vault=vault)
        assert all(not world.pending for world in done.worlds[DB]), "a retry of what was done can do nothing more"
        contradicts(done, Read(DB), Found(Version(3, 30), b"two", "utf-8"))
    contradicts(vault, once, Written((Version(2, 19),)))


def test_a_key_may_be_known_or_forgotten_a_day_after_its_work_was_deleted() -> None:
    """SEM-22."""
    create = Create((new(b"one"),), 10, RETRY)
    vault = judged((create, CREATED[1]), DELETED)
    late = Create((new(b"one"),), 10 + RETRY_KEPT_US, RETRY)
    contradicts(vault, create, Written((Version(1, 31),)))
    vault.expect(late, Written((Version(1, 10),)))
    anew = vault.expect(late, Written((Version(1, late.now),)))
    anew.expect(Read(DB), Found(Version(1, late.now), b"one", "utf-8"))


def test_time_never_goes_back_and_intervals_have_no_gaps() -> None:
    """SEM-12, SEM-13."""
    vault = judged(CREATED)
    contradicts(vault, Update(new(b"two"), 5), Written((Version(2, 10),)))
    contradicts(vault, Update(new(b"two"), 50), Written((Version(2, 49),)))
    vault = judged(UPDATED, vault=vault)
    contradicts(vault, History(DB), Versions((Version(1, 10, 19), Version(2, 20))))
    contradicts(vault, History(DB), Versions((Version(2, 20),)))


def test_a_time_that_was_never_shown_is_learnt_when_it_is() -> None:
    seen = (CREATED, (Update(new(b"b"), 0), None), (Update(new(b"c"), 0), None), (Update(new(b"d"), 0), Written((Version(4, 40),))))
    vault = judged(*seen, fenced=True)
    early = vault.expect(Read(DB, version=2), Found(Version(2, 30, 35), b"b", "utf-8"))
    contradicts(early, History(DB), Versions((Version(1, 10, 30), Version(2, 30, 36), Version(3, 36, 40), Version(4, 40))))
    contradicts(vault, Read(DB, version=2), Found(Version(2, 30, 40), b"c", "base64"))
    contradicts(vault, Read(DB, version=3), Found(Version(3, 39, 41), b"c", "utf-8"))
    contradicts(vault, Read(DB, version=3), Found(Version(3, 40, 40), b"c", "utf-8"))
    contradicts(vault, Read(DB, version=2), Found(Version(2, 10, 40), b"b", "utf-8"))
    pushed = vault.expect(Read(DB, version=2), Found(Version(2, 38, 39), b"b", "utf-8"))
    pushed.expect(Read(DB, version=3), Found(Version(3, 39, 40), b"c", "utf-8"))


def test_a_read_at_a_time_tells_when_a_version_was_written() -> None:
    """SEM-14."""
    vault = judged((Create((new(b"one"),), 10), None), (Read(DB, at=100), Failed("version_not_found")))
    contradicts(vault, Read(DB), Found(Version(1, 100), b"one", "utf-8"))
    vault = vault.expect(Read(DB, at=200), Found(Version(1, 150), b"one", "utf-8"))
    vault.expect(Read(DB, at=149), Failed("version_not_found"))
    contradicts(vault, Read(DB, at=150), Failed("version_not_found"))
    contradicts(vault, Read(DB, at=149), Found(Version(1, 150), b"one", "utf-8"))
    contradicts(Vault(), Read(DB, at=100), Failed("version_not_found"))
    contradicts(vault, Read(DB, at=150), Found(Version(2, 150), b"one", "utf-8"))


def test_a_group_may_be_forgotten_by_some_of_its_names() -> None:
    """SEM-22."""
    group = Create((new(b"1", KEY), new(b"2", DB)), 10, RETRY)
    vault = judged((group, Written((Version(1, 10), Version(1, 10)))), DELETED, (Delete(KEY, 30), Deleted()))
    late = Create(group.secrets, 10 + RETRY_KEPT_US, RETRY)
    vault.expect(late, Written((Version(1, 10), Version(1, 10))))
    vault.expect(late, Written((Version(1, late.now), Version(1, late.now))))
    for names in (("db",), ("key",)):
        vault.expect(late, Failed("secret_exists", names=names))
    contradicts(vault, late, Failed("secret_exists", names=("db", "key")))


def test_names_are_the_same_only_byte_for_byte_and_within_a_namespace() -> None:
    """SEM-23, SEM-24."""
    vault = judged(CREATED)
    for secret in (OTHER, SecretId("default", "DB"), SecretId("default", "db.")):
        contradicts(vault, Read(secret), FIRST)
        vault.expect(Create((new(b"x", secret),), 5), Written((Version(1, 5),)))


def test_a_listing_holds_every_name_that_must_be_there_and_none_that_cannot() -> None:
    """SEM-18, SEM-24."""
    vault = judged(CREATED, (Create((new(b"x", OTHER),), 10), Written((Version(1, 10),))), (Create((new(b"k", KEY),), 10), None))
    for names in (("db",), ("db", "key")):
        vault.expect(List("default"), Names(names, False))
    vault.expect(List("other"), Names(("db",), False))
    vault.expect(List("default", limit=1), Names(("db",), True))
    vault.expect(List("default", prefix="k"), Names((), False))
    vault.expect(List("default", after="db"), Names(("key",), False))
    for page in (Names((), False), Names(("key",), False), Names(("db", "other"), False), Names(("key", "db"), False), Names((), True)):
        contradicts(vault, List("default"), page)
    contradicts(vault, List("default", limit=1), Names(("db", "key"), False))
    contradicts(vault, List("default", limit=1), Names(("key",), True))
    assert "names db, other:" in contradicts(vault, List("default"), Names(("db", "other"), False))
    contradicts(vault, List("default"), ABSENT)
    gone = judged(DELETED, vault=vault)
    contradicts(gone, List("default"), Names(("db",), False))


def test_a_contradiction_says_what_was_possible_and_shows_no_value() -> None:
    vault = judged(CREATED, (Update(new(b"hunter2"), 20, 1, RETRY), None))
    text = contradicts(vault, Read(DB), Found(Version(3, 40), b"hunter2", "utf-8"))
    assert "read of default/db was answered with version 3 [40, )" in text
    assert "1 [10, )" in text
    assert "update of default/db if at version 1 with key 6b6b6b6b" in text
    assert "hunter2" not in text + repr(vault)
    known = contradicts(vault, Read(DB, version=1), Found(Version(9, 10), b"one", "utf-8"))
    assert "version 1 holds the value shown" in known
    vault = judged((Update(new(b"two"), 15, 2), Written((Version(3, 30),))), vault=vault, fenced=True)
    assert "1 [10, 20), 2 [20, 30), 3 [30, ) (not before: 20)" in contradicts(vault, Delete(DB, 40), ABSENT)


def test_many_alternatives_are_told_in_part() -> None:
    unknown: Sequence[Seen] = [(Update(new(b"%d" % number), 0), None) for number in range(3)]
    vault = judged(CREATED, *unknown, (Update(new(b"last"), 0), Written((Version(5, 50),))))
    text = contradicts(vault, Read(DB), ABSENT)
    assert text.count("\n- default/db: ") == SHOWN_WORLDS
    assert f"\n- and {len(vault.worlds[DB]) - SHOWN_WORLDS} more" in text


def test_many_unknown_updates_stay_few_alternatives_behind_fences() -> None:
    """With a fence after each, unknown updates can only take effect in their order; without, there are 8! of those alone."""
    vault = judged(CREATED, fenced=True)
    for number in range(8):
        vault = judged((Update(new(b"%d" % number), 0), None), (Read(DB), Failed("unavailable")), vault=vault, fenced=True)
    vault = judged((Update(new(b"last"), 0), Written((Version(6, 60),))), vault=vault, fenced=True)
    assert len(vault.worlds[DB]) < 500


secrets = st.sampled_from(NAMES)
keys = st.one_of(st.none(), st.builds(lambda number: Retry(bytes([number]) * 32, b"r" * 32), st.integers(0, 3)))
times = st.integers(0, 100)
values = st.binary(max_size=1)
operations = st.one_of(
    st.builds(lambda secret, value, now, key: Create((new(value, secret),), now, key), secrets, values, times, keys),
    st.builds(
        lambda group, now: Create(tuple(new(b"%d" % number, secret) for number, secret in enumerate(group)), now),
        st.lists(st.sampled_from(NAMES[:3]), min_size=2, max_size=3, unique=True),
        times,
    ),
    st.builds(
        lambda secret, value, now, at, key: Update(new(value, secret), now, at, key),
        secrets,
        values,
        times,
        st.sampled_from([None, None, 1, 2]),
        keys,
    ),
    st.builds(Delete, secrets, times),
    st.builds(Read, secrets),
    st.builds(lambda secret, at: Read(secret, at=at), secrets, times),
    st.builds(History, secrets),
    st.just(List("default")),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(operations, max_size=40), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 0.7]), st.booleans())
def test_the_oracle_accepts_whatever_a_vault_may_do(asked: list[Operation], seed: int, loss: float, fenced: bool) -> None:
    """SEM-25. Values and times collide here, unlike in the machine of ``vault_machine``."""
    cluster, vault = FakeCluster(), Vault()
    cluster.lose_messages(loss, seed)
    for operation in asked:
        vault = vault.expect(operation, cluster.perform(operation))
        vault = vault.fenced() if fenced else vault


@settings(max_examples=200, deadline=None)
@given(st.lists(operations, min_size=5, max_size=30), st.integers(0, 2**32 - 1))
def test_no_answer_of_a_vault_without_faults_can_be_put_in_place_of_another(asked: list[Operation], seed: int) -> None:
    """Every answer swapped for that of another operation, if it is another one, is a contradiction: nothing is unknown here."""
    cluster, vault, chance = FakeCluster(), Vault(), random.Random(seed)
    answers: list[Result] = []
    for operation in asked:
        result = cluster.perform(operation)
        assert result is not None
        wrong = chance.choice([*answers, result])
        if not isinstance(operation, List) and type(wrong) is type(result) and _told(wrong) != _told(result):
            contradicts(vault, operation, wrong)
        answers.append(result)
        vault = vault.expect(operation, result)


def _told(result: Result) -> object:
    """What an answer says that no later time could explain."""
    return (
        result.code
        if isinstance(result, Failed)
        else tuple(each.version for each in result.versions)
        if isinstance(result, Written)
        else result
    )
