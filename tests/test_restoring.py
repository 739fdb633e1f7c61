"""What a node takes over after an absence or the loss of its disk: which records, with which share, ranking where (PROTO-12, PROTO-13)."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace
from scenes import NODES, QUORUM, SECRET, ballot, cut_of, header_of, snapshot, view

from model.intent import Wanted
from model.judging import Standing
from model.machine import Send
from model.message import Erase, Query, Repair, Snapshot, View, Write
from model.quorum import Quorum
from model.reading import Reading
from model.record import Ballot, Cut, Header, Kind
from model.restoring import chosen, doubtful, fenced_only, is_whole, remembered, restored, shards_wanted, whole

ONE = cut_of(header_of(1))
TWO = cut_of(header_of(2, ONE.header))
THREE = cut_of(header_of(3, TWO.header))
GRAVE = cut_of(header_of(3, TWO.header, kind=Kind.TOMBSTONE))
AGAIN = cut_of(header_of(4, GRAVE.header))
UNSURE = cut_of(header_of(3, ONE.header, TWO.header))


def survey(**answers: Snapshot) -> Reading:
    """A survey of the history by n1, whose disk was lost, as far as the others answered."""
    return Reading("n1", SECRET, Wanted(history=True, survey=True), QUORUM, NODES, answers=answers)


def by(*nodes: str, marked: tuple[Cut, ...] = (), accepted: tuple[Cut, ...] = (), at: int | None = None) -> Reading:
    """Each of ``nodes`` shows the same."""
    return survey(
        **{
            node: snapshot(*(view(each, node, chosen=True) for each in marked), *(view(each, node, at=at) for each in accepted))
            for node in nodes
        }
    )


def holders(record: Cut, *nodes: str) -> dict[str, Snapshot]:
    return {node: snapshot(view(record, node, chosen=True)) for node in nodes}


def test_of_a_node_that_was_not_fenced_nothing_follows_from_what_it_does_not_hold() -> None:  # PROTO-12
    everything = replace(by("n2", marked=(ONE,), accepted=(TWO,)), quorum=Quorum(4, 2))
    everything = replace(everything, answers={**everything.answers, **by("n3", "n4", marked=(ONE,)).answers})
    assert doubtful(everything) == (), "if all three could be believed, it was dead"
    judged = fenced_only(everything, frozenset({"n2", "n3"}))
    assert doubtful(judged) == (TWO.header,), "n4 may yet accept it, under a ballot that the lost store helped"
    assert chosen(judged) == (ONE.header,)
    assert [write.header for write in remembered(judged, "n1")] == [TWO.header]


def test_every_chosen_record_is_taken_over_the_oldest_first() -> None:  # PROTO-13
    assert chosen(by("n2", "n3", marked=(TWO, ONE, THREE))) == (ONE.header, TWO.header, THREE.header)


def test_of_what_a_tombstone_buried_nothing_is_taken_over_but_the_tombstone_is() -> None:  # PROTO-8
    assert chosen(by("n2", "n3", marked=(ONE, TWO, GRAVE, AGAIN))) == (GRAVE.header, AGAIN.header)


def test_what_one_node_alone_accepted_is_in_doubt_and_not_taken_over() -> None:  # PROTO-12
    reading = survey(n2=snapshot(view(ONE, "n2", chosen=True), view(TWO, "n2")), n3=snapshot(view(ONE, "n3", chosen=True)))
    assert reading.evidence.standing(TWO.header.tag) is Standing.DOUBT
    assert chosen(reading) == (ONE.header,)
    assert doubtful(reading) == (TWO.header,)


def test_a_provisional_record_is_in_doubt_while_its_group_is() -> None:  # PROTO-14
    provisional = cut_of(header_of(2, ONE.header, group="g"))
    reading = survey(n2=snapshot(view(ONE, "n2", chosen=True), view(provisional, "n2")), n3=snapshot(view(ONE, "n3", chosen=True)))
    assert doubtful(reading) == (provisional.header,)


def test_nothing_older_than_what_was_chosen_is_in_doubt() -> None:  # PROTO-12
    below = cut_of(header_of(1))
    stray = survey(n2=snapshot(view(below, "n2"), view(GRAVE, "n2", chosen=True)), n3=snapshot(view(GRAVE, "n3", chosen=True)))
    assert doubtful(stray) == ()


def test_where_nothing_was_chosen_everything_that_is_held_is_in_doubt_the_oldest_first() -> None:  # PROTO-12
    rival = cut_of(header_of(2))
    reading = survey(n2=snapshot(view(rival, "n2")), n3=snapshot(view(ONE, "n3")))
    assert doubtful(reading) == (ONE.header, rival.header)


def test_what_is_kept_in_mind_ranks_just_below_the_ballot_it_is_held_under_and_counts_as_no_acceptance() -> None:  # PROTO-12
    reading = survey(n2=snapshot(view(ONE, "n2", chosen=True), view(TWO, "n2", at=7)), n3=snapshot(view(ONE, "n3", chosen=True)))
    assert remembered(reading, "n1") == (Write(Ballot(7, "n1", -1), TWO.header, None, None),)
    (write,) = remembered(reading, "n3")
    assert write.ballot == Ballot(7, "n1", -3), "two nodes keep it in mind under two ballots"
    assert not write.ballot.counts
    assert TWO.header.tag < write.ballot < ballot(7)


def test_what_is_kept_in_mind_ranks_by_the_highest_ballot_that_anybody_holds_it_under() -> None:  # PROTO-12
    four = ("n1", "n2", "n3", "n4")
    record = cut_of(header_of(2, nodes=four))
    answers = {node: snapshot(view(record, node, at=at)) for node, at in (("n2", 5), ("n3", 9), ("n4", 6))}
    (write,) = remembered(msgspec.structs.replace(survey(**answers), quorum=Quorum(4, 2)), "n1")
    assert write.ballot == Ballot(9, "n1", -1)


def test_what_is_kept_in_mind_is_told_with_the_lowest_ballot_first() -> None:  # PROTO-12
    rival = cut_of(header_of(2))
    reading = survey(n2=snapshot(view(ONE, "n2", at=9)), n3=snapshot(view(rival, "n3", at=5)))
    assert [write.header.tag.counter for write in remembered(reading, "n1")] == [2, 1]


def test_a_share_is_rebuilt_on_the_records_own_polynomial() -> None:  # PROTO-7
    assert restored(SECRET, ONE.header, holders(ONE, "n2", "n3"), "n1") == (Repair(ONE.header, ONE.shares["n1"], ONE.sealed),)


def test_one_share_short_the_record_is_taken_over_without_a_share() -> None:  # PROTO-12
    assert restored(SECRET, ONE.header, holders(ONE, "n2"), "n1") == (Repair(ONE.header, None, None),)


def test_without_a_whole_sealed_value_the_record_is_taken_over_without_a_share() -> None:  # PROTO-12
    answers = {node: snapshot(spoilt(view(ONE, node, chosen=True), sealed=b"?")) for node in ("n2", "n3")}
    assert restored(SECRET, ONE.header, answers, "n1") == (Repair(ONE.header, None, None),)
    answers["n3"] = snapshot(view(ONE, "n3", chosen=True))
    assert restored(SECRET, ONE.header, answers, "n1") == (Repair(ONE.header, ONE.shares["n1"], ONE.sealed),)


def test_a_share_that_does_not_match_its_commitment_rebuilds_nothing() -> None:  # STORE-5
    answers = {**holders(ONE, "n2"), "n3": snapshot(spoilt(view(ONE, "n3", chosen=True), share=b"\0" * 33))}
    assert restored(SECRET, ONE.header, answers, "n1") == (Repair(ONE.header, None, None),)


def test_shares_of_another_record_rebuild_nothing() -> None:  # PROTO-7
    answers = {"n2": snapshot(view(TWO, "n2"), view(ONE, "n2")), "n3": snapshot(view(TWO, "n3"))}
    assert restored(SECRET, ONE.header, answers, "n1") == (Repair(ONE.header, None, None),)
    assert restored(SECRET, TWO.header, answers, "n1") == (Repair(TWO.header, TWO.shares["n1"], TWO.sealed),)


def test_a_node_outside_the_placement_gets_no_share() -> None:  # PROTO-18
    assert restored(SECRET, ONE.header, holders(ONE, "n2", "n3"), "n9") == (Repair(ONE.header, None, None),)


def test_a_tombstone_erases_what_lies_below_and_is_itself_kept() -> None:  # PROTO-8
    assert restored(SECRET, GRAVE.header, {}, "n1") == (Erase(GRAVE.header), Repair(GRAVE.header, None, None))


def test_a_decision_is_taken_over_without_a_share() -> None:  # PROTO-14
    decision = header_of(1, kind=Kind.COMMIT)
    assert restored(SECRET, decision, {}, "n1") == (Repair(decision, None, None),)


def test_shares_are_asked_of_all_who_hold_the_record_and_the_sealed_value_of_two() -> None:  # PROTO-12
    five = ("n1", "n2", "n3", "n4", "n5")
    record = cut_of(header_of(1, nodes=five))
    answers = {node: snapshot(view(record, node, chosen=True)) for node in five if node != "n3"} | {"n3": snapshot()}
    reading = msgspec.structs.replace(survey(**answers), order=five)
    asked = [Send(node, SECRET, Query(shares=True, sealed=node != "n5", tag=record.header.tag)) for node in ("n2", "n4", "n5")]
    assert shards_wanted(reading, record.header) == asked
    assert shards_wanted(reading, header_of(2)) == []
    assert shards_wanted(reading, record.header, header_of(2), record.header) == asked * 2


def spoilt(shown: View, **changes: object) -> View:
    return msgspec.structs.replace(shown, **changes)


def test_whole_is_what_a_node_has_share_and_sealed_value_of() -> None:  # PROTO-13
    tag = frozenset([ONE.header.tag])
    assert whole(snapshot(view(ONE, "n1", chosen=True))) == tag
    assert whole(snapshot(spoilt(view(ONE, "n1"), share=None))) == frozenset()
    assert whole(snapshot(spoilt(view(ONE, "n1"), sealed=b"?"))) == frozenset()
    assert whole(snapshot(spoilt(view(ONE, "n1"), sealed=None))) == frozenset()
    assert whole(snapshot(spoilt(view(ONE, "n1"), header=None))) == frozenset()
    assert whole(snapshot(view(GRAVE, "n1", chosen=True))) == {GRAVE.header.tag}, "a tombstone has neither"


@pytest.mark.parametrize(
    ("held", "all_there"),
    [
        ({}, True),
        ({ONE.header: True}, True),
        ({ONE.header: False}, False),
        ({ONE.header: True, TWO.header: True}, True),
        ({TWO.header: True}, False),  # its base is missing
        ({ONE.header: True, UNSURE.header: True}, False),  # a doubt is missing
        ({ONE.header: True, TWO.header: True, UNSURE.header: True}, True),
        ({GRAVE.header: False}, True),  # below a tombstone nothing need be, and it has no share
        ({AGAIN.header: True}, False),  # the deletion was missed
        ({GRAVE.header: False, AGAIN.header: True}, True),
    ],
)
def test_a_node_is_whole_if_it_holds_all_that_its_records_stand_on_down_to_a_tombstone(held: dict[Header, bool], all_there: bool) -> None:
    assert is_whole(held) is all_there  # PROTO-13


def test_of_two_tombstones_the_newest_is_where_taking_over_begins() -> None:  # PROTO-8
    grave = cut_of(header_of(5, AGAIN.header, kind=Kind.TOMBSTONE))
    assert chosen(by("n2", "n3", marked=(GRAVE, AGAIN, grave))) == (grave.header,)


def test_a_doubt_between_two_chosen_records_is_kept_in_mind_too() -> None:  # PROTO-12
    reading = survey(
        n2=snapshot(view(ONE, "n2", chosen=True), view(TWO, "n2"), view(UNSURE, "n2", chosen=True)),
        n3=snapshot(view(ONE, "n3", chosen=True), view(UNSURE, "n3", chosen=True)),
    )
    assert doubtful(reading) == (TWO.header,)


def test_what_was_chosen_is_not_in_doubt() -> None:  # PROTO-9
    assert doubtful(by("n2", "n3", marked=(ONE, TWO))) == ()
