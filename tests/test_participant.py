"""One node's machine: what it promises, accepts, marks and drops (PROTO-4 to PROTO-6)."""

from __future__ import annotations

import msgspec
import pytest
from participant_scenes import AGAIN, CREATE, TOMBSTONE, UPDATE, counters, holding, step, write_of
from scenes import ballot, cut_of, header_of, held

from model.message import Accepted, Confirm, Locked, NamesAfter, Noted, Promised, Refused, Release, Repair, Snapshot, Void, Vote
from model.participant import Reach, reach
from model.record import ZERO, Lease


def test_a_vote_at_or_below_the_promise_is_refused_and_changes_nothing() -> None:  # PROTO-4
    for counter in (4, 5):
        assert step(holding(promised=5), Vote(ballot(counter), 10)) == (holding(promised=5), Refused(ballot(5)))


def test_a_vote_is_a_durable_promise_and_a_lease() -> None:  # PROTO-4
    register, reply = step(holding(), Vote(ballot(5), 10), now_ms=100)
    assert register == holding(promised=5, lease=Lease(ballot(5), 110))
    assert reply == Promised(ballot(5), Snapshot(ballot(5), ZERO, ()))


def test_a_running_lease_locks_out_other_proposals_but_not_the_next_round_of_its_own() -> None:  # PROTO-4
    leased = holding(promised=5, lease=Lease(ballot(5), 110))
    assert step(leased, Vote(ballot(6, "n2"), 10), 100) == (leased, Locked(10))
    assert isinstance(step(leased, Vote(ballot(6), 10), 100)[1], Promised)
    assert isinstance(step(leased, Vote(ballot(6, "n2"), 10), 110)[1], Promised)


def test_a_release_ends_the_lease_of_its_proposal_and_of_its_earlier_rounds() -> None:  # PROTO-4
    leased = holding(promised=5, lease=Lease(ballot(5), 110))
    for counter in (5, 6):
        assert step(leased, Release(ballot(counter)))[0].lease is None


def test_a_late_release_does_not_end_the_lease_of_a_later_round_nor_anybody_elses() -> None:  # PROTO-4
    leased = holding(promised=5, lease=Lease(ballot(5), 110))
    for stale in (ballot(4), ballot(9, "n2")):
        assert step(leased, Release(stale)) == (leased, Noted(False))


def test_a_write_below_the_promise_is_refused() -> None:  # PROTO-5
    assert step(holding(promised=5), write_of(CREATE, 4)) == (holding(promised=5), Refused(ballot(5)))


def test_a_write_below_what_is_erased_is_refused_even_under_a_new_ballot() -> None:  # PROTO-5
    register = holding(held(TOMBSTONE, chosen=True), promised=3, erased=ballot(3))
    assert step(register, write_of(UPDATE, 9)) == (register, Refused(ballot(3)))


def test_a_write_older_than_a_record_known_to_be_chosen_is_refused_whatever_the_promise() -> None:  # PROTO-5
    register = holding(held(UPDATE, at=0, chosen=True))
    assert step(register, write_of(CREATE)) == (register, Refused(ZERO))


def test_a_write_is_accepted_under_its_ballot_and_raises_the_promise() -> None:  # PROTO-5
    register, reply = step(holding(promised=1), write_of(CREATE, 6))
    assert reply == Accepted(ballot(6), ballot(1))
    assert register == holding(held(CREATE, at=6), promised=6)


def test_a_write_again_of_the_same_record_keeps_its_mark() -> None:  # PROTO-6
    register, _ = step(holding(held(CREATE, chosen=True), promised=1), write_of(CREATE, 6))
    assert register.records == (held(CREATE, at=6, chosen=True),)


def test_a_write_drops_its_rivals_and_marks_its_base() -> None:  # PROTO-5
    rival, junk = cut_of(header_of(3, CREATE.header)), cut_of(header_of(5, CREATE.header))
    winner = cut_of(header_of(4, CREATE.header))
    register, _ = step(holding(held(CREATE), held(rival), held(junk), promised=5), write_of(winner, 6))
    assert register.records == (held(CREATE, chosen=True), held(winner, at=6))


def test_a_write_keeps_its_doubts() -> None:  # PROTO-9
    unsure = cut_of(header_of(3, CREATE.header))
    above = cut_of(header_of(4, CREATE.header, unsure.header))
    register, _ = step(holding(held(CREATE), held(unsure), promised=4), write_of(above))
    assert counters(register) == [1, 3, 4]


def test_a_dead_record_older_than_the_base_goes_when_its_place_in_the_sequence_is_taken() -> None:  # PROTO-5
    third = header_of(3, CREATE.header)
    fourth = cut_of(header_of(4, third))
    for taken in (fourth.header.sequence, 9):
        far = msgspec.structs.replace(header_of(2, CREATE.header), sequence=taken)
        register, _ = step(holding(held(CREATE), held(cut_of(far)), promised=4), write_of(fourth))
        assert counters(register) == [1, 4]


def test_a_dead_record_newer_than_the_base_goes_though_its_place_in_the_sequence_is_free() -> None:  # PROTO-5
    dead = cut_of(header_of(2, CREATE.header))
    above = cut_of(msgspec.structs.replace(header_of(4, CREATE.header), sequence=3))
    register, _ = step(holding(held(CREATE), held(dead), promised=4), write_of(above))
    assert counters(register) == [1, 4]


def test_a_tombstone_written_erases_nothing() -> None:  # PROTO-5
    register, _ = step(holding(held(CREATE), held(UPDATE), promised=3), write_of(TOMBSTONE))
    assert counters(register) == [1, 2, 3]
    assert register.erased == ZERO


def test_a_create_on_a_tombstone_erases_what_lies_below_it_and_refuses_its_late_repair() -> None:  # PROTO-5, PROTO-8
    register, _ = step(holding(held(CREATE), held(UPDATE), held(TOMBSTONE), promised=4), write_of(AGAIN))
    assert counters(register) == [3, 4]
    assert register.erased == ballot(3)
    assert step(register, Repair(UPDATE.header, UPDATE.shares["n1"], UPDATE.sealed)) == (register, Noted(False))


def test_a_confirm_marks_the_record_and_drops_what_does_not_stand_on_it() -> None:  # PROTO-6
    beside = cut_of(header_of(3, CREATE.header))
    register, reply = step(holding(held(CREATE), held(UPDATE), held(beside)), Confirm(ballot(2)))
    assert reply == Noted(True)
    assert register.records == (held(CREATE, chosen=True), held(UPDATE, chosen=True))


def test_a_confirm_of_what_is_marked_or_unknown_changes_nothing_but_ends_the_lease() -> None:  # PROTO-6
    for tag in (ballot(1), ballot(8)):
        register = holding(held(CREATE, chosen=True), lease=Lease(tag, 99))
        assert step(register, Confirm(tag)) == (holding(held(CREATE, chosen=True)), Noted(False))


def test_a_void_drops_what_was_judged_and_nothing_that_is_marked() -> None:  # PROTO-6
    register, reply = step(holding(held(CREATE, chosen=True), held(UPDATE)), Void(ballot(9), (ballot(1), ballot(2))))
    assert (counters(register), reply) == ([1], Noted(True))


@pytest.mark.parametrize("voted", [8, 9])
def test_a_void_drops_only_what_was_accepted_before_its_vote(voted: int) -> None:  # PROTO-6
    register = holding(held(UPDATE, at=9), promised=9)
    assert step(register, Void(ballot(voted), (ballot(2),))) == (register, Noted(False))


def test_a_message_that_is_not_for_a_participant_is_our_own_mistake() -> None:
    with pytest.raises(TypeError, match="NamesAfter"):
        step(holding(), NamesAfter("", "", 1))
    assert reach(NamesAfter("", "", 1)) == Reach()


def test_who_missed_a_deletion_but_holds_the_create_above_it_accepts_nothing_of_before() -> None:  # PROTO-5, PROTO-8
    register, _ = step(holding(held(UPDATE), promised=2), write_of(AGAIN))
    assert counters(register) == [4]
    assert step(register, write_of(UPDATE, 9)) == (register, Refused(ballot(4)))


def test_a_tombstone_that_was_carried_out_may_be_settled_again() -> None:  # PROTO-5
    register = holding(held(TOMBSTONE, chosen=True), promised=3, erased=ballot(3))
    assert step(register, write_of(TOMBSTONE, 9))[1] == Accepted(ballot(9), ballot(3))


def test_a_void_drops_nothing_that_lies_below_the_newest_record_known_to_be_chosen() -> None:  # PROTO-6, PROTO-9
    unsure = cut_of(header_of(2, CREATE.header))
    above = cut_of(header_of(3, CREATE.header, unsure.header))
    register = holding(held(CREATE, chosen=True), held(unsure), held(above, chosen=True))
    assert step(register, Void(ballot(9), (ballot(2),))) == (register, Noted(False))
