"""The reference machine for one secret, rule by rule (specs/semantics.md)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from model.operation import (
    Create,
    Delete,
    Deleted,
    Failed,
    Found,
    History,
    NewValue,
    Read,
    Result,
    Retry,
    SecretId,
    Update,
    Version,
    Versions,
    Written,
)
from model.record import RETRY_KEPT_US
from model.secret import Secret, create, delete, history, named, perform, read, recall, update

DB, KEY = SecretId("default", "db"), SecretId("default", "key")
RETRY = Retry(b"k" * 32, b"r" * 32)
OTHER_REQUEST = Retry(b"k" * 32, b"o" * 32)


def after(*operations: Create | Update | Delete) -> Secret:
    """The secret DB after these operations, each of which must succeed."""
    secrets = {DB: Secret()}
    for operation in operations:
        secrets, result = perform(secrets, operation)
        assert not isinstance(result, Failed), result
    return secrets[DB]


def new(value: bytes = b"one", secret: SecretId = DB) -> NewValue:
    return NewValue(secret, value)


def code(result: Result) -> str:
    assert isinstance(result, Failed)
    return result.code


def test_a_name_is_absent_until_it_is_created() -> None:
    """SEM-1, SEM-14, SEM-15."""
    assert not Secret().live
    assert read(Secret(), Read(DB)) == Failed("secret_not_found", names=("db",))
    assert code(read(Secret(), Read(DB, version=1))) == code(read(Secret(), Read(DB, at=5))) == "secret_not_found"
    assert history(Secret(), History(DB)) == Failed("secret_not_found", names=("db",))


def test_a_create_makes_version_1_and_refuses_a_live_name() -> None:
    """SEM-2."""
    secret, result = create(Secret(), new(), 10)
    assert result == Written((Version(1, 10),))
    assert read(secret, Read(DB)) == Found(Version(1, 10), b"one", "utf-8")
    assert create(secret, new(b"two"), 20) == (secret, Failed("secret_exists", names=("db",)))


def test_an_update_adds_a_version_and_never_creates() -> None:
    """SEM-3."""
    assert update(Secret(), Update(new(), 10)) == (Secret(), Failed("secret_not_found", names=("db",)))
    secret, result = update(after(Create((new(),), 10)), Update(NewValue(DB, b"\xff", "base64"), 20))
    assert result == Written((Version(2, 20),))
    assert read(secret, Read(DB)) == Found(Version(2, 20), b"\xff", "base64")


def test_a_delete_takes_every_version_and_needs_one() -> None:
    """SEM-4, SEM-28."""
    assert delete(Secret(), Delete(DB, 10)) == (Secret(), Failed("secret_not_found", names=("db",)))
    secret, result = delete(after(Create((new(),), 10), Update(new(b"two"), 20)), Delete(DB, 30))
    assert result == Deleted()
    assert not secret.live
    assert code(read(secret, Read(DB, version=1))) == code(history(secret, History(DB))) == "secret_not_found"


def test_existence_is_judged_before_the_expected_version_and_a_retry_before_both() -> None:
    """SEM-5."""
    assert code(update(Secret(), Update(new(), 10, expected_version=1))[1]) == "secret_not_found"
    secret = after(Create((new(),), 10))
    assert update(secret, Update(new(), 20, expected_version=2)) == (secret, Failed("version_mismatch", names=("db",)))
    once = Update(new(b"two"), 20, expected_version=1, retry=RETRY)
    secret = after(Create((new(),), 10), once)
    assert update(secret, once) == (secret, Written((Version(2, 20),)))


def test_of_two_updates_that_expect_the_same_version_one_takes_effect() -> None:
    """SEM-27."""
    secrets = {DB: after(Create((new(),), 10))}
    secrets, first = perform(secrets, Update(new(b"a"), 20, expected_version=1))
    assert first == Written((Version(2, 20),))
    assert code(perform(secrets, Update(new(b"b"), 20, expected_version=1))[1]) == "version_mismatch"


def test_a_version_stays_as_it_is_while_others_follow() -> None:
    """SEM-11."""
    secret = after(Create((new(b"one"),), 10), Update(new(b"two"), 20))
    before = read(secret, Read(DB, version=1))
    secret, _ = update(secret, Update(new(b"three"), 30))
    assert read(secret, Read(DB, version=1)) == before == Found(Version(1, 10, 20), b"one", "utf-8")


def test_a_refused_write_leaves_its_key_new() -> None:
    """SEM-5, SEM-21."""
    secret, _ = update(Secret(), Update(new(), 10, retry=RETRY))
    assert recall(secret, RETRY, b"one") is None


def test_a_version_number_is_left_out_only_on_demand() -> None:
    """SEM-10."""
    secret, result = update(after(Create((new(),), 10)), Update(new(b"two"), 20), skipped=2)
    assert result == Written((Version(4, 20),))
    assert secret.intervals() == (Version(1, 10, 20), Version(4, 20))
    assert code(read(secret, Read(DB, version=2))) == "version_not_found"


def test_an_interval_ends_where_the_next_one_begins() -> None:
    """SEM-12, SEM-15."""
    secret = after(Create((new(),), 10), Update(new(), 20), Update(new(), 35))
    assert history(secret, History(DB)) == Versions((Version(1, 10, 20), Version(2, 20, 35), Version(3, 35)))


def test_times_go_forward_across_deletion_whatever_the_clocks_say() -> None:
    """SEM-13, SEM-30."""
    secret = after(Create((new(),), 100), Update(new(), 50), Delete(DB, 40), Create((new(),), 30))
    assert history(secret, History(DB)) == Versions((Version(1, 103),))


def test_a_read_finds_a_version_by_number_or_time_or_the_latest() -> None:
    """SEM-14."""
    secret = after(Create((new(b"one"),), 10), Update(new(b"two"), 20))
    first, second = Version(1, 10, 20), Version(2, 20)
    assert read(secret, Read(DB, version=1)) == Found(first, b"one", "utf-8")
    assert read(secret, Read(DB, at=19)) == Found(first, b"one", "utf-8")
    assert read(secret, Read(DB, at=20)) == read(secret, Read(DB, at=10**18)) == read(secret, Read(DB)) == Found(second, b"two", "utf-8")
    assert read(secret, Read(DB, reveal=False)) == Found(second, None, "utf-8")
    assert code(read(secret, Read(DB, at=9))) == code(read(secret, Read(DB, version=3))) == "version_not_found"


def test_a_group_is_created_whole_or_not_at_all_and_names_every_name_that_exists() -> None:
    """SEM-17, SEM-19."""
    group = Create((new(b"1", KEY), new(b"2", DB)), 10)
    secrets, result = perform({DB: Secret(), KEY: Secret()}, group)
    assert result == Written((Version(1, 10), Version(1, 10)))
    assert secrets[DB].live
    assert secrets[KEY].live
    assert perform(secrets, group) == (secrets, Failed("secret_exists", names=("db", "key")))
    half = {DB: Secret(), KEY: secrets[KEY]}
    assert perform(half, group) == (half, Failed("secret_exists", names=("key",)))


def test_a_group_is_recognised_when_it_is_retried() -> None:
    """SEM-20, SEM-21."""
    group = Create((new(b"1", KEY), new(b"2", DB)), 10, RETRY)
    secrets, first = perform({DB: Secret(), KEY: Secret()}, group)
    assert perform(secrets, replace(group, now=99)) == (secrets, first)
    changed = replace(group, secrets=(new(b"1", KEY), new(b"3", DB)))
    assert perform(secrets, changed) == (secrets, Failed("idempotency_key_reused"))


def test_a_group_that_is_remembered_in_part_creates_nothing() -> None:
    """SEM-22."""
    group = Create((new(b"1", KEY), new(b"2", DB)), 10, RETRY)
    secrets, _ = perform({DB: Secret(), KEY: Secret()}, group)
    secrets, _ = perform(secrets, Delete(DB, 20))
    secrets[DB] = secrets[DB].forget(RETRY)
    assert perform(secrets, group) == (secrets, Failed("secret_exists", names=("key",)))


@pytest.mark.parametrize("again", [Create((new(),), 99, RETRY), Update(new(), 99, retry=RETRY), Delete(DB, 99, RETRY)])
def test_a_retry_gets_the_first_outcome_whatever_has_happened_since(again: Create | Update | Delete) -> None:
    """SEM-21."""
    secrets = {DB: Secret() if isinstance(again, Create) else after(Create((new(),), 10))}
    secrets, first = perform(secrets, replace(again, now=20))
    assert perform(secrets, again) == (secrets, first)
    for later in (Update(new(b"later"), 30), Delete(DB, 40), Create((new(b"anew"),), 50), Delete(DB, 60)):
        secrets, _ = perform(secrets, later)
        assert perform(secrets, again) == (secrets, first)


def test_a_key_used_for_another_request_or_value_is_refused() -> None:
    """SEM-20."""
    secret = after(Create((new(b"one"),), 10, RETRY))
    assert code(create(secret, new(b"two"), 20, RETRY)[1]) == "idempotency_key_reused"
    assert code(update(secret, Update(new(b"one"), 20, retry=OTHER_REQUEST))[1]) == "idempotency_key_reused"
    assert code(delete(secret, Delete(DB, 20, OTHER_REQUEST))[1]) == "idempotency_key_reused"


def test_after_a_deletion_only_the_request_is_compared() -> None:
    """SEM-22."""
    secret = after(Create((new(b"one"),), 10, RETRY), Delete(DB, 20))
    assert create(secret, new(b"two"), 30, RETRY) == (secret, Written((Version(1, 10),)))
    assert code(create(secret, new(b"one"), 30, OTHER_REQUEST)[1]) == "idempotency_key_reused"


def test_a_key_may_be_forgotten_a_day_after_it_was_used_and_only_if_its_work_is_deleted() -> None:
    """SEM-22."""
    live = after(Create((new(),), 10, RETRY))
    assert not live.may_forget(RETRY, 10 + 2 * RETRY_KEPT_US)
    deleted = after(Create((new(),), 10, RETRY), Delete(DB, 20))
    assert not deleted.may_forget(RETRY, 9 + RETRY_KEPT_US)
    assert deleted.may_forget(RETRY, 10 + RETRY_KEPT_US)
    assert not deleted.may_forget(None, 10 + RETRY_KEPT_US)
    assert not deleted.may_forget(Retry(b"n" * 32, b"r" * 32), 10 + RETRY_KEPT_US)
    late = after(Create((new(),), 10, RETRY), Delete(DB, 10 + RETRY_KEPT_US))
    assert late.may_forget(RETRY, 0), "forgotten when it was buried, whatever another clock says now"
    assert recall(deleted.forget(RETRY), RETRY, b"one") is None


def test_times_can_be_moved_as_long_as_they_keep_their_order() -> None:
    secret = after(Create((new(),), 10, RETRY), Delete(DB, 20), Create((new(),), 30))
    assert secret.times() == {10, 20, 30}
    moved = secret.retimed({10: 11, 20: 22, 30: 33})
    assert moved == after(Create((new(),), 11, RETRY), Delete(DB, 22), Create((new(),), 33))
    assert Secret().times() == frozenset()
    assert Secret().retimed({}) == Secret()


def test_no_value_shows_in_a_secrets_text() -> None:
    secret = after(Create((new(b"hunter2"),), 10, RETRY), Update(new(b"hunter2"), 20))
    assert "hunter2" not in repr(secret)


def test_an_operation_names_its_secrets_in_the_order_asked() -> None:
    assert named(Create((new(secret=KEY), new()), 1)) == (KEY, DB)
    assert named(Update(new(), 1)) == named(Delete(DB, 1)) == named(Read(DB)) == named(History(DB)) == (DB,)


writes = st.one_of(
    st.builds(lambda now: Create((new(),), now), st.integers(0, 50)),
    st.builds(lambda now: Update(new(), now), st.integers(0, 50)),
    st.builds(lambda now: Delete(DB, now), st.integers(0, 50)),
)


@given(st.lists(writes, max_size=30))
def test_versions_and_times_only_go_forward(operations: list[Create | Update | Delete]) -> None:
    """SEM-10, SEM-12, SEM-13, against the plainest of twins: a list of times."""
    secrets, last, versions = {DB: Secret()}, -1, 0
    for operation in operations:
        secrets, result = perform(secrets, operation)
        if isinstance(result, Failed):
            continue
        versions = 0 if isinstance(operation, Delete) else versions + 1
        assert secrets[DB].newest_time == max(operation.now, last + 1)
        last = secrets[DB].newest_time or 0
        assert len(secrets[DB].versions) == versions
        shown = history(secrets[DB], History(DB))
        if isinstance(shown, Versions):
            assert [version.version for version in shown.versions] == list(range(1, versions + 1))
            assert shown.versions[-1].valid_to is None
            assert all(older.valid_to == newer.valid_from for older, newer in zip(shown.versions, shown.versions[1:], strict=False))
