"""One node's machine: what it shows, and what must be loaded for that (PROTO-4, PROTO-6)."""

from __future__ import annotations

import msgspec
import pytest
import workload
from participant_scenes import AGAIN, CREATE, TOMBSTONE, UPDATE, holding, shown, step, write_of
from scenes import ballot, cut_of, header_of, held, retry
from simulation import Cluster, Node
from workload_shapes import eventful

from model import participant
from model.message import Confirm, Erase, Message, Query, Release, Repair, Reply, Snapshot, Void, Vote, Write
from model.operation import SecretId
from model.participant import Reach, reach
from model.record import Buried, Lease, Register


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


def test_a_vote_shows_the_tombstone_that_buried_its_retry_digest() -> None:  # SEM-22
    buried = Buried(retry("mine"), False, 1, 1001)
    tombstone = cut_of(msgspec.structs.replace(TOMBSTONE.header, buried=(buried,)))
    register = holding(held(tombstone, chosen=True), held(AGAIN, chosen=True), erased=ballot(3))
    assert shown(step(register, Vote(ballot(9), 10, retry("mine").key))[1]) == [(3, False, False), (4, False, False)]
    assert shown(step(register, Vote(ballot(9), 10, retry("other").key))[1]) == [(4, False, False)]


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


def test_a_message_about_one_record_reaches_that_record() -> None:
    assert reach(write_of(UPDATE)) == Reach(tag=CREATE.header.tag)
    assert reach(write_of(AGAIN)) == Reach(everything=True, tag=TOMBSTONE.header.tag)
    assert reach(Repair(UPDATE.header, None, None)) == Reach(tag=UPDATE.header.tag)
    assert reach(Confirm(UPDATE.header.tag)) == Reach(tag=UPDATE.header.tag)
    assert not reach(Release(ballot(1))).everything


def test_loading_more_than_a_message_reaches_never_changes_a_reply() -> None:
    class Doubled(Cluster):
        def apply(self, node: Node, secret: SecretId, message: Message) -> Reply:
            whole = participant.step(participant.Seat(secret, node.name), node.registers.get(secret, Register()), message, self.now_ms)[1]
            reply = super().apply(node, secret, message)
            assert reply == whole, f"{message} was answered otherwise by a register loaded in part"
            return reply

    for seed in range(150):
        workload.Run(seed, eventful(seed), Doubled).go()


@pytest.mark.parametrize("kind", [Write, Repair])
def test_no_representation_of_a_message_shows_a_share_or_a_sealed_value(kind: type[Write] | type[Repair]) -> None:
    write = write_of(CREATE)
    message = write if kind is Write else Repair(write.header, write.share, write.sealed)
    assert repr(write.share) not in repr(message)
    assert repr(write.sealed) not in repr(message)
    assert repr(CREATE.header.tag) in repr(message)


def test_a_create_reaches_everything_below_it() -> None:  # PROTO-8
    for message in (write_of(AGAIN), Repair(AGAIN.header, None, None)):
        assert reach(message).everything


def test_only_a_query_that_shows_no_shard_may_be_answered_without_having_them() -> None:
    assert not reach(Query()).shards
    asking = (Query(shares=True), Query(sealed=True), Vote(ballot(9), 10), write_of(UPDATE), Repair(UPDATE.header, None, None))
    for message in (*asking, Confirm(ballot(2)), Erase(TOMBSTONE.header), Void(ballot(9), ()), Release(ballot(1))):
        assert reach(message).shards


@pytest.mark.parametrize("now_ms", [130, 131])
def test_a_lease_that_has_run_out_is_shown_as_none(now_ms: int) -> None:  # PROTO-4
    reply = step(holding(held(CREATE), lease=Lease(ballot(5), 130)), Query(), now_ms)[1]
    assert isinstance(reply, Snapshot)
    assert reply.lease_ms == 0
