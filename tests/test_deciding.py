"""What each verb wants to find, and what comes of it when it finds something else (SEM-1 to SEM-5)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from scenes import NODES, QUORUM, SECRET, cut_of, doubt, header_of, retry, snapshot, view

from model.deciding import Course, decide
from model.intent import Decided, Intent, Settled
from model.judging import Evidence, Judgement
from model.operation import Failed, Result, Version, Written
from model.record import Buried, Cut, Header, Kind

MINE = retry("mine")
ONE = cut_of(header_of(1, retry=MINE))
TWO = cut_of(header_of(2, ONE.header))
GRAVE = cut_of(header_of(3, TWO.header, kind=Kind.TOMBSTONE, retry=retry("deleted")))
COMMIT = cut_of(header_of(1, kind=Kind.COMMIT))

NEVER = Judgement(None)
LIVE = Judgement(TWO.header)
GONE = Judgement(GRAVE.header)
LIVE_OR_NEWER = Judgement(ONE.header, (doubt(TWO.header),))
PERHAPS = Judgement(None, (doubt(ONE.header),))


def failed(code: str, retry_ms: int | None = None) -> Failed:
    return Failed(code, names=(SECRET.name,), retry_ms=retry_ms)


def decided(
    intent: Intent, judgement: Judgement, *records: Cut, waits: bool = False, retry_ms: int | None = None
) -> Course | Header | Result | Settled | Decided:
    """What comes of it when every node holds ``records``, and knows all of them to be chosen."""
    answers = {node: snapshot(*(view(each, node, chosen=True) for each in records)) for node in NODES}
    return decide(intent, Evidence(SECRET, QUORUM, answers, {}, voted=True), judgement, waits=waits, retry_ms=retry_ms)


@pytest.mark.parametrize(
    ("verb", "judgement", "outcome"),
    [
        ("create", NEVER, Course.WRITE),
        ("create", GONE, Course.WRITE),
        ("create", LIVE, failed("secret_exists")),
        ("create", LIVE_OR_NEWER, failed("secret_exists")),
        ("create", PERHAPS, failed("voting_failed")),
        ("update", NEVER, failed("secret_not_found")),
        ("update", GONE, failed("secret_not_found")),
        ("update", LIVE, Course.WRITE),
        ("update", LIVE_OR_NEWER, Course.WRITE),
        ("update", PERHAPS, failed("voting_failed")),
        ("delete", NEVER, failed("secret_not_found")),
        ("delete", GONE, failed("secret_not_found")),
        ("delete", LIVE, Course.WRITE),
        ("delete", LIVE_OR_NEWER, Course.WRITE),
        ("delete", PERHAPS, failed("voting_failed")),
    ],
)
def test_the_table(verb: str, judgement: Judgement, outcome: Course | Failed) -> None:
    assert decided(Intent(verb), judgement) == outcome  # type: ignore[arg-type]


@pytest.mark.parametrize(("expected", "outcome"), [(2, Course.WRITE), (1, failed("version_mismatch")), (3, failed("version_mismatch"))])
def test_an_update_of_one_version_wants_that_one(expected: int, outcome: Course | Failed) -> None:  # SEM-5
    assert decided(Intent("update", expected_version=expected), LIVE) == outcome


def test_which_version_is_the_latest_cannot_be_told_while_one_is_in_doubt() -> None:  # SEM-5
    assert decided(Intent("update", expected_version=1), LIVE_OR_NEWER, retry_ms=20) == failed("voting_failed", 20)


def test_where_too_little_is_known_asking_again_may_help_and_elsewhere_not() -> None:  # SEM-5
    assert decided(Intent("create"), PERHAPS, retry_ms=20) == failed("voting_failed", 20)
    assert decided(Intent("create"), LIVE, retry_ms=20) == failed("secret_exists")
    assert decided(Intent("update"), NEVER, retry_ms=20) == failed("secret_not_found")


def test_a_retry_is_told_the_first_outcome_whatever_there_is_now() -> None:  # SEM-20
    assert decided(Intent("create", value=b"secret", retry=MINE), LIVE, ONE, TWO) == Written((Version(1, 1001),))
    assert decided(Intent("create", retry=retry("other")), LIVE, ONE, TWO) == failed("secret_exists")


def test_a_key_that_was_used_for_something_else_is_refused_for_good() -> None:  # SEM-20
    assert decided(Intent("create", value=b"another", retry=MINE), LIVE, ONE, waits=True, retry_ms=20) == failed("idempotency_key_reused")


def test_a_retry_that_cannot_be_told_waits_for_who_may_tell_more_then_says_so() -> None:  # SEM-21
    bare = replace(ONE, shares={}, sealed=None)
    mine = Intent("create", value=b"secret", retry=MINE)
    assert decided(mine, LIVE, bare, waits=True) is Course.WAIT
    assert decided(mine, LIVE, bare, retry_ms=20) == failed("voting_failed", 20)


def test_a_delete_that_was_chosen_is_carried_out_by_its_retry() -> None:  # SEM-20, PROTO-8
    assert decided(Intent("delete", retry=retry("deleted")), GONE, GRAVE) == GRAVE.header


def test_a_delete_waits_for_who_can_tell_whether_what_it_buries_was_ever_made() -> None:  # SEM-22
    buried = Buried(retry("unsure"), deleted=False, version=1, valid_from=1001, unsure=True)
    grave = Cut(replace(GRAVE.header, buried=(buried,)), None, {})
    anew = cut_of(header_of(4, grave.header))
    records = (grave, anew)
    judgement = Judgement(anew.header)
    assert decided(Intent("delete"), judgement, *records, waits=True) is Course.WAIT
    assert decided(Intent("delete"), judgement, *records) is Course.WRITE
    assert decided(Intent("update"), judgement, *records, waits=True) is Course.WRITE


def test_to_settle_wants_nothing_but_the_judgement() -> None:  # PROTO-13
    assert decided(Intent("settle"), LIVE_OR_NEWER, ONE) == Settled(LIVE_OR_NEWER)


def test_a_group_is_decided_unless_it_was() -> None:  # PROTO-14
    assert decided(Intent("decide"), Judgement(COMMIT.header)) == Decided(Kind.COMMIT)
    assert decided(Intent("decide"), NEVER) is Course.WRITE
