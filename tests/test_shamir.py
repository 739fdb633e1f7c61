"""Secret sharing: against a slow twin that solves the equations instead of interpolating, and over a field small enough to enumerate."""

import hashlib
from collections import Counter
from contextlib import suppress
from itertools import combinations, product
from random import Random

import pytest
import shamirs
from hypothesis import given, settings
from hypothesis import strategies as st

from model import shamir
from model.shamir import MAX_INDEX, SECRET_BYTES, SHARE_BYTES, P, ShamirError, combine, commitment, share_at, split

secrets = st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES)


@st.composite
def splits(draw: st.DrawFn, max_share_count: int = 9) -> tuple[bytes, int, list[int], tuple[bytes, ...]]:
    """(secret, threshold, coefficients, shares)"""
    share_count = draw(st.integers(2, max_share_count))
    threshold = draw(st.integers(2, share_count))
    coefficients = draw(st.lists(st.integers(0, P - 1), min_size=threshold - 1, max_size=threshold - 1))
    secret = draw(secrets)
    return secret, threshold, coefficients, split(secret, threshold, share_count, coefficients)


def solve(points: dict[int, int], modulus: int) -> list[int]:
    """The slow twin: the polynomial's coefficients, constant first, by Gauss-Jordan elimination of the Vandermonde system."""
    rows = [[pow(x, power, modulus) for power in range(len(points))] + [y % modulus] for x, y in points.items()]
    for column in range(len(rows)):
        pivot = next(row for row in range(column, len(rows)) if rows[row][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        inverse = pow(rows[column][column], modulus - 2, modulus)
        rows[column] = [cell * inverse % modulus for cell in rows[column]]
        for row in range(len(rows)):
            if row != column:
                factor = rows[row][column]
                rows[row] = [(cell - factor * other) % modulus for cell, other in zip(rows[row], rows[column], strict=True)]
    return [row[-1] for row in rows]


def test_the_modulus_is_the_smallest_prime_above_2_to_the_256() -> None:
    def is_prime(candidate: int) -> bool:  # Miller-Rabin, 64 random bases
        odd, twos = candidate - 1, 0
        while odd % 2 == 0:
            odd, twos = odd // 2, twos + 1
        random = Random(candidate)
        for _ in range(64):
            x = pow(random.randrange(2, candidate - 1), odd, candidate)
            if x not in {1, candidate - 1} and not any((x := x * x % candidate) == candidate - 1 for _ in range(twos - 1)):
                return False
        return True

    assert [offset for offset in range(1, 298, 2) if is_prime(2**256 + offset)] == [297]
    assert P == 2**256 + 297


@given(splits(), st.randoms(use_true_random=False))
def test_any_k_or_more_shares_give_the_secret_back(case: tuple[bytes, int, list[int], tuple[bytes, ...]], random: Random) -> None:
    secret, threshold, _, shares = case
    chosen = random.sample(range(1, len(shares) + 1), random.randint(threshold, len(shares)))
    assert combine({index: shares[index - 1] for index in chosen}) == secret


def test_every_set_of_three_of_five_shares_gives_the_secret_back() -> None:
    shares = split(bytes(range(32)), 3, 5, [1, P - 1])
    for indices in combinations(range(1, 6), 3):
        assert combine({index: shares[index - 1] for index in indices}) == bytes(range(32))


@given(splits())
def test_shares_are_the_values_of_the_polynomial_written_out(case: tuple[bytes, int, list[int], tuple[bytes, ...]]) -> None:
    secret, _, coefficients, shares = case
    polynomial = [int.from_bytes(secret), *coefficients]
    for index, share in enumerate(shares, start=1):
        assert len(share) == SHARE_BYTES
        assert int.from_bytes(share) == sum(coefficient * index**power for power, coefficient in enumerate(polynomial)) % P


@settings(max_examples=50)
@given(splits(max_share_count=6))
def test_solving_the_equations_gives_the_secret_and_the_coefficients(case: tuple[bytes, int, list[int], tuple[bytes, ...]]) -> None:
    secret, threshold, coefficients, shares = case
    points = {index: int.from_bytes(shares[index - 1]) for index in range(1, threshold + 1)}
    assert solve(points, P) == [int.from_bytes(secret), *coefficients]


@settings(max_examples=50)
@given(st.dictionaries(st.integers(1, MAX_INDEX), st.integers(0, P - 1), min_size=2, max_size=6), st.integers(1, MAX_INDEX))
def test_interpolation_agrees_with_solving_for_arbitrary_points(points: dict[int, int], index: int) -> None:
    shares = {x: y.to_bytes(SHARE_BYTES) for x, y in points.items()}
    polynomial = solve(points, P)
    assert int.from_bytes(share_at(shares, index)) == sum(c * index**power for power, c in enumerate(polynomial)) % P
    if polynomial[0] < 2**256:
        assert combine(shares) == polynomial[0].to_bytes(SECRET_BYTES)
    else:
        with pytest.raises(ShamirError):
            combine(shares)


def test_fixed_shares_so_that_the_format_cannot_drift() -> None:
    shares = split(b"\xff" * 32, 3, 3, [1, 2])
    assert [share.hex() for share in shares] == [
        f"{2**256 - 1 + 3:066x}",
        f"{2**256 - 1 + 10:066x}",
        f"{2**256 - 1 + 21:066x}",
    ]
    assert shares[0][0] == 1, "a share can need the 33rd byte"


def test_fewer_than_k_shares_are_consistent_with_every_secret_equally_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the field of 5, every polynomial can be listed: each pair of shares of a 3-of-4 split occurs once for each secret."""
    modulus = 5
    monkeypatch.setattr(shamir, "P", modulus)
    for known in combinations(range(1, 5), 2):
        seen: Counter[tuple[int, int, int]] = Counter()
        for secret, *coefficients in product(range(modulus), repeat=3):
            shares = split(secret.to_bytes(SECRET_BYTES), 3, 4, coefficients)
            seen[secret, shares[known[0] - 1][-1], shares[known[1] - 1][-1]] += 1
        assert set(seen.values()) == {1}
        assert len(seen) == modulus**3


@given(splits(), st.data())
def test_an_interpolated_share_is_the_one_that_was_split_off(
    case: tuple[bytes, int, list[int], tuple[bytes, ...]], data: st.DataObject
) -> None:
    _, threshold, _, shares = case
    chosen = data.draw(st.lists(st.integers(1, len(shares)), min_size=threshold, unique=True))
    index = data.draw(st.integers(1, len(shares)))
    assert share_at({each: shares[each - 1] for each in chosen}, index) == shares[index - 1]


@given(splits(), st.data())
def test_a_set_with_one_changed_share_gives_another_secret_or_an_error(
    case: tuple[bytes, int, list[int], tuple[bytes, ...]], data: st.DataObject
) -> None:
    secret, threshold, _, shares = case
    chosen = {index: shares[index - 1] for index in range(1, threshold + 1)}
    index = data.draw(st.sampled_from(sorted(chosen)))
    changed = data.draw(st.integers(0, P - 1).map(lambda y: y.to_bytes(SHARE_BYTES)).filter(lambda share: share != chosen[index]))
    with suppress(ShamirError):
        assert combine(chosen | {index: changed}) != secret


GOOD = dict(enumerate(split(bytes(32), 3, 5, [7, 9]), start=1))


@pytest.mark.parametrize(
    "shares",
    [
        {},
        {1: GOOD[1]},
        {0: GOOD[1], 2: GOOD[2], 3: GOOD[3]},
        {-1: GOOD[1], 2: GOOD[2], 3: GOOD[3]},
        {256: GOOD[1], 2: GOOD[2], 3: GOOD[3]},
        {1: GOOD[1][1:], 2: GOOD[2], 3: GOOD[3]},
        {1: GOOD[1] + b"\0", 2: GOOD[2], 3: GOOD[3]},
        {1: b"", 2: GOOD[2], 3: GOOD[3]},
        {1: P.to_bytes(SHARE_BYTES), 2: GOOD[2], 3: GOOD[3]},
        {1: b"\xff" * SHARE_BYTES, 2: GOOD[2], 3: GOOD[3]},
    ],
)
def test_shares_that_cannot_be_are_rejected_before_anything_is_combined(shares: dict[int, bytes]) -> None:
    with pytest.raises(ShamirError):
        combine(shares)
    with pytest.raises(ShamirError):
        share_at(shares, 4)


@pytest.mark.parametrize("index", [0, -1, 256])
def test_a_share_at_an_impossible_index_is_neither_interpolated_nor_committed_to(index: int) -> None:
    with pytest.raises(ShamirError):
        share_at(GOOD, index)
    with pytest.raises(ShamirError):
        commitment(b"", index, GOOD[1])


def test_shares_of_two_splits_whose_sum_is_no_secret_are_rejected() -> None:
    line = {1: (0).to_bytes(SHARE_BYTES), 2: (1).to_bytes(SHARE_BYTES)}  # y = x - 1, so P - 1 at 0
    with pytest.raises(ShamirError, match="one split"):
        combine(line)


@pytest.mark.parametrize(
    ("secret", "threshold", "share_count", "coefficients"),
    [
        (bytes(31), 2, 3, [1]),
        (bytes(33), 2, 3, [1]),
        (bytes(32), 1, 3, []),
        (bytes(32), 4, 3, [1, 2, 3]),
        (bytes(32), 2, 256, [1]),
        (bytes(32), 3, 5, [1]),
        (bytes(32), 3, 5, [1, 2, 3]),
        (bytes(32), 2, 3, [-1]),
        (bytes(32), 2, 3, [P]),
    ],
)
def test_a_split_that_cannot_be_is_rejected(secret: bytes, threshold: int, share_count: int, coefficients: list[int]) -> None:
    with pytest.raises(ShamirError):
        split(secret, threshold, share_count, coefficients)


def test_the_largest_split_works() -> None:
    coefficients = [Random(1).randrange(P) for _ in range(254)]
    shares = split(b"\x80" * 32, 255, 255, coefficients)
    assert combine(dict(enumerate(shares, start=1))) == b"\x80" * 32


def test_an_error_repeats_no_share() -> None:
    with pytest.raises(ShamirError) as caught:
        combine({1: b"hunter2", 2: GOOD[2]})
    assert "hunter2" not in str(caught.value)
    assert b"hunter2".hex() not in str(caught.value)


def test_a_commitment_is_the_hash_of_its_parts_with_their_lengths() -> None:
    parts = [b"kofn/share-commitment/1", b"context", b"\x03", GOOD[3]]
    written_out = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    assert commitment(b"context", 3, GOOD[3]) == hashlib.sha256(written_out).digest()


@given(st.binary(max_size=4), st.integers(1, 255), st.binary(max_size=4), st.binary(max_size=4), st.integers(1, 255), st.binary(max_size=4))
def test_two_commitments_are_equal_only_if_context_index_and_share_are(
    context: bytes, index: int, share: bytes, other_context: bytes, other_index: int, other_share: bytes
) -> None:
    same = (context, index, share) == (other_context, other_index, other_share)
    assert (commitment(context, index, share) == commitment(other_context, other_index, other_share)) == same


@given(splits())
def test_an_independent_library_rebuilds_our_key_from_our_shares(case: tuple[bytes, int, list[int], tuple[bytes, ...]]) -> None:
    secret, threshold, _, shares = case
    points = [shamirs.share(index, int.from_bytes(share), P) for index, share in enumerate(shares, start=1)]
    assert shamirs.interpolate(points[-threshold:], threshold=threshold) == int.from_bytes(secret)


@given(secrets, st.integers(2, 9), st.integers(0, 7))
def test_we_rebuild_what_an_independent_library_split(secret: bytes, threshold: int, spare: int) -> None:
    points = shamirs.shares(int.from_bytes(secret), quantity=threshold + spare, modulus=P, threshold=threshold)
    shares = {point.index: point.value.to_bytes(SHARE_BYTES) for point in points}
    assert combine(dict(list(shares.items())[-threshold:])) == secret
