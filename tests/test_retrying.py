"""How a retry is recognised and what it is told (SEM-20 to SEM-22)."""

from __future__ import annotations

from msgspec.structs import replace
from scenes import QUORUM, SECRET, cut_of, doubt, header_of, retry, snapshot, view

from model.judging import Evidence, Judgement
from model.message import Snapshot
from model.operation import Deleted, Failed, Retry, Version, Written
from model.record import RETRY_KEPT_US, Buried, Cut, Header, Kind
from model.retrying import first_outcome, to_bury

MINE = retry("mine")
CREATE = cut_of(header_of(1, retry=MINE), b"secret")
UNKNOWN = Failed("writing_failed", names=(SECRET.name,))
REUSED = Failed("idempotency_key_reused", names=(SECRET.name,))


def evidence(**answers: Snapshot) -> Evidence:
    return Evidence(SECRET, QUORUM, answers, {}, voted=True)


def both(*records: Cut) -> Evidence:
    """Two of three nodes hold them all."""
    return evidence(**{node: snapshot(*(view(each, node, chosen=True) for each in records)) for node in ("n1", "n2")})


def test_a_key_that_nobody_used_is_new() -> None:  # SEM-20
    assert first_outcome(both(CREATE), retry("other"), b"secret") is None


def test_the_same_key_and_request_and_value_give_the_first_outcome() -> None:  # SEM-20
    assert first_outcome(both(CREATE), MINE, b"secret") == Written((Version(1, 1001),))


def test_another_request_or_another_value_under_the_same_key_is_refused() -> None:  # SEM-20
    assert first_outcome(both(CREATE), retry("mine", "another"), b"secret") == REUSED
    assert first_outcome(both(CREATE), MINE, b"another") == REUSED


def test_with_too_few_shares_to_compare_the_value_nothing_is_said() -> None:  # SEM-20
    alone = evidence(n1=snapshot(view(CREATE, "n1", chosen=True)), n2=snapshot())
    assert first_outcome(alone, MINE, b"secret") == Failed("voting_failed", names=(SECRET.name,))


def test_an_attempt_in_doubt_is_an_unknown_outcome() -> None:  # SEM-21
    assert first_outcome(evidence(n1=snapshot(view(CREATE, "n1")), n2=snapshot()), MINE, b"secret") == UNKNOWN


def test_an_attempt_that_can_have_had_no_effect_is_passed_over() -> None:  # SEM-21
    void = evidence(n1=snapshot(view(CREATE, "n1")), n2=snapshot(), n3=snapshot())
    assert first_outcome(void, MINE, b"secret") is None


def test_an_attempt_chosen_later_counts_where_an_earlier_one_was_left_in_doubt() -> None:  # SEM-21
    base = cut_of(header_of(1))
    unsure = cut_of(header_of(2, base.header, retry=MINE), b"secret")
    above = cut_of(header_of(3, base.header, unsure.header, retry=MINE), b"secret")
    seen = evidence(
        n1=snapshot(view(base, "n1", chosen=True), view(unsure, "n1"), view(above, "n1", chosen=True)),
        n2=snapshot(view(above, "n2", chosen=True)),
    )
    assert first_outcome(seen, MINE, b"secret") == Written((Version(3, 1003),))


def test_an_own_delete_that_was_chosen_has_its_erasures_still_to_finish() -> None:  # SEM-21
    tombstone = cut_of(header_of(2, CREATE.header, kind=Kind.TOMBSTONE, retry=MINE))
    assert first_outcome(both(tombstone), MINE, b"") == tombstone.header


def test_a_tombstone_remembers_what_it_buried() -> None:  # SEM-22
    tombstone = header_of(2, CREATE.header, kind=Kind.TOMBSTONE, retry=retry("delete"))
    buried = _with(tombstone, to_bury(both(CREATE), Judgement(CREATE.header), 1002))
    assert first_outcome(both(buried), MINE, b"whatever") == Written((Version(1, 1001),))
    assert first_outcome(both(buried), retry("mine", "another"), b"") == REUSED
    again = header_of(3, buried.header)
    later = header_of(4, again, kind=Kind.TOMBSTONE)
    kept = to_bury(both(buried, cut_of(again)), Judgement(again), 1004)
    assert {entry.retry.key for entry in kept} == {MINE.key, retry("delete").key}
    deleted = Retry(retry("delete").key, retry("delete").request)
    assert first_outcome(both(_with(later, kept)), deleted, b"") == Deleted()


def test_a_tombstone_forgets_after_a_day() -> None:  # SEM-22
    assert to_bury(both(CREATE), Judgement(CREATE.header), 1001 + RETRY_KEPT_US - 1)
    assert to_bury(both(CREATE), Judgement(CREATE.header), 1001 + RETRY_KEPT_US) == ()


def test_a_tombstone_buries_its_doubts_and_nothing_dead() -> None:  # SEM-22
    base = cut_of(header_of(1))
    dead = cut_of(header_of(2, base.header, retry=retry("dead")))
    unsure = cut_of(header_of(3, base.header, retry=retry("unsure")))
    seen = evidence(n1=snapshot(view(base, "n1", chosen=True), view(dead, "n1"), view(unsure, "n1")), n2=snapshot(view(base, "n2")))
    judged = Judgement(base.header, (doubt(unsure.header),))
    assert to_bury(seen, judged, 1004) == (Buried(retry("unsure"), False, 2, 1003),)


def below_another(*nodes: str, retry_: Retry = MINE) -> Evidence:
    """An update that only the first node holds, in doubt below a chosen one, as ``nodes`` show it."""
    base = cut_of(header_of(1))
    unsure = cut_of(header_of(2, base.header, retry=MINE), b"secret")
    above = cut_of(header_of(3, base.header, unsure.header, retry=retry_), b"secret")
    held = [view(base, "n1", chosen=True), view(above, "n1", chosen=True)]
    return evidence(**{node: snapshot(*held, *([view(unsure, node)] if node == "n1" else [])) for node in nodes})


def test_what_may_have_taken_effect_below_another_stays_in_doubt_for_its_retry() -> None:  # SEM-22
    seen = below_another("n1", "n2", retry_=retry("above"))
    kept = to_bury(seen, seen.judge(), 1004)
    assert kept == (Buried(MINE, False, 2, 1002, unsure=True), Buried(retry("above"), False, 3, 1003))
    tombstone = _with(header_of(4, seen.judge().head, kind=Kind.TOMBSTONE), kept)
    assert first_outcome(both(tombstone), MINE, b"secret") == UNKNOWN
    again = header_of(5, tombstone.header)
    assert to_bury(both(tombstone, cut_of(again)), Judgement(again), 1006) == kept, "a later tombstone knows no more"


def test_of_two_doubts_below_a_delete_only_the_upper_one_is_taken_for_made() -> None:  # SEM-22
    base = cut_of(header_of(1))
    lower = cut_of(header_of(2, base.header, retry=MINE))
    upper = cut_of(header_of(3, base.header, lower.header, retry=retry("upper")))
    seen = evidence(n1=snapshot(view(base, "n1", chosen=True), view(lower, "n1"), view(upper, "n1")), n2=snapshot(view(base, "n2")))
    kept = to_bury(seen, seen.judge(), 1004)
    assert [(each.retry, each.unsure) for each in kept] == [(MINE, True), (retry("upper"), False)]


def test_of_what_all_nodes_can_tell_nothing_stays_in_doubt() -> None:  # SEM-22
    seen = below_another("n1", "n2", "n3", retry_=retry("above"))
    assert to_bury(seen, seen.judge(), 1004) == (Buried(retry("above"), False, 3, 1003),)


def test_an_attempt_known_to_have_been_made_outweighs_one_in_doubt() -> None:  # SEM-22
    seen = below_another("n1", "n2")
    assert to_bury(seen, seen.judge(), 1004) == (Buried(MINE, False, 3, 1003),)


def test_an_attempt_in_doubt_takes_nothing_from_one_known_to_have_been_made_before() -> None:  # SEM-22
    made = cut_of(header_of(1, retry=MINE))
    unsure = cut_of(header_of(2, made.header, retry=MINE))
    above = cut_of(header_of(3, made.header, unsure.header))
    seen = evidence(
        n1=snapshot(view(made, "n1", chosen=True), view(unsure, "n1"), view(above, "n1", chosen=True)),
        n2=snapshot(view(above, "n2", chosen=True)),
    )
    assert to_bury(seen, seen.judge(), 1004) == (Buried(MINE, False, 1, 1001),)


def _with(tombstone: Header, entries: tuple[Buried, ...]) -> Cut:
    return cut_of(replace(tombstone, buried=entries))


def test_a_tombstone_buries_only_what_was_chosen_and_lies_below_it() -> None:  # SEM-22
    first = cut_of(header_of(1, retry=retry("first")))
    dead = cut_of(header_of(2, first.header, retry=retry("dead")))
    base = cut_of(header_of(3, first.header, retry=retry("base")))
    above = cut_of(header_of(5, base.header, retry=retry("above")))
    seen = evidence(
        n1=snapshot(view(first, "n1", chosen=True), view(dead, "n1"), view(base, "n1", chosen=True), view(above, "n1", chosen=True)),
        n2=snapshot(view(base, "n2", chosen=True)),
    )
    assert [entry.retry for entry in to_bury(seen, Judgement(base.header), 1004)] == [retry("first"), retry("base")]


def test_with_shares_enough_but_no_sealed_value_to_compare_nothing_is_said() -> None:  # SEM-20
    bare = evidence(**{node: snapshot(view(CREATE, node, chosen=True, sealed=False)) for node in ("n1", "n2")})
    assert first_outcome(bare, MINE, b"secret") == Failed("voting_failed", names=(SECRET.name,))
