"""The counts behind every decision, against their definitions for every n and k."""

from itertools import combinations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.quorum import MAX_SHARES, Quorum, tally

ALL = [Quorum(n, k) for n in range(2, 13) for k in range(2, n + 1)]


@pytest.mark.parametrize("quorum", ALL)
def test_every_read_quorum_meets_every_write_quorum_and_any_two_write_quorums_meet(quorum: Quorum) -> None:
    assert quorum.read == quorum.threshold
    assert quorum.read + quorum.write > quorum.share_count
    assert 2 * quorum.write > quorum.share_count
    assert quorum.write <= quorum.share_count


def test_quorums_meet_when_the_sets_are_enumerated_one_by_one() -> None:
    for quorum in (each for each in ALL if each.share_count <= 6):
        nodes = range(quorum.share_count)
        writes = [set(chosen) for chosen in combinations(nodes, quorum.write)]
        assert all(write & other for write in writes for other in writes)
        assert all(write & set(read) for write in writes for read in combinations(nodes, quorum.read))


@pytest.mark.parametrize("quorum", ALL)
def test_fewer_than_k_shares_are_left_once_a_write_quorum_has_erased(quorum: Quorum) -> None:
    assert quorum.share_count - quorum.write < quorum.threshold


@pytest.mark.parametrize("quorum", ALL)
def test_no_smaller_write_quorum_would_do(quorum: Quorum) -> None:
    smaller = quorum.write - 1
    assert smaller < quorum.threshold or quorum.share_count - smaller >= quorum.threshold


@pytest.mark.parametrize(
    ("n", "k", "write"), [(2, 2, 2), (3, 2, 2), (5, 2, 4), (5, 3, 3), (5, 4, 4), (5, 5, 5), (7, 3, 5), (255, 128, 128)]
)
def test_the_write_quorum_of_well_known_configurations(n: int, k: int, write: int) -> None:
    assert Quorum(n, k).write == write


def test_the_setting_raises_the_write_quorum_and_never_lowers_it() -> None:
    assert [Quorum(5, 3, raised).write for raised in range(6)] == [3, 3, 3, 3, 4, 5]


@pytest.mark.parametrize("counts", [(5, 1), (5, 0), (5, -1), (5, 6), (1, 1), (0, 0), (MAX_SHARES + 1, 3), (5, 3, 6), (5, 3, -1)])
def test_counts_that_cannot_work_are_refused(counts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="need "):
        Quorum(*counts)


def test_the_largest_cluster_is_allowed() -> None:
    assert Quorum(MAX_SHARES, MAX_SHARES).write == MAX_SHARES


def test_counts_cannot_be_changed_or_decoded_around_the_check() -> None:
    with pytest.raises(AttributeError):
        Quorum(5, 3).threshold = 1
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"share_count":5,"threshold":1}', type=Quorum)


@pytest.mark.parametrize("quorum", ALL)
def test_a_record_may_be_chosen_exactly_when_a_write_quorum_may_hold_it(quorum: Quorum) -> None:
    assert [quorum.may_be_chosen(holders) for holders in range(quorum.share_count + 1)] == [
        holders >= quorum.write for holders in range(quorum.share_count + 1)
    ]


@pytest.mark.parametrize(
    ("n", "k", "buffer", "due"),
    [
        (5, 3, 1, {3, 4}),
        (5, 3, 0, {3}),
        (5, 3, 9, {3, 4}),
        (7, 3, 1, {3, 4}),
        (5, 5, 1, set()),
        (2, 2, 1, set()),
    ],
)
def test_repair_is_due_from_k_to_k_plus_buffer_shares_while_some_are_missing(n: int, k: int, buffer: int, due: set[int]) -> None:
    assert {found for found in range(n + 1) if Quorum(n, k).repair_due(found, buffer)} == due


@given(st.integers(0, 8), st.integers(0, 8), st.integers(0, 8))
def test_a_tally_agrees_with_trying_every_way_the_open_answers_can_turn_out(yes: int, open_: int, need: int) -> None:
    outcomes = {yes + more >= need for more in range(open_ + 1)}
    expected = "pending" if len(outcomes) == 2 else "won" if True in outcomes else "lost"
    assert tally(yes, open_, need) == expected


def test_a_share_index_is_one_byte_so_256_shares_are_too_many() -> None:
    with pytest.raises(ValueError, match="255"):
        Quorum(256, 2)
