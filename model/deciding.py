"""What a write finds, and what becomes of it then: the table of the verbs (SEM-1 to SEM-5)."""

from __future__ import annotations

import enum

from msgspec.structs import replace

from model.intent import Decided, Intent, Settled
from model.judging import Evidence, Judgement
from model.operation import Failed, Result
from model.record import Header
from model.retrying import first_outcome, to_bury


class Course(enum.Enum):
    """How to go on where nothing has come of it yet."""

    WAIT = enum.auto()
    WRITE = enum.auto()


def decide(
    intent: Intent, evidence: Evidence, judgement: Judgement, *, waits: bool, retry_ms: int | None
) -> Course | Header | Result | Settled | Decided:
    """What comes of a write whose vote is judged. A header: a chosen tombstone that this request wrote itself; it is to be carried out.

    ``waits``: somebody who may tell more is waited for. ``retry_ms``: after how long asking again may help where too little is known.
    """
    live = judgement.live
    if intent.retry is not None:
        first = first_outcome(evidence, intent.retry, intent.value)
        if isinstance(first, Failed) and first.code != "idempotency_key_reused":
            return Course.WAIT if waits else replace(first, retry_ms=retry_ms)
        if first is not None:
            return first
    if intent.verb == "settle":
        return Settled(judgement)
    if intent.verb == "decide" and judgement.head is not None:
        return Decided(judgement.head.kind)
    if intent.verb == "create" and live is not None:
        return _failed(evidence, "secret_exists")
    if judgement.doubts and (live is None or intent.expected_version is not None):
        return replace(_failed(evidence, "voting_failed"), retry_ms=retry_ms)
    if intent.verb in ("update", "delete"):
        if live is None:
            return _failed(evidence, "secret_not_found")
        if intent.expected_version not in (None, live.version):
            return _failed(evidence, "version_mismatch")
    if intent.verb == "delete" and waits and any(buried.unsure for buried in to_bury(evidence, judgement, intent.now)):
        return Course.WAIT
    return Course.WRITE


def _failed(evidence: Evidence, code: str) -> Failed:
    return Failed(code, names=(evidence.secret.name,))
