"""Which nodes hold a secret."""

import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.placement import place, secret_digest, share_index

NODES = tuple(f"node-{number}" for number in range(1, 10))

digests = st.binary(min_size=32, max_size=32)


def distance(node: str, digest: bytes) -> bytes:
    """The slow twin: XOR byte by byte, compared as bytes."""
    return bytes(left ^ right for left, right in zip(hashlib.sha256(node.encode()).digest(), digest, strict=True))


@given(digests, st.integers(1, len(NODES)))
def test_the_nearest_nodes_hold_the_secret_nearest_first(digest: bytes, share_count: int) -> None:
    assert place(digest, NODES, share_count) == tuple(sorted(NODES, key=lambda node: distance(node, digest)))[:share_count]


@given(digests, st.permutations(NODES))
def test_the_order_in_which_nodes_are_listed_does_not_matter(digest: bytes, nodes: list[str]) -> None:
    assert place(digest, iter(nodes), 5) == place(digest, NODES, 5)


@given(digests, st.sampled_from(NODES))
def test_a_node_that_leaves_is_replaced_and_nobody_else_moves(digest: bytes, leaving: str) -> None:
    before = place(digest, NODES, 5)
    after = place(digest, [node for node in NODES if node != leaving], 5)
    assert [node for node in before if node != leaving] == list(after)[: 5 - (leaving in before)]


def test_secrets_are_spread_over_the_nodes() -> None:
    nearest = Counter(place(secret_digest("default", f"secret-{number}"), NODES, 1)[0] for number in range(2000))
    assert set(nearest) == set(NODES)


@given(digests)
def test_share_indices_count_from_one_in_the_order_of_the_placement(digest: bytes) -> None:
    placement = place(digest, NODES, 5)
    assert [share_index(placement, node) for node in placement] == [1, 2, 3, 4, 5]


def test_a_node_outside_the_placement_has_no_share_index() -> None:
    with pytest.raises(ValueError, match="not in tuple"):
        share_index(("node-1", "node-2"), "node-3")


@pytest.mark.parametrize(
    ("digest", "nodes", "share_count"),
    [
        (bytes(31), NODES, 5),
        (bytes(33), NODES, 5),
        (bytes(32), NODES, 0),
        (bytes(32), NODES, 10),
        (bytes(32), (), 1),
        (bytes(32), ("node-1", "node-2", "node-1"), 2),
    ],
)
def test_a_placement_that_cannot_be_is_refused(digest: bytes, nodes: tuple[str, ...], share_count: int) -> None:
    with pytest.raises(ValueError, match=r"a secret's digest|a node is named twice|cannot be placed"):
        place(digest, nodes, share_count)


def test_a_secrets_digest_is_the_hash_of_its_parts_with_their_lengths() -> None:
    parts = [b"kofn/secret/1", b"default", b"db/password"]
    written_out = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    assert secret_digest("default", "db/password") == hashlib.sha256(written_out).digest()


@given(st.text(max_size=3), st.text(max_size=3), st.text(max_size=3), st.text(max_size=3))
def test_two_secrets_have_the_same_digest_only_if_they_are_the_same(
    namespace: str, name: str, other_namespace: str, other_name: str
) -> None:
    same = (namespace, name) == (other_namespace, other_name)
    assert (secret_digest(namespace, name) == secret_digest(other_namespace, other_name)) == same
