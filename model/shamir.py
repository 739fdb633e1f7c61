"""Shamir's secret sharing of one 32-byte key over the prime field of P = 2**256 + 297.

A polynomial of degree k - 1 whose constant term is the key is evaluated at x = 1 ... n; any k of the points give it back, and
k - 1 points are consistent with every key (Shamir, "How to Share a Secret", CACM 22(11), 1979). P is the smallest prime above 2**256,
so each 32-byte key is a field element and a share, being a field element too, takes 33 bytes, big-endian.

Only fresh random keys are split here, never a user's value: that is what makes publishing a hash of each share safe
(see ``commitment``). Randomness is an argument. Arithmetic is on Python integers, whose running time depends on their size;
nothing is looked up by a secret index, which was the flaw behind CVE-2023-25000. Only public indices are ever cached.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache

P = 2**256 + 297
SECRET_BYTES = 32
SHARE_BYTES = 33
MAX_INDEX = 255

_COMMITMENT_DOMAIN = b"kofn/share-commitment/1"


class ShamirError(ValueError):
    """Shares or parameters that cannot belong to one split. The text names indices and lengths, never contents."""


def split(secret: bytes, threshold: int, share_count: int, coefficients: Sequence[int]) -> tuple[bytes, ...]:
    """Split a 32-byte ``secret``: ``share_count`` shares of 33 bytes each, the share of index i at position i - 1.

    ``coefficients`` are the polynomial's threshold - 1 random ones, each uniform in [0, P), that of x first and that of the highest
    power last. Zero is as good as any other number: excluding it would tell a holder of k - 1 shares something.
    Raises ShamirError for wrong lengths, counts or ranges.
    """
    if len(secret) != SECRET_BYTES:
        raise ShamirError(f"a secret has {SECRET_BYTES} bytes, got {len(secret)}")
    if not 2 <= threshold <= share_count <= MAX_INDEX:
        raise ShamirError(f"need 2 <= threshold <= share_count <= {MAX_INDEX}, got {threshold} of {share_count}")
    if len(coefficients) != threshold - 1:
        raise ShamirError(f"threshold {threshold} needs {threshold - 1} coefficients, got {len(coefficients)}")
    if not all(0 <= coefficient < P for coefficient in coefficients):
        raise ShamirError("a coefficient is outside the field")
    polynomial = (int.from_bytes(secret), *coefficients)
    return tuple(_evaluate(polynomial, index).to_bytes(SHARE_BYTES) for index in range(1, share_count + 1))


def combine(shares: Mapping[int, bytes]) -> bytes:
    """The 32-byte secret that ``shares`` (index to share) interpolate to, using all of them.

    The caller gives at least k shares of one split, each checked against its commitment: fewer, or a mixture, interpolate to a
    number that has nothing to do with the secret, and nothing here can tell. Raises ShamirError for an index outside 1 to 255, a
    share of wrong length or outside the field, fewer than two shares, and a result that is no 32-byte number.
    """
    secret = _interpolate(_points(shares), 0)
    if secret >> (8 * SECRET_BYTES):
        raise ShamirError("the shares do not belong to one split")
    return secret.to_bytes(SECRET_BYTES)


def share_at(shares: Mapping[int, bytes], index: int) -> bytes:
    """The share of ``index`` on the polynomial that ``shares`` lie on, 33 bytes; the share given, when ``index`` is among them.

    Two nodes that restore the same share compute the same bytes, because the polynomial stays the same. What
    ``combine`` says of its shares holds here too. Raises ShamirError as ``combine`` does, and for an ``index`` outside 1 to 255.
    """
    points = _points(shares)
    _check_index(index)
    if index in points:
        return shares[index]
    return _interpolate(points, index).to_bytes(SHARE_BYTES)


def commitment(context: bytes, index: int, share: bytes) -> bytes:
    """What a record's header says of the share of ``index``: 32 bytes, SHA-256 over a domain, ``context``, index and share.

    Each part is preceded by its length, so no two different triples hash the same text. A share of a random 32-byte key has
    256 bits of entropy even to a holder of k - 1 others, so the hash can be public. A share of wrong length hashes to
    something else and so fails the comparison. Raises ShamirError for an ``index`` outside 1 to 255.
    """
    _check_index(index)
    parts = (_length(_COMMITMENT_DOMAIN), _COMMITMENT_DOMAIN, _length(context), context, _ONE, index.to_bytes(1), _length(share), share)
    return hashlib.sha256(b"".join(parts)).digest()


def _length(part: bytes) -> bytes:
    return len(part).to_bytes(8)


_ONE = _length(b"1")


def _check_index(index: int) -> None:
    if not 1 <= index <= MAX_INDEX:
        raise ShamirError(f"a share's index is 1 to {MAX_INDEX}, got {index}")


def _points(shares: Mapping[int, bytes]) -> dict[int, int]:
    """The shares as field elements by index, ascending (so that a set of indices has one cache entry)."""
    if len(shares) < 2:
        raise ShamirError(f"at least two shares are needed, got {len(shares)}")
    points: dict[int, int] = {}
    for index in sorted(shares):
        _check_index(index)
        share = shares[index]
        if len(share) != SHARE_BYTES:
            raise ShamirError(f"share {index} has {len(share)} bytes instead of {SHARE_BYTES}")
        points[index] = int.from_bytes(share)
        if points[index] >= P:
            raise ShamirError(f"share {index} is outside the field")
    return points


def _evaluate(polynomial: Sequence[int], x: int) -> int:
    """Horner's rule; constant term first."""
    y = 0
    for coefficient in reversed(polynomial):
        y = (y * x + coefficient) % P
    return y


def _interpolate(points: Mapping[int, int], x: int) -> int:
    weights = _lagrange(tuple(points), x)
    return sum(weight * y for weight, y in zip(weights, points.values(), strict=True)) % P


@lru_cache(maxsize=1024)
def _lagrange(indices: tuple[int, ...], x: int) -> tuple[int, ...]:
    """The weight of each index's share in the value at ``x``: product of (x - j) / (i - j) over the other indices j."""
    weights = []
    for i in indices:
        numerator = denominator = 1
        for j in indices:
            if j != i:
                numerator = numerator * (x - j) % P
                denominator = denominator * (i - j) % P
        weights.append(numerator * pow(denominator, -1, P) % P)
    return tuple(weights)
