"""The judge of long histories is judged: by histories made by hand, by the reference machine, and by its slow twin."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest
from history_checker import check
from history_facts import Violation
from linearizability import Call, linearizable
from made_histories import MUTATIONS, NAME, make, stale_read

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
    Update,
    Version,
    Versions,
    Written,
)

KEY, OTHER = Retry(b"k" * 32, b"create"), Retry(b"k" * 32, b"update")
LONG = 10_000
LONG_SECONDS = 30.0
"""What is asked for is seconds; the machine may be busy."""


def create(value: str, retry: Retry | None = None) -> Operation:
    return Create((NewValue(NAME, value.encode()),), 0, retry)


def update(value: str, expected: int | None = None, retry: Retry | None = None) -> Operation:
    return Update(NewValue(NAME, value.encode()), 0, expected, retry)


def written(version: int, since: int) -> Result:
    return Written((Version(version, since),))


def found(value: str, version: int, since: int, until: int | None = None) -> Result:
    return Found(Version(version, since, until), value.encode(), "utf-8")


def history(*times: int) -> Result:
    ends = [*times[1:], None]
    return Versions(tuple(Version(number, since, until) for number, (since, until) in enumerate(zip(times, ends, strict=True), 1)))


def accepts(calls: list[Call]) -> bool:
    try:
        check(calls)
    except Violation:
        return False
    return True


ABSENT = Failed("secret_not_found")
GOOD = {
    "nothing happened": [],
    "one after the other": [
        Call(create("a"), 1, 2, written(1, 10)),
        Call(update("b"), 3, 4, written(2, 20)),
        Call(Read(NAME), 5, 6, found("b", 2, 20)),
        Call(Read(NAME, version=1), 7, 8, found("a", 1, 10, 20)),
        Call(Read(NAME, at=15), 9, 10, found("a", 1, 10, 20)),
        Call(Read(NAME, at=9), 9, 10, Failed("version_not_found")),
        Call(History(NAME), 11, 12, history(10, 20)),
        Call(Delete(NAME, 0), 13, 14, Deleted()),
        Call(Read(NAME), 15, 16, ABSENT),
        Call(create("c"), 17, 18, written(1, 30)),
    ],
    "a read at the same time as a write sees it or does not": [
        Call(create("a"), 1, 2, written(1, 10)),
        Call(update("b"), 3, 9, written(2, 20)),
        Call(Read(NAME), 4, 5, found("a", 1, 10)),
        Call(Read(NAME), 6, 7, found("b", 2, 20)),
    ],
    "an unknown create is seen late": [
        Call(create("a"), 1),
        Call(Read(NAME), 2, 3, ABSENT),
        Call(Read(NAME), 4, 5, found("a", 1, 10)),
    ],
    "an unknown delete that nobody saw explains an absence": [
        Call(create("a"), 1, 2, written(1, 10)),
        Call(Delete(NAME, 0), 3),
        Call(Read(NAME), 4, 5, found("a", 1, 10)),
        Call(create("b"), 6, 7, written(1, 20)),
    ],
    "an unknown create that nobody saw explains a delete": [Call(create("a"), 1), Call(Delete(NAME, 0), 2, 3, Deleted())],
    "an unknown update leaves out a number": [
        Call(create("a"), 1, 2, written(1, 10)),
        Call(update("b"), 3),
        Call(update("c"), 4, 5, written(3, 30)),
        Call(Read(NAME, version=2), 6, 7, Failed("version_not_found")),
    ],
    "an unknown update that nobody saw explains a number": [
        Call(create("a"), 1, 2, written(1, 10)),
        Call(update("b"), 3),
        Call(update("c", 2), 4, 5, written(3, 30)),
    ],
    "an unknown delete and an unknown create begin anew": [
        Call(create("a"), 1, 2, written(1, 10)),
        Call(update("b"), 3, 4, written(2, 20)),
        Call(Delete(NAME, 0), 5),
        Call(create("c"), 6),
        Call(Read(NAME, version=2), 7, 8, Failed("version_not_found")),
        Call(update("d"), 9, 10, written(2, 40)),
    ],
    "a retry gets the first outcome after a delete": [
        Call(create("a", KEY), 1),
        Call(Delete(NAME, 0), 2, 3, Deleted()),
        Call(create("a", KEY), 4, 5, written(1, 10)),
        Call(Read(NAME), 6, 7, ABSENT),
    ],
    "a key on another request is refused": [
        Call(create("a", KEY), 1, 2, written(1, 10)),
        Call(update("b", retry=OTHER), 3, 4, Failed("idempotency_key_reused")),
    ],
}
BAD = {
    "a stale read": [
        Call(create("a"), 1, 2, written(1, 10)),
        Call(update("b"), 3, 4, written(2, 20)),
        Call(Read(NAME), 5, 6, found("a", 1, 10)),
    ],
    "reads that go back": [
        Call(create("a"), 1, 2, written(1, 10)),
        Call(update("b"), 3, 9, written(2, 20)),
        Call(Read(NAME), 4, 5, found("b", 2, 20)),
        Call(Read(NAME), 6, 7, found("a", 1, 10)),
    ],
    "a value before it was written": [Call(Read(NAME), 1, 2, found("a", 1, 10)), Call(create("a"), 3, 4, written(1, 10))],
    "a value that nobody wrote": [Call(create("a"), 1, 2, written(1, 10)), Call(Read(NAME), 3, 4, found("x", 2, 20))],
    "two creates win": [Call(create("a"), 1, 5, written(1, 10)), Call(create("b"), 1, 5, written(1, 20))],
    "two updates expecting one version win": [
        Call(create("a"), 1, 2, written(1, 10)),
        Call(update("b", 1), 3, 6, written(2, 20)),
        Call(update("c", 1), 3, 6, written(2, 30)),
    ],
    "an acknowledged write is lost": [Call(create("a"), 1, 2, written(1, 10)), Call(Read(NAME), 3, 4, ABSENT)],
    "a deleted secret comes back": [
        Call(create("a"), 1, 2, written(1, 10)),
        Call(Delete(NAME, 0), 3, 4, Deleted()),
        Call(Read(NAME), 5, 6, found("a", 1, 10)),
    ],
    "a late retry brings a deleted secret back": [
        Call(create("a", KEY), 1, 2, written(1, 10)),
        Call(Delete(NAME, 0), 3, 4, Deleted()),
        Call(create("a", KEY), 5, 6, written(1, 50)),
    ],
    "one key writes twice": [
        Call(create("x"), 1, 2, written(1, 10)),
        Call(update("a", retry=OTHER), 3, 4, written(2, 20)),
        Call(update("a", retry=OTHER), 5, 6, written(3, 30)),
    ],
    "times go back": [Call(create("a"), 1, 2, written(1, 10)), Call(update("b"), 3, 4, written(2, 5))],
    "times go back through a deletion": [
        Call(create("a"), 1, 2, written(1, 10)),
        Call(Delete(NAME, 0), 3, 4, Deleted()),
        Call(create("b"), 5, 6, written(1, 5)),
    ],
    "a number left out for no reason": [Call(create("a"), 1, 2, written(1, 10)), Call(update("b"), 3, 4, written(3, 20))],
    "a history without its first version": [
        Call(create("a"), 1, 2, written(1, 10)),
        Call(update("b"), 3, 4, written(2, 20)),
        Call(History(NAME), 5, 6, Versions((Version(2, 20),))),
    ],
    "a version with a wrong end": [
        Call(create("a"), 1, 2, written(1, 10)),
        Call(update("b"), 3, 4, written(2, 20)),
        Call(Read(NAME, version=1), 5, 6, found("a", 1, 10, 25)),
    ],
    "an unknown delete explains only one absence": [
        Call(create("a"), 1, 2, written(1, 10)),
        Call(Delete(NAME, 0), 3),
        Call(create("b"), 4, 5, written(1, 20)),
        Call(create("c"), 6, 7, written(1, 30)),
    ],
    "a secret that nobody saw lacks its first version": [
        Call(create("a"), 1),
        Call(Read(NAME, version=1), 2, 3, Failed("version_not_found")),
    ],
    "an unknown write that was not asked yet": [Call(Read(NAME), 1, 2, found("a", 1, 10)), Call(create("a"), 3)],
}


@pytest.mark.parametrize("name", GOOD)
def test_a_right_history_is_accepted(name: str) -> None:
    check(GOOD[name])


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_history_is_rejected(name: str) -> None:
    with pytest.raises(Violation):
        check(BAD[name])


@pytest.mark.parametrize("lost", [0.0, 0.1, 0.4])
def test_every_history_of_the_reference_machine_is_accepted(lost: float) -> None:
    for seed in range(400):
        check(make(seed, calls=60, clients=1 + seed % 12, lost=lost, calm=seed % 2 == 0))


def test_it_agrees_with_its_slow_twin_on_small_histories_right_and_wrong() -> None:
    verdicts: Counter[bool] = Counter()
    for seed in range(6000):
        chance = random.Random(seed)
        calls = make(seed, calls=chance.randrange(3, 11), clients=chance.randrange(1, 5), lost=chance.choice([0, 0.1, 0.4, 0.7]))
        for _ in range(chance.randrange(4)):
            chance.choice(MUTATIONS)(calls, chance)
        verdict = accepts(calls)
        assert verdict == linearizable(calls), f"seed {seed}"
        verdicts[verdict] += 1
    assert min(verdicts[True], verdicts[False]) > 400, verdicts


@pytest.mark.parametrize("lost", [0.0, 0.05])
@pytest.mark.parametrize("calm", [False, True])
def test_ten_thousand_calls_on_one_secret_are_judged_in_seconds(lost: float, calm: bool) -> None:
    calls = make(5, calls=LONG, clients=8, lost=lost, calm=calm)
    begun = time.monotonic()
    check(calls)
    assert time.monotonic() - begun < LONG_SECONDS


def test_one_stale_read_among_ten_thousand_calls_is_found() -> None:
    calls = make(6, calls=LONG, clients=8, lost=0.02, calm=True)
    check(calls)
    assert stale_read(calls, random.Random(1))
    with pytest.raises(Violation):
        check(calls)


def test_a_violation_says_what_was_asked_and_answered_but_no_value() -> None:
    with pytest.raises(Violation) as raised:
        check([*GOOD["one after the other"], Call(Read(NAME), 20, 21, ABSENT), Call(create("plugh"), 22, 23, written(1, 40))])
    assert "secret_not_found" in str(raised.value)
    assert "plugh" not in str(raised.value)
