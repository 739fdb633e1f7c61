"""One node's machine: what it erases, and what it takes over (PROTO-7, PROTO-8)."""

from __future__ import annotations

import msgspec
from participant_scenes import AGAIN, CREATE, TOMBSTONE, UPDATE, counters, holding, step, write_of
from scenes import SECRET, ballot, cut_of, header_of, held

from model import participant
from model.message import Erase, Erased, Noted, Refused, Repair
from model.record import Kind


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


def test_a_late_erase_of_an_older_tombstone_changes_nothing() -> None:  # PROTO-8
    older = cut_of(header_of(3, UPDATE.header, kind=Kind.TOMBSTONE))
    newer = cut_of(header_of(5, AGAIN.header, kind=Kind.TOMBSTONE))
    register, _ = step(holding(held(AGAIN, chosen=True), held(newer), promised=5), Erase(newer.header))
    assert (register.erased, counters(register)) == (ballot(5), [5])
    assert step(register, Erase(older.header)) == (register, Erased(ballot(3)))


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


def test_a_tombstone_is_sound_without_a_share() -> None:  # STORE-8
    seat = participant.Seat(SECRET, "n1")
    assert participant.is_sound(seat, held(TOMBSTONE))
    assert participant.is_sound(seat, held(CREATE))
    assert not participant.is_sound(seat, msgspec.structs.replace(held(CREATE), share=None))


def test_a_repair_of_what_is_held_whole_and_marked_changes_nothing() -> None:  # PROTO-7
    register = holding(held(UPDATE, chosen=True))
    assert step(register, Repair(UPDATE.header, UPDATE.shares["n1"], UPDATE.sealed)) == (register, Noted(False))


def test_a_tombstone_missing_below_the_create_that_stands_on_it_comes_by_repair() -> None:  # PROTO-7, SEM-22
    register, _ = step(holding(held(UPDATE), promised=2), write_of(AGAIN))
    register, reply = step(register, Repair(TOMBSTONE.header, None, None))
    assert reply == Noted(True)
    assert register.records == (held(TOMBSTONE, at=0, chosen=True), held(AGAIN))
