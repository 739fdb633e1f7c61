"""What snapshots prove of the records below a chosen one: which of them make the history (PROTO-9, PROTO-10, PROTO-15)."""

from __future__ import annotations

from judging_scenes import CREATE, UPDATE, evidence
from scenes import QUORUM, ballot, cut_of, header_of, snapshot, view

from model.judging import Evidence, Standing
from model.record import Kind


def test_the_lineage_runs_from_the_head_to_the_create_of_its_incarnation() -> None:  # PROTO-15
    tombstone = header_of(3, UPDATE.header, kind=Kind.TOMBSTONE)
    again = cut_of(header_of(4, tombstone))
    later = cut_of(header_of(5, again.header))
    judged = evidence(n1=snapshot(view(again, "n1", chosen=True), view(later, "n1", chosen=True)), n2=snapshot())
    assert judged.lineage(later.header) == (later.header, again.header)


def unsure_below(n1: bool, n2: bool, n3: bool, *, voted: bool = False, marked: bool = True) -> Evidence:
    """A chosen record 3 over a doubt 2: which of the nodes hold the doubt, and under which ballots it was accepted is mixed."""
    unsure = cut_of(header_of(2, CREATE.header))
    above = cut_of(header_of(3, CREATE.header, unsure.header))
    answers = {}
    for place, (node, holds) in enumerate(zip(("n1", "n2", "n3"), (n1, n2, n3), strict=True)):
        views = [view(CREATE, node, chosen=True)]
        if holds:
            views.append(view(unsure, node, at=2 + place))
        if marked or place < 2:
            views.append(view(above, node, chosen=True))
        answers[node] = snapshot(*views, promised=3)
    return evidence(QUORUM, voted=voted, **answers)


def test_below_a_chosen_record_w_holders_count_whatever_their_ballots() -> None:  # PROTO-10
    judged = unsure_below(True, True, False)
    assert judged.standing(ballot(2)) is Standing.CHOSEN
    head = judged.judge().head
    assert head is not None
    assert [each.tag.counter for each in judged.lineage(head) or ()] == [3, 2, 1]


def test_below_a_chosen_record_what_too_few_hold_is_void() -> None:  # PROTO-10
    judged = unsure_below(True, False, False)
    head = judged.judge().head
    assert head is not None
    assert [each.tag.counter for each in judged.lineage(head) or ()] == [3, 1]


def test_a_head_that_is_known_by_counting_alone_fences_what_lies_below_it() -> None:  # PROTO-9
    unsure = cut_of(header_of(2, CREATE.header))
    above = cut_of(header_of(3, CREATE.header, unsure.header))
    first = view(CREATE, "n1", chosen=True)
    judged = evidence(
        n1=snapshot(first, view(unsure, "n1", at=2), view(above, "n1", at=3)),
        n2=snapshot(view(CREATE, "n2", chosen=True), view(above, "n2", at=3)),
        n3=snapshot(view(CREATE, "n3", chosen=True)),
    )
    head = judged.judge().head
    assert head == above.header
    assert judged.standing(ballot(2)) is Standing.DOUBT  # n3 may yet accept it: it neither voted nor knows of the head
    assert judged.lineage(head) is None


def test_a_history_does_not_rely_on_a_node_that_could_still_accept_a_late_write() -> None:  # PROTO-9
    judged = unsure_below(True, False, False, marked=False)
    head = judged.judge().head
    assert head is not None
    assert judged.lineage(head) is None
    assert judged.unmarked(head) == ("n3",)


def test_a_node_that_voted_will_accept_nothing_older() -> None:  # PROTO-4
    assert unsure_below(True, False, False, marked=False, voted=True).standing(ballot(2)) is Standing.VOID


def test_a_node_that_holds_a_newer_record_unmarked_may_yet_accept_one_below_it() -> None:  # PROTO-9, SEM-15
    head = cut_of(header_of(3, CREATE.header, UPDATE.header))
    answers = {"n1": snapshot(view(UPDATE, "n1"), view(head, "n1", chosen=True)), "n2": snapshot(view(head, "n2")), "n3": snapshot()}
    assert evidence(**{**answers, "n3": snapshot(view(head, "n3"))}).standing(UPDATE.header.tag) is Standing.DOUBT
    assert evidence(**answers).standing(UPDATE.header.tag) is Standing.DOUBT
    answers["n2"] = snapshot(view(head, "n2", chosen=True))
    assert evidence(**answers).standing(UPDATE.header.tag) is Standing.DOUBT
    answers["n3"] = snapshot(view(head, "n3", chosen=True))
    assert evidence(**answers).standing(UPDATE.header.tag) is Standing.VOID


def test_a_lineage_with_a_link_that_nobody_shows_is_not_told() -> None:  # PROTO-15
    assert evidence(n1=snapshot(view(UPDATE, "n1", chosen=True)), n2=snapshot()).lineage(UPDATE.header) is None


def test_below_a_chosen_record_a_holder_that_does_not_know_of_it_is_not_counted() -> None:  # PROTO-6, PROTO-9
    assert unsure_below(True, False, True, marked=False).standing(ballot(2)) is Standing.DOUBT
    assert unsure_below(True, False, True).standing(ballot(2)) is Standing.CHOSEN
