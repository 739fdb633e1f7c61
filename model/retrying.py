"""Recognising a retry: the first outcome of a request that carries the same idempotency key (SEM-20 to SEM-22).

The digest of the key travels in the header of what the request wrote; a tombstone keeps the digests of what it buried for 24
hours. The value is compared through its shares, never through a digest of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from hmac import compare_digest

import msgspec

from model.judging import Evidence, Judgement, Standing
from model.operation import Deleted, Failed, Result, Retry, Version, Written
from model.record import RETRY_KEPT_US, Buried, Header, Kind, open_value


def first_outcome(evidence: Evidence, retry: Retry, value: bytes) -> Result | Header | None:
    """What became of the first attempt, or None if there was none that could have an effect.

    Of several the newest counts: older ones were forgotten when it was made, or had no effect. A tombstone's header means: that delete was
    ours and was chosen, its erasures are still to be finished. A match that is still in doubt proves nothing either way:
    ``writing_failed``, outcome unknown. A match whose value cannot be compared, because too few shares are at hand, is
    ``voting_failed`` (SEM-20).
    """
    for header in sorted(evidence.headers.values(), key=lambda each: each.tag, reverse=True):
        for entry in _entries(header):
            if not compare_digest(entry.retry.key, retry.key):
                continue
            standing = evidence.standing(header.tag)
            if standing is Standing.VOID:
                continue
            if standing is not Standing.CHOSEN or entry.unsure:
                return Failed("writing_failed", names=(evidence.secret.name,))
            same = compare_digest(entry.retry.request, retry.request) and _same_value(evidence, header, value)
            if same is None:
                return Failed("voting_failed", names=(evidence.secret.name,))
            if not same:
                return Failed("idempotency_key_reused", names=(evidence.secret.name,))
            if header.kind is Kind.TOMBSTONE and header.retry is entry.retry:
                return header
            return Deleted() if entry.deleted else Written((Version(entry.version, entry.valid_from),))
    return None


def to_bury(evidence: Evidence, judgement: Judgement, now: int) -> tuple[Buried, ...]:
    """The digests that a tombstone must keep: of every record it buries, and of tombstones below, for 24 hours.

    What was in doubt at the very top has taken effect by now, or might as well have: nobody can tell. What is in doubt further down may
    have been seen to be missing, or to be there; its retry stays in doubt, for to write once more may be to write twice.
    """
    assert judgement.head is not None, "only what exists is deleted"
    doubts = {doubt.tag for doubt in judgement.doubts}
    top = judgement.doubts[0].tag if judgement.doubts else None
    kept: dict[bytes, Buried] = {}
    for header in sorted(evidence.headers.values(), key=lambda each: each.tag):
        standing = Standing.CHOSEN if header.tag == top else evidence.standing(header.tag)
        if standing is Standing.VOID or (header.tag > judgement.head.tag and header.tag not in doubts):
            continue
        for entry in _entries(header):
            unsure = entry.unsure or standing is not Standing.CHOSEN
            if entry.valid_from > now - RETRY_KEPT_US and (not unsure or entry.retry.key not in kept):
                kept[entry.retry.key] = msgspec.structs.replace(entry, unsure=unsure)
    return tuple(kept.values())


def _entries(header: Header) -> Iterator[Buried]:
    if header.retry is not None:
        yield Buried(header.retry, header.kind is Kind.TOMBSTONE, header.version, header.valid_from)
    yield from header.buried


def _same_value(evidence: Evidence, header: Header, value: bytes) -> bool | None:
    """Whether the version's value is this one, None if too few shares are at hand to tell; of what has no value, nothing differs."""
    if not header.needs_shares:
        return True
    shares = evidence.sound_shares(header)
    sealed = evidence.sealed(header)
    if sealed is None or len(shares) < header.threshold:
        return None
    return compare_digest(open_value(evidence.secret, header, shares, sealed), value)
