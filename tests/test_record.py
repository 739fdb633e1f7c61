"""What a node keeps: ballots, headers, shards (PROTO-2, PROTO-9, STORE-3, STORE-4)."""

from __future__ import annotations

import msgspec
import pytest
from scenes import NODES, SECRET, ballot, cut_of, header_of, held

from model.envelope import EnvelopeError
from model.operation import SecretId
from model.record import (
    ZERO,
    Ballot,
    Held,
    Kind,
    Register,
    by_index,
    group_register,
    open_value,
    sealed_is_sound,
    share_is_sound,
    shares_for,
)

CREATE = cut_of(header_of(1), b"value")


def test_ballots_are_ordered_by_counter_then_node_then_boot() -> None:  # PROTO-2
    ordered = [ZERO, Ballot(1, "n1", 9), Ballot(1, "n2", 1), Ballot(1, "n2", 2), Ballot(2, "a", 0)]
    backwards = ordered[::-1]
    assert sorted(backwards) == ordered
    assert Ballot(1, "n1", 5).held_by_same(Ballot(7, "n1", 5))
    assert not Ballot(1, "n1", 5).held_by_same(Ballot(1, "n1", 6))


def test_a_record_names_its_doubts_and_everything_at_or_below_its_base_as_ancestors() -> None:  # PROTO-9
    unsure = header_of(3, CREATE.header)
    above = header_of(5, CREATE.header, unsure)
    assert [counter for counter in range(1, 6) if above.names_ancestor(ballot(counter))] == [1, 3]
    assert not CREATE.header.names_ancestor(ballot(1))


def test_a_create_begins_an_incarnation_also_on_a_tombstone() -> None:
    tombstone = header_of(2, CREATE.header, kind=Kind.TOMBSTONE)
    assert [each.is_create for each in (CREATE.header, tombstone, header_of(3, tombstone), header_of(3, CREATE.header))] == [
        True,
        False,
        True,
        False,
    ]


def test_any_k_shares_open_the_value_and_give_back_every_other_share() -> None:  # STORE-3
    for pair in (NODES[:2], NODES[1:]):
        shares = {node: CREATE.shares[node] for node in pair}
        assert CREATE.sealed is not None
        assert open_value(SECRET, CREATE.header, shares, CREATE.sealed) == b"value"
        assert shares_for(CREATE.header, shares, NODES) == CREATE.shares
    assert set(by_index(CREATE.header, CREATE.shares)) == {1, 2, 3}


def test_a_shard_is_bound_to_its_secret_version_and_node() -> None:  # STORE-4
    share = CREATE.shares["n1"]
    assert share_is_sound(SECRET, CREATE.header, "n1", share)
    other = msgspec.structs.replace(CREATE.header, version=2)
    assert not share_is_sound(SecretId("other", SECRET.name), CREATE.header, "n1", share)
    assert not share_is_sound(SECRET, other, "n1", share)
    assert not share_is_sound(SECRET, CREATE.header, "n2", share)
    assert not share_is_sound(SECRET, CREATE.header, "stranger", share)
    assert not share_is_sound(SECRET, CREATE.header, "n1", None)
    assert CREATE.sealed is not None
    with pytest.raises(EnvelopeError):
        open_value(SECRET, other, CREATE.shares, CREATE.sealed)


def test_a_sealed_value_is_the_one_that_its_header_names() -> None:
    assert sealed_is_sound(CREATE.header, CREATE.sealed)
    assert not sealed_is_sound(CREATE.header, None)
    assert not sealed_is_sound(CREATE.header, b"another")


def test_a_register_finds_a_record_by_its_tag() -> None:
    register = Register(records=(held(CREATE),))
    assert register.held(ballot(1)) == held(CREATE)
    assert register.held(ballot(2)) is None


def test_a_groups_register_lives_in_a_namespace_that_no_caller_can_have() -> None:  # PROTO-14
    assert group_register("abc") == SecretId("", "abc")


def test_no_representation_shows_a_share_or_a_sealed_value() -> None:
    shown = repr(held(CREATE)) + repr(Held(CREATE.header, ZERO, True, None, None)) + repr(CREATE)
    assert "shard=True" in shown
    assert repr(CREATE.shares["n1"]) not in shown
    assert repr(CREATE.sealed) not in shown


def test_what_is_held_by_repair_or_by_hearsay_is_not_held_under_a_ballot_that_counts() -> None:
    assert Ballot(1, "n1", 0).counts
    assert not ZERO.counts
    assert not Ballot(7, "n1", -3).counts
