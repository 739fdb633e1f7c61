"""What snapshots prove: chosen, void, in doubt (PROTO-9, PROTO-10)."""

from __future__ import annotations

import msgspec
from judging_scenes import CREATE, UPDATE, evidence
from scenes import ENTROPY, QUORUM, ballot, cut_of, doubt, header_of, snapshot, view

from model.judging import Standing
from model.quorum import Quorum
from model.record import Ballot, Kind

FIVE = ("n1", "n2", "n3", "n4", "n5")


def test_nothing_held_is_absent_and_the_first_record_gets_sequence_1() -> None:  # PROTO-10
    judgement = evidence(n1=snapshot(), n2=snapshot()).judge()
    assert (judgement.head, judgement.live, judgement.clean, judgement.next_sequence) == (None, None, True, 1)


def test_a_mark_in_one_answer_proves_a_record_chosen() -> None:  # PROTO-9
    judged = evidence(n1=snapshot(view(CREATE, "n1", chosen=True)), n2=snapshot())
    assert judged.standing(ballot(1)) is Standing.CHOSEN
    assert judged.judge().live == CREATE.header


def test_w_acceptances_under_one_ballot_prove_a_record_chosen() -> None:  # PROTO-9
    judged = evidence(n1=snapshot(view(CREATE, "n1")), n2=snapshot(view(CREATE, "n2")))
    assert judged.standing(ballot(1)) is Standing.CHOSEN


def test_acceptances_under_different_ballots_prove_nothing() -> None:  # PROTO-9
    judged = evidence(n1=snapshot(view(CREATE, "n1")), n2=snapshot(view(CREATE, "n2", at=4)), n3=snapshot())
    assert judged.standing(ballot(1)) is Standing.DOUBT


def test_a_record_that_came_by_repair_is_not_counted_as_accepted() -> None:  # PROTO-7
    judged = evidence(n1=snapshot(view(CREATE, "n1", at=0)), n2=snapshot(view(CREATE, "n2", at=0)))
    assert judged.standing(ballot(1)) is Standing.DOUBT


def test_a_record_that_another_names_as_its_base_was_chosen() -> None:  # PROTO-9
    judged = evidence(n1=snapshot(view(CREATE, "n1"), view(UPDATE, "n1")), n2=snapshot(), n3=snapshot())
    assert judged.standing(ballot(1)) is Standing.CHOSEN
    judgement = judged.judge()
    assert (judgement.head, judgement.void, judgement.next_sequence) == (CREATE.header, (ballot(2),), 3)


def test_too_few_possible_holders_make_a_record_void() -> None:  # PROTO-9
    assert evidence(n1=snapshot(view(CREATE, "n1")), n2=snapshot(), n3=snapshot()).standing(ballot(1)) is Standing.VOID


def test_a_silent_node_may_hold_it() -> None:  # PROTO-9
    judgement = evidence(n1=snapshot(view(CREATE, "n1")), n2=snapshot()).judge()
    assert (judgement.head, judgement.doubts, judgement.clean) == (None, (doubt(CREATE.header),), False)


def test_a_node_that_erased_past_a_record_may_have_held_it() -> None:  # PROTO-9
    judged = evidence(n1=snapshot(view(CREATE, "n1")), n2=snapshot(erased=ballot(8)), n3=snapshot())
    assert judged.standing(ballot(1)) is Standing.DOUBT


def test_the_head_is_sought_from_the_highest_accepted_ballot_downwards() -> None:  # PROTO-10
    settled, rival = cut_of(header_of(2, CREATE.header)), cut_of(header_of(3, CREATE.header))
    answers = {
        "n1": snapshot(view(CREATE, "n1"), view(settled, "n1", at=5)),
        "n2": snapshot(view(CREATE, "n2"), view(settled, "n2", at=5)),
        "n3": snapshot(view(CREATE, "n3"), view(rival, "n3")),
    }
    assert evidence(QUORUM, **answers).judge().head == settled.header


def test_a_chosen_record_that_is_known_by_repair_only_is_not_overlooked_for_a_dead_one_with_a_higher_ballot() -> None:  # PROTO-10
    dead = cut_of(msgspec.structs.replace(header_of(5, CREATE.header), sequence=7))
    winner = cut_of(header_of(6, CREATE.header))
    judged = evidence(n1=snapshot(view(CREATE, "n1", chosen=True), view(dead, "n1")), n2=snapshot(view(winner, "n2", at=0, chosen=True)))
    assert judged.judge().head == winner.header
    assert judged.standing(ballot(5)) is Standing.VOID


def test_a_newer_record_that_does_not_stand_on_a_chosen_one_is_dead() -> None:  # PROTO-9
    beside = cut_of(header_of(4, CREATE.header))
    judged = evidence(n1=snapshot(view(beside, "n1", at=8)), n2=snapshot(view(UPDATE, "n2", at=0, chosen=True)))
    assert judged.standing(ballot(4)) is Standing.VOID
    assert judged.judge().head == UPDATE.header


def test_a_chosen_base_that_no_answer_shows_leaves_the_head_in_doubt() -> None:  # PROTO-10
    judgement = evidence(n1=snapshot(view(UPDATE, "n1")), n2=snapshot(), n3=snapshot()).judge()
    assert (judgement.head, [each.tag for each in judgement.doubts]) == (None, [ballot(1)])


def test_a_view_without_its_header_is_counted_for_the_header_that_another_shows() -> None:
    bare = msgspec.structs.replace(view(CREATE, "n2"), header=None)
    assert evidence(n1=snapshot(view(CREATE, "n1")), n2=snapshot(bare)).standing(ballot(1)) is Standing.CHOSEN


def test_a_view_whose_header_nobody_shows_is_passed_over() -> None:
    bare = msgspec.structs.replace(view(CREATE, "n2"), header=None)
    judged = evidence(n1=snapshot(), n2=snapshot(bare))
    assert judged.judge().head is None
    assert judged.standing(ballot(1)) is Standing.DOUBT


def test_a_provisional_record_is_unresolved_until_its_groups_decision_is_known() -> None:  # PROTO-14
    member = cut_of(header_of(1, group="g"))
    answers = {"n1": snapshot(view(member, "n1")), "n2": snapshot(view(member, "n2"))}
    undecided = evidence(QUORUM, **answers)
    assert undecided.standing(ballot(1)) is Standing.UNRESOLVED
    assert undecided.judge().unresolved == {"g"}
    assert not undecided.judge().clean
    assert evidence(QUORUM, {"g": True}, **answers).judge().live == member.header
    assert evidence(QUORUM, {"g": False}, **answers).judge().void == (ballot(1),)


def test_a_provisional_record_that_too_few_can_hold_needs_no_decision() -> None:  # PROTO-14
    member = cut_of(header_of(1, group="g"))
    assert evidence(n1=snapshot(view(member, "n1")), n2=snapshot(), n3=snapshot()).standing(ballot(1)) is Standing.VOID


def test_what_a_recovered_node_keeps_in_mind_is_no_acceptance_but_may_have_been_one() -> None:  # PROTO-12
    heard = msgspec.structs.replace(view(CREATE, "n2"), ballot=Ballot(1, "n1", -2))
    judged = evidence(n1=snapshot(view(CREATE, "n1")), n2=snapshot(heard), n3=snapshot())
    assert judged.standing(ballot(1)) is Standing.DOUBT


def test_only_shares_and_sealed_values_that_match_their_commitments_are_used() -> None:  # PROTO-17
    bad = msgspec.structs.replace(view(CREATE, "n1"), share=b"\0" * 33, sealed=b"rubbish")
    judged = evidence(n1=snapshot(bad), n2=snapshot(view(CREATE, "n2")), n3=snapshot(view(CREATE, "n3", sealed=False)))
    assert set(judged.sound_shares(CREATE.header)) == {"n2", "n3"}
    assert judged.sealed(CREATE.header) == CREATE.sealed
    assert evidence(n1=snapshot(bad)).sealed(CREATE.header) is None


def test_a_record_in_doubt_can_be_settled_with_k_shares_and_its_sealed_value() -> None:  # PROTO-11
    whole = (view(CREATE, "n1"), view(CREATE, "n2", sealed=False))
    assert evidence(n1=snapshot(whole[0]), n2=snapshot(whole[1])).settleable(doubt(CREATE.header)) == CREATE.header
    assert evidence(n1=snapshot(whole[0]), n2=snapshot()).settleable(doubt(CREATE.header)) is None
    unsealed = msgspec.structs.replace(whole[0], sealed=None)
    assert evidence(n1=snapshot(unsealed), n2=snapshot(whole[1])).settleable(doubt(CREATE.header)) is None
    assert evidence(n1=snapshot(), n2=snapshot()).settleable(doubt(CREATE.header)) is None


def test_a_tombstone_in_doubt_can_be_settled_without_shares_and_a_provisional_record_never() -> None:  # PROTO-11, PROTO-14
    tombstone = cut_of(header_of(2, CREATE.header, kind=Kind.TOMBSTONE))
    assert evidence(n1=snapshot(view(tombstone, "n1"))).settleable(doubt(tombstone.header)) == tombstone.header
    member = cut_of(header_of(1, group="g"))
    both = {"n1": snapshot(view(member, "n1")), "n2": snapshot(view(member, "n2"))}
    assert evidence(QUORUM, **both).settleable(doubt(member.header)) is None


def test_with_k_below_a_majority_a_read_quorum_alone_cannot_count_a_write() -> None:  # PROTO-1, PROTO-16
    wide = Quorum(5, 2)
    record = cut_of(header_of(1, nodes=FIVE))
    answers = {node: snapshot(view(record, node)) for node in FIVE[:2]}
    assert evidence(wide, **answers).judge().doubts == (doubt(record.header),)
    assert evidence(wide, **{node: snapshot(view(record, node)) for node in FIVE[:4]}).judge().head == record.header


def test_a_secrets_material_is_in_no_representation() -> None:
    assert ENTROPY.key.hex() not in repr((ENTROPY, CREATE, view(CREATE, "n1")))
    assert repr(CREATE.shares["n1"]) not in repr((CREATE, view(CREATE, "n1"), snapshot(view(CREATE, "n1"))))


def test_a_mark_counts_although_others_hold_the_record_without_one() -> None:  # PROTO-9
    judged = evidence(n1=snapshot(view(CREATE, "n1", chosen=True)), n2=snapshot(view(CREATE, "n2", at=5)))
    assert judged.standing(ballot(1)) is Standing.CHOSEN


def test_an_acceptance_under_another_ballot_takes_nothing_from_w_under_one() -> None:  # PROTO-9
    record = cut_of(header_of(1, nodes=FIVE))
    answers = {node: snapshot(view(record, node, at=5)) for node in FIVE[:3]} | {"n4": snapshot(view(record, "n4", at=2))}
    assert evidence(Quorum(5, 3), **answers).standing(ballot(1)) is Standing.CHOSEN


def test_w_acceptances_are_counted_though_nobody_shows_the_header() -> None:  # PROTO-9
    bare = {node: snapshot(msgspec.structs.replace(view(CREATE, node), header=None)) for node in ("n1", "n2")}
    assert evidence(**bare).standing(ballot(1)) is Standing.CHOSEN


def test_the_next_sequence_lies_above_everything_seen_even_where_the_head_is_not_shown() -> None:  # PROTO-11
    unseen = snapshot(msgspec.structs.replace(view(UPDATE, "n1", chosen=True), header=None))
    judgement = evidence(n1=unseen, n2=snapshot(view(CREATE, "n2"))).judge()
    assert (judgement.head, judgement.next_sequence) == (None, 2)
