"""Machines with one rule of the protocol undone: whatever tests the protocol must notice.

Each mutation undoes one rule that specs/protocol.md marks as necessary. It is put in by pytest's monkeypatch, in this process, and
taken out again.
"""

from __future__ import annotations

from collections.abc import Mapping

import exploration_restoring
import fencing
import msgspec
import pytest
import rejoining
from rejoining import Recovery

from model import deciding, drafting, participant, reading, repairing, restoring, retrying, shamir
from model.judging import Evidence, Judgement, Standing
from model.message import Erase, Message, Repair, Reply, Vote, Write
from model.operation import Result, Retry
from model.participant import Seat
from model.quorum import Quorum
from model.reading import Reading
from model.record import ZERO, Ballot, Buried, Header, Kind, Register, by_index

_replace = msgspec.structs.replace
_step = participant.step
_standing = Evidence.standing
_to_bury = retrying.to_bury
Patch = pytest.MonkeyPatch


def no_fencing(patch: Patch) -> None:
    """PROTO-4 and PROTO-5 without the promise: a node votes for and accepts whatever comes."""

    def step(seat: Seat, register: Register, message: Message, now_ms: int) -> tuple[Register, Reply]:
        if isinstance(message, Vote | Write) and message.ballot <= register.promised:
            register = _replace(register, promised=ZERO)
        return _step(seat, register, message, now_ms)

    patch.setattr(participant, "step", step)


def mixed_ballots(patch: Patch) -> None:
    """PROTO-9 without "under one ballot"."""

    def standing(self: Evidence, tag: Ballot) -> Standing:
        judged = _standing(self, tag)
        accepted = [view for view in self.views.get(tag, {}).values() if view.ballot != ZERO]
        return Standing.CHOSEN if judged is Standing.DOUBT and len(accepted) >= self.quorum.write else judged

    patch.setattr(Evidence, "standing", standing)


def rival_asks_nobody(patch: Patch) -> None:
    """PROTO-14: a writer takes a provisional record for void without having its group aborted."""

    def standing(self: Evidence, tag: Ballot) -> Standing:
        judged = _standing(self, tag)
        return Standing.VOID if judged is Standing.UNRESOLVED and self.voted else judged

    patch.setattr(Evidence, "standing", standing)


def provisional_shown(patch: Patch) -> None:
    """PROTO-14: a reader shows a provisional record without looking its group up."""

    def standing(self: Evidence, tag: Ballot) -> Standing:
        judged = _standing(self, tag)
        return Standing.CHOSEN if judged is Standing.UNRESOLVED and not self.voted else judged

    patch.setattr(Evidence, "standing", standing)


def older_version_served(patch: Patch) -> None:
    """PROTO-16: the chosen version below is shown in place of one in doubt."""

    def doubtful(seen: Reading, evidence: Evidence, judgement: Judgement) -> reading.Step:
        return reading._judged(seen, evidence, judgement)

    patch.setattr(reading, "_doubtful", doubtful)


def repair_accepts(patch: Patch) -> None:
    """PROTO-7: a repair counts as an acceptance under the ballot that the node has promised."""

    def step(seat: Seat, register: Register, message: Message, now_ms: int) -> tuple[Register, Reply]:
        register, reply = _step(seat, register, message, now_ms)
        if isinstance(message, Repair):
            records = tuple(
                _replace(held, ballot=register.promised) if held.header.tag == message.header.tag else held for held in register.records
            )
            register = _replace(register, records=records)
        return register, reply

    patch.setattr(participant, "step", step)


def repair_ignores_erasure(patch: Patch) -> None:
    """PROTO-7: a late repair brings back what was erased."""

    def step(seat: Seat, register: Register, message: Message, now_ms: int) -> tuple[Register, Reply]:
        if not isinstance(message, Repair):
            return _step(seat, register, message, now_ms)
        after, reply = _step(seat, _replace(register, erased=ZERO), message, now_ms)
        return _replace(after, erased=max(register.erased, after.erased)), reply

    patch.setattr(participant, "step", step)


def erase_on_write(patch: Patch) -> None:
    """PROTO-5: a tombstone erases as soon as it is written, chosen or not."""

    def step(seat: Seat, register: Register, message: Message, now_ms: int) -> tuple[Register, Reply]:
        if isinstance(message, Write) and message.header.kind is Kind.TOMBSTONE and message.ballot >= register.promised:
            register = _replace(register, records=())
        return _step(seat, register, message, now_ms)

    patch.setattr(participant, "step", step)


def quorum_one_short(patch: Patch) -> None:
    """PROTO-1 with W one smaller."""
    patch.setattr(Quorum, "write", property(lambda quorum: max(quorum.threshold, quorum.share_count - quorum.threshold + 1) - 1))


def blind_retry(patch: Patch) -> None:
    """PROTO-11: a retry does not look for its own earlier work."""

    def first_outcome(evidence: Evidence, retry: Retry, value: bytes) -> Result | Header | None:
        return None

    patch.setattr(deciding, "first_outcome", first_outcome)


def buries_only_the_sure(patch: Patch) -> None:
    """SEM-22: a tombstone keeps no digest of what may have taken effect below its base."""

    def to_bury(evidence: Evidence, judgement: Judgement, now: int) -> tuple[Buried, ...]:
        return tuple(buried for buried in _to_bury(evidence, judgement, now) if not buried.unsure)

    patch.setattr(drafting, "to_bury", to_bury)


def tombstone_forgotten(patch: Patch) -> None:
    """PROTO-8: a node that has erased forgets the tombstone too."""

    def step(seat: Seat, register: Register, message: Message, now_ms: int) -> tuple[Register, Reply]:
        after, reply = _step(seat, register, message, now_ms)
        if isinstance(message, Erase) and register.erased < message.header.tag:
            kept = tuple(held for held in after.records if held.header.tag != message.header.tag)
            after = _replace(after, records=kept, erased=ZERO, promised=ZERO)
        return after, reply

    patch.setattr(participant, "step", step)


def resplit_repair(patch: Patch) -> None:
    """PROTO-7: a repair splits the key anew instead of interpolating on the record's own polynomial."""

    def shares_for(header: Header, shares: Mapping[str, bytes], nodes: tuple[str, ...]) -> dict[str, bytes]:
        known = dict(list(by_index(header, shares).items())[: header.threshold])
        anew = shamir.split(shamir.combine(known), header.threshold, len(header.placement), (4711,) * (header.threshold - 1))
        return {node: anew[header.placement.index(node)] for node in nodes}

    patch.setattr(repairing, "shares_for", shares_for)
    patch.setattr(restoring, "shares_for", shares_for)


def no_fence(patch: Patch) -> None:
    """PROTO-12: a node that lost its disk asks the others, but neither they nor it refuse what it may have helped to win."""

    def fenced(register: Register, counter: int) -> Register:
        return register

    patch.setattr(fencing, "fenced", fenced)


def unfenced_believed(patch: Patch) -> None:
    """PROTO-12: what a node that was not fenced does not hold counts as something that it never will."""

    def fenced_only(survey: Reading, fenced: frozenset[str]) -> Reading:
        return survey

    patch.setattr(exploration_restoring, "fenced_only", fenced_only)
    patch.setattr(rejoining, "fenced_only", fenced_only)


def no_recovery(patch: Patch) -> None:
    """PROTO-12: a node that lost its disk serves at once, as if it were founded anew."""

    def begin(self: Recovery) -> None:
        self.node.serving = True

    patch.setattr(Recovery, "begin", begin)
