"""The judge is judged: histories that one vault could have produced, and such as it could not (SEM-1 to SEM-22)."""

from __future__ import annotations

from linearizability import Call, linearizable

from model.operation import (
    Create,
    Delete,
    Deleted,
    Failed,
    Found,
    History,
    NewValue,
    Operation,
    Read,
    Result,
    Retry,
    SecretId,
    Update,
    Version,
    Versions,
    Written,
)

A, B = SecretId("default", "a"), SecretId("default", "b")
KEY = Retry(b"key", b"request")
MISSING, EXISTS = Failed("secret_not_found"), Failed("secret_exists")


def create(value: bytes, *names: SecretId, retry: Retry | None = None) -> Create:
    return Create(tuple(NewValue(name, value) for name in names or (A,)), 10, retry)


def update(value: bytes, expected: int | None = None, retry: Retry | None = None) -> Update:
    return Update(NewValue(A, value), 10, expected, retry)


def written(*versions: tuple[int, int]) -> Written:
    return Written(tuple(Version(version, since) for version, since in versions))


def found(value: bytes, version: int, since: int, until: int | None = None) -> Found:
    return Found(Version(version, since, until), value, "utf-8")


def one_after_another(*steps: tuple[Operation, Result | None]) -> bool:
    """Each invoked after the one before was answered; None: its outcome is unknown."""
    return linearizable(
        [Call(operation, 10 * place, None if result is None else 10 * place + 5, result) for place, (operation, result) in enumerate(steps)]
    )


def at_once(*steps: tuple[Operation, Result | None]) -> bool:
    return linearizable([Call(operation, 0, None if result is None else 9, result) for operation, result in steps])


ONE = (create(b"one"), written((1, 10)))
TWO = (update(b"two"), written((2, 20)))


def test_a_plain_life_of_a_secret_is_accepted() -> None:
    assert one_after_another(
        (Read(A), MISSING),
        (History(A), MISSING),
        ONE,
        (create(b"x"), EXISTS),
        TWO,
        (update(b"x", expected=1), Failed("version_mismatch")),
        (Read(A), found(b"two", 2, 20)),
        (Read(A, version=1), found(b"one", 1, 10, 20)),
        (Read(A, version=3), Failed("version_not_found")),
        (Read(A, at=15), found(b"one", 1, 10, 20)),
        (Read(A, at=9), Failed("version_not_found")),
        (History(A), Versions((Version(1, 10, 20), Version(2, 20)))),
        (Delete(A, 10), Deleted()),
        (update(b"x"), MISSING),
        (Delete(A, 10), MISSING),
        (create(b"again"), written((1, 31))),
        (Read(A), found(b"again", 1, 31)),
    )


def test_answers_that_no_vault_gives_are_refused_one_by_one() -> None:
    wrong: tuple[tuple[Operation, Result], ...] = (
        (Read(A), found(b"one", 1, 10)),  # stale
        (Read(A), found(b"two", 2, 21)),  # another time
        (Read(A), found(b"two", 3, 20)),  # another number
        (Read(A), found(b"two", 2, 20, 30)),  # the latest has no end
        (Read(A), MISSING),
        (Read(A, version=1), found(b"two", 2, 20)),
        (Read(A, version=1), found(b"one", 1, 10)),  # it has an end
        (Read(A, version=1), found(b"one", 1, 10, 19)),  # which is the next one's beginning
        (Read(A, version=2), Failed("version_not_found")),
        (Read(A, at=15), Failed("version_not_found")),
        (Read(A, at=25), found(b"one", 1, 10, 20)),
        (History(A), Versions((Version(1, 10),))),
        (History(A), Versions((Version(1, 10, 19), Version(2, 20)))),
        (History(A), MISSING),
        (create(b"x"), written((1, 30))),
        (create(b"x"), MISSING),
        (update(b"x"), MISSING),
        (update(b"x"), written((2, 30))),
        (update(b"x"), written((4, 30))),  # a gap without an unknown outcome
        (update(b"x"), written((3, 20))),  # time stands still
        (update(b"x"), written((3, 9))),  # before it was asked for
        (update(b"x", expected=2), Failed("version_mismatch")),
        (update(b"x", expected=1), written((3, 30))),
        (Delete(A, 10), MISSING),
    )
    for operation, result in wrong:
        assert not one_after_another(ONE, TWO, (operation, result)), f"{operation} was believed to answer {result}"


def test_a_deleted_secret_does_not_return() -> None:
    gone = (ONE, (Delete(A, 10), Deleted()))
    assert one_after_another(*gone, (Read(A), MISSING))
    assert not one_after_another(*gone, (Read(A), found(b"one", 1, 10)))
    assert not one_after_another(*gone, (History(A), Versions((Version(1, 10),))))
    assert not one_after_another(*gone, (create(b"x"), written((1, 10))))  # its times go on rising


def test_a_write_takes_effect_between_its_invocation_and_its_answer() -> None:
    assert at_once(ONE, (Read(A), MISSING))
    assert at_once(ONE, (Read(A), found(b"one", 1, 10)))
    assert not at_once(ONE, (create(b"x"), written((1, 11))))
    assert not one_after_another((Read(A), found(b"one", 1, 10)), ONE)


def test_an_unknown_outcome_takes_effect_late_or_never_but_only_once() -> None:
    unknown = (update(b"late"), None)
    assert one_after_another(ONE, unknown, (Read(A), found(b"one", 1, 10)))
    assert one_after_another(ONE, unknown, (Read(A), found(b"late", 2, 30)))
    assert one_after_another(ONE, unknown, (Read(A), found(b"one", 1, 10)), (Read(A), found(b"late", 2, 30)))
    assert not one_after_another(ONE, unknown, (Read(A), found(b"late", 2, 30)), (Read(A), found(b"one", 1, 10)))
    assert not one_after_another((Read(A), found(b"late", 2, 30)), ONE, unknown)
    assert one_after_another(ONE, (Delete(A, 10), None), (Read(A), MISSING))
    assert not one_after_another(ONE, (Delete(A, 10), None), (Read(A), MISSING), (Read(A), found(b"one", 1, 10)))


def test_what_is_first_seen_of_an_unknown_write_binds_those_who_see_it_later() -> None:
    unknown = (update(b"late"), None)
    shown = (History(A), Versions((Version(1, 10, 30), Version(2, 30))))
    assert one_after_another(ONE, unknown, shown, (Read(A), found(b"late", 2, 30)))
    assert not one_after_another(ONE, unknown, shown, (Read(A), found(b"late", 2, 31)))
    assert one_after_another(ONE, unknown, TWO_AFTER, (Read(A, version=2), found(b"late", 2, 30, 40)))
    assert one_after_another(ONE, unknown, (Read(A, version=1), found(b"one", 1, 10, 30)), (Read(A), found(b"late", 2, 30)))
    assert not one_after_another(ONE, unknown, (Read(A, version=1), found(b"one", 1, 10, 30)), (Read(A), found(b"late", 2, 31)))


TWO_AFTER = (update(b"three"), written((3, 40)))


def test_a_number_is_skipped_only_for_an_unknown_outcome() -> None:
    assert one_after_another(ONE, (update(b"x"), None), TWO_AFTER, (History(A), Versions((Version(1, 10, 40), Version(3, 40)))))
    assert not one_after_another(ONE, TWO_AFTER)


def test_an_expected_version_is_compared_with_whatever_number_an_unknown_write_had() -> None:
    unknown = (update(b"late"), None)
    assert one_after_another(ONE, unknown, (update(b"x", expected=1), Failed("version_mismatch")), (Read(A), found(b"late", 2, 30)))
    assert one_after_another(ONE, unknown, (update(b"x", expected=2), written((3, 40))))


def test_a_retry_gives_the_first_outcome_and_never_a_second_version() -> None:
    first = (update(b"x", retry=KEY), None)
    again = update(b"x", retry=KEY)
    assert one_after_another(ONE, first, (again, written((2, 30))))
    assert one_after_another(ONE, first, (again, written((2, 30))), (again, written((2, 30))))
    assert not one_after_another(ONE, first, (again, written((2, 30))), (again, written((3, 40))))
    history = (History(A), Versions((Version(1, 10, 30), Version(2, 30, 40), Version(3, 40))))
    assert not one_after_another(ONE, first, (again, written((3, 40))), history)
    other = update(b"x", retry=Retry(b"key", b"another"))
    assert one_after_another(ONE, (again, written((2, 30))), (other, Failed("idempotency_key_reused")))
    assert not one_after_another(ONE, (again, written((2, 30))), (other, written((3, 40))))


def test_a_retry_of_what_was_deleted_since_gives_its_first_outcome_too() -> None:
    first = (create(b"x", retry=KEY), written((1, 10)))
    gone = (Delete(A, 10, Retry(b"delete", b"d")), Deleted())
    assert one_after_another(first, gone, first, gone, (Read(A), MISSING))
    assert not one_after_another(first, gone, (create(b"x", retry=KEY), written((1, 40))))


def test_a_group_is_all_or_nothing() -> None:
    both = create(b"both", A, B)
    assert one_after_another((both, written((1, 10), (1, 10))), (Read(A), found(b"both", 1, 10)), (Read(B), found(b"both", 1, 10)))
    assert not one_after_another((both, None), (Read(A), found(b"both", 1, 10)), (Read(B), MISSING))
    assert one_after_another((both, None), (Read(A), MISSING), (Read(B), found(b"both", 1, 10)))
    assert one_after_another(ONE, (both, EXISTS), (Read(B), MISSING))
    assert not one_after_another(ONE, (both, written((1, 30), (1, 30))))
