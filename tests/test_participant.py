"""One node's machine, message by message (PROTO-4 to PROTO-8)."""

from __future__ import annotations

import msgspec
import pytest
import workload
from scenes import SECRET, ballot, cut_of, header_of, held, retry
from simulation import Cluster, Node

from model import participant
from model.message import (
    Accepted,
    Confirm,
    Erase,
    Erased,
    Locked,
    Message,
    NamesAfter,
    Noted,
    Promised,
    Query,
    Refused,
    Release,
    Repair,
    Reply,
    Snapshot,
    Void,
    Vote,
    Write,
)
from model.operation import SecretId
from model.participant import Reach, reach
from model.record import ZERO, Buried, Cut, Held, Kind, Lease, Register

CREATE = cut_of(header_of(1))
UPDATE = cut_of(header_of(2, CREATE.header))
TOMBSTONE = cut_of(header_of(3, UPDATE.header, kind=Kind.TOMBSTONE))
AGAIN = cut_of(header_of(4, TOMBSTONE.header))


def step(register: Register, message: Message, now_ms: int = 0, node: str = "n1") -> tuple[Register, Reply]:
    return participant.step(participant.Seat(SECRET, node), register, message, now_ms)


def holding(*records: Held, promised: int = 0, **more: object) -> Register:
    register = Register(ballot(promised) if promised else ZERO, records=records)
    return msgspec.structs.replace(register, **more)


def write_of(record: Cut, at: int | None = None, node: str = "n1") -> Write:
    accepted = record.header.tag if at is None else ballot(at)
    return Write(accepted, record.header, record.shares.get(node), record.sealed)


def counters(register: Register) -> list[int]:
    return [each.header.tag.counter for each in register.records]


def shown(reply: Reply) -> list[tuple[int, bool, bool]]:
    snapshot = reply.snapshot if isinstance(reply, Promised) else reply
    assert isinstance(snapshot, Snapshot)
    return [(each.tag.counter, each.share is not None, each.sealed is not None) for each in snapshot.views]


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


def test_a_vote_shows_the_newest_chosen_record_and_what_lies_above_with_shares_of_the_unmarked() -> None:  # PROTO-4
    third = cut_of(header_of(3, UPDATE.header))
    register = holding(held(CREATE, chosen=True), held(UPDATE, chosen=True), held(third))
    assert shown(step(register, Vote(ballot(9), 10))[1]) == [(2, False, False), (3, True, True)]


def test_a_vote_for_a_delete_shows_every_header_but_no_share_of_what_is_chosen() -> None:  # PROTO-4
    register = holding(held(CREATE, chosen=True), held(UPDATE, chosen=True))
    assert shown(step(register, Vote(ballot(9), 10, gather=True))[1]) == [(1, False, False), (2, False, False)]


def test_a_vote_shows_the_record_that_carries_its_retry_digest_however_old_with_share() -> None:  # PROTO-11
    old = cut_of(header_of(1, retry=retry("mine")))
    new = cut_of(header_of(2, old.header))
    register = holding(held(old, chosen=True), held(new, chosen=True))
    assert shown(step(register, Vote(ballot(9), 10, retry("mine").key))[1]) == [(1, True, True), (2, False, False)]
    assert shown(step(register, Vote(ballot(9), 10, retry("other").key))[1]) == [(2, False, False)]


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
    far = msgspec.structs.replace(header_of(2, CREATE.header), sequence=9)
    third = header_of(3, CREATE.header)
    fourth = cut_of(header_of(4, third))
    register, _ = step(holding(held(CREATE), held(cut_of(far)), promised=4), write_of(fourth))
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


def test_a_late_void_does_not_drop_what_was_accepted_again_since() -> None:  # PROTO-6
    register = holding(held(UPDATE, at=9), promised=9)
    assert step(register, Void(ballot(8), (ballot(2),))) == (register, Noted(False))


def test_an_erase_deletes_everything_older_and_raises_the_promise() -> None:  # PROTO-8
    register, reply = step(holding(held(CREATE), held(UPDATE), promised=2), Erase(TOMBSTONE.header))
    assert reply == Erased(ballot(3))
    assert register == holding(held(TOMBSTONE, at=0, chosen=True), promised=3, erased=ballot(3))


def test_an_erase_keeps_what_stands_on_the_tombstone_and_a_second_one_changes_nothing() -> None:  # PROTO-8
    begun = holding(held(UPDATE), held(TOMBSTONE), held(AGAIN), promised=4)
    register, _ = step(begun, Erase(TOMBSTONE.header))
    assert register.records == (held(TOMBSTONE, chosen=True), held(AGAIN))
    assert register.promised == ballot(4)
    assert step(register, Erase(TOMBSTONE.header)) == (register, Erased(ballot(3)))


def test_a_repair_is_known_to_be_chosen_but_never_an_acceptance() -> None:  # PROTO-7
    register, reply = step(holding(promised=9), Repair(UPDATE.header, UPDATE.shares["n1"], UPDATE.sealed))
    assert reply == Noted(True)
    assert register == holding(held(UPDATE, at=0, chosen=True), promised=9)


def test_a_repair_of_what_is_held_whole_only_marks_it() -> None:  # PROTO-7
    register, reply = step(holding(held(UPDATE)), Repair(UPDATE.header, b"x", b"y"))
    assert (register, reply) == (holding(held(UPDATE, chosen=True)), Noted(True))


def test_a_repair_mends_a_corrupt_shard_and_keeps_its_acceptance() -> None:  # PROTO-7
    corrupt = msgspec.structs.replace(held(UPDATE), share=b"\0" * 33)
    register, _ = step(holding(corrupt), Repair(UPDATE.header, UPDATE.shares["n1"], UPDATE.sealed))
    assert register.records == (held(UPDATE, chosen=True),)


def test_a_repair_that_does_not_match_its_commitment_never_replaces_anything() -> None:  # PROTO-7
    corrupt = msgspec.structs.replace(held(UPDATE), share=b"\0" * 33)
    register, _ = step(holding(corrupt), Repair(UPDATE.header, b"\1" * 33, UPDATE.sealed))
    assert register.records == (msgspec.structs.replace(corrupt, chosen=True),)


def test_a_header_alone_tells_a_node_that_it_was_chosen() -> None:  # PROTO-15
    register, _ = step(holding(promised=1), Repair(UPDATE.header, None, None))
    assert step(register, write_of(CREATE))[1] == Refused(ballot(1))


def test_a_repaired_tombstone_needs_no_share() -> None:  # PROTO-7
    register, _ = step(holding(held(TOMBSTONE)), Repair(TOMBSTONE.header, None, None))
    assert register.records == (held(TOMBSTONE, chosen=True),)


def test_a_query_shows_what_was_asked_and_the_lease_and_changes_nothing() -> None:  # PROTO-6
    register = holding(held(CREATE, chosen=True), held(UPDATE, chosen=True), lease=Lease(ballot(5), 130))
    after, reply = step(register, Query(), 100)
    assert after == register
    assert isinstance(reply, Snapshot)
    assert reply.lease_ms == 30
    assert shown(reply) == [(2, False, False)]
    assert shown(step(register, Query(shares=True, sealed=True), 200)[1]) == [(2, True, True)]
    assert shown(step(register, Query(lineage=True))[1]) == [(1, False, False), (2, False, False)]
    assert shown(step(register, Query(tag=ballot(1), shares=True))[1]) == [(1, True, False)]


def test_a_query_leaves_out_the_headers_and_sealed_values_that_the_asker_has() -> None:  # PROTO-6
    reply = step(holding(held(CREATE), held(UPDATE)), Query(known=(ballot(2),), sealed=True))[1]
    assert isinstance(reply, Snapshot)
    assert [(each.header, each.sealed) for each in reply.views] == [(CREATE.header, CREATE.sealed), (None, None)]


def test_a_corrupt_share_is_never_shown() -> None:  # PROTO-17
    corrupt = msgspec.structs.replace(held(UPDATE), share=b"\0" * 33)
    assert shown(step(holding(corrupt), Query(shares=True))[1]) == [(2, False, False)]


def test_a_message_that_is_not_for_a_participant_is_our_own_mistake() -> None:
    with pytest.raises(TypeError, match="NamesAfter"):
        step(holding(), NamesAfter("", "", 1))
    assert reach(NamesAfter("", "", 1)) == Reach()


def test_loading_more_than_a_message_reaches_never_changes_a_reply() -> None:
    class Doubled(Cluster):
        def apply(self, node: Node, secret: SecretId, message: Message) -> Reply:
            whole = participant.step(participant.Seat(secret, node.name), node.registers.get(secret, Register()), message, self.now_ms)[1]
            reply = super().apply(node, secret, message)
            assert reply == whole, f"{message} was answered otherwise by a register loaded in part"
            return reply

    for seed in range(150):
        workload.Run(seed, workload.eventful(seed), Doubled).go()


def test_a_late_erase_of_an_older_tombstone_changes_nothing() -> None:  # PROTO-8
    older = cut_of(header_of(3, UPDATE.header, kind=Kind.TOMBSTONE))
    newer = cut_of(header_of(5, AGAIN.header, kind=Kind.TOMBSTONE))
    register, _ = step(holding(held(AGAIN, chosen=True), held(newer), promised=5), Erase(newer.header))
    assert (register.erased, counters(register)) == (ballot(5), [5])
    assert step(register, Erase(older.header)) == (register, Erased(ballot(3)))


def test_a_vote_shows_the_tombstone_that_buried_its_retry_digest() -> None:  # SEM-22
    buried = Buried(retry("mine"), False, 1, 1001)
    tombstone = cut_of(msgspec.structs.replace(TOMBSTONE.header, buried=(buried,)))
    register = holding(held(tombstone, chosen=True), held(AGAIN, chosen=True), erased=ballot(3))
    assert shown(step(register, Vote(ballot(9), 10, retry("mine").key))[1]) == [(3, False, False), (4, False, False)]
    assert shown(step(register, Vote(ballot(9), 10, retry("other").key))[1]) == [(4, False, False)]


def test_a_tombstone_is_sound_without_a_share() -> None:  # STORE-8
    seat = participant.Seat(SECRET, "n1")
    assert participant.is_sound(seat, held(TOMBSTONE))
    assert participant.is_sound(seat, held(CREATE))
    assert not participant.is_sound(seat, msgspec.structs.replace(held(CREATE), share=None))


def test_a_message_about_one_record_reaches_that_record() -> None:
    assert reach(write_of(UPDATE)) == Reach(tag=CREATE.header.tag)
    assert reach(write_of(AGAIN)) == Reach(everything=True, tag=TOMBSTONE.header.tag)
    assert reach(Repair(UPDATE.header, None, None)) == Reach(tag=UPDATE.header.tag)
    assert reach(Confirm(UPDATE.header.tag)) == Reach(tag=UPDATE.header.tag)
    assert not reach(Release(ballot(1))).everything


@pytest.mark.parametrize("kind", [Write, Repair])
def test_no_representation_of_a_message_shows_a_share_or_a_sealed_value(kind: type[Write] | type[Repair]) -> None:
    write = write_of(CREATE)
    message = write if kind is Write else Repair(write.header, write.share, write.sealed)
    assert repr(write.share) not in repr(message)
    assert repr(write.sealed) not in repr(message)
    assert repr(CREATE.header.tag) in repr(message)
