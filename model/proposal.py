"""The coordinator's machine for one write: create, update, delete, settle, or a group's decision (PROTO-11).

First it votes: a ballot above all seen to all n nodes, W snapshots back. Then it judges them, settles what is in doubt below
it, recognises its own earlier attempt, and only then seals, splits and writes. Until the first write leaves, nothing has
happened and every failure says so; after it, too few acceptances mean an unknown outcome, never a failed one.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from model.deciding import Course, decide
from model.drafting import again, draft, writes
from model.intent import RETRY_MS, Decided, Intent, Seat, Settled
from model.judging import Evidence, Judgement
from model.machine import Event, Heard, PatienceOver, Proceed, Resolved, Send, VotingOver, to_all
from model.message import Accepted, Confirm, Erase, Erased, Locked, Promised, Refused, Release, Snapshot, Void, Vote, Write
from model.operation import Deleted, Failed, Result, SecretId, Version, Written
from model.quorum import tally
from model.record import ZERO, Ballot, Cut, Entropy, Header, Kind

_replace = msgspec.structs.replace

MAX_ROUNDS = 6
"""How often one proposal raises its ballot before it gives way."""


class Phase(enum.Enum):
    """Where a proposal stands. READY and CHOSEN are halts for proposals that are part of a group."""

    VOTING = enum.auto()
    SETTLING = enum.auto()
    READY = enum.auto()
    WRITING = enum.auto()
    CHOSEN = enum.auto()
    ERASING = enum.auto()
    DONE = enum.auto()


class Proposal(msgspec.Struct, frozen=True):
    """One write under way. ``needs``: groups whose decision it waits for."""

    seat: Seat
    secret: SecretId
    intent: Intent
    entropy: Entropy | None
    ballot: Ballot
    hold: bool = False
    phase: Phase = Phase.VOTING
    answers: Mapping[str, Snapshot] = {}
    gone: frozenset[str] = frozenset()
    acks: frozenset[str] = frozenset()
    contended: frozenset[str] = frozenset()
    highest: Ballot = ZERO
    patient: bool = True
    rounds: int = 1
    groups: Mapping[str, bool] = {}
    needs: frozenset[str] = frozenset()
    judgement: Judgement | None = None
    cut: Cut | None = None
    outcome: Result | Settled | Decided | None = None


Step = tuple[Proposal, list[Send]]


def begin(seat: Seat, secret: SecretId, intent: Intent, entropy: Entropy | None, counter: int, *, hold: bool = False) -> Step:
    """Open a proposal with a ballot just above ``counter``, the highest that this node has promised for the secret."""
    ballot = Ballot(counter + 1, seat.me, seat.boot)
    proposal = Proposal(seat, secret, intent, entropy, ballot, hold)
    return proposal, _vote(proposal)


def step(proposal: Proposal, event: Event) -> Step:
    """Take one event. Replies to earlier rounds, and anything after the outcome, change nothing."""
    if proposal.phase is Phase.DONE:
        return proposal, []
    match event:
        case Heard():
            return _heard(proposal, event)
        case PatienceOver():
            proposal = _replace(proposal, patient=False)
            return _count_votes(proposal) if proposal.phase is Phase.VOTING else (proposal, [])
        case VotingOver():
            return _time_up(proposal) if proposal.phase in (Phase.VOTING, Phase.SETTLING) else (proposal, [])
        case Resolved():
            return _resolved(proposal, event)
        case Proceed():
            return _proceed(proposal, event)
    return _time_up(proposal)


def abandon(proposal: Proposal) -> Step:
    """End a proposal that waits in READY or CHOSEN for a group that failed: its lease is released."""
    return (proposal, []) if proposal.phase is Phase.DONE else _fail(proposal, "voting_failed")


def _vote(proposal: Proposal) -> list[Send]:
    intent = proposal.intent
    retry_key = intent.retry.key if intent.retry is not None else None
    vote = Vote(proposal.ballot, proposal.seat.lease_ms, retry_key, gather=intent.verb == "delete")
    return to_all(proposal.seat.nodes, proposal.secret, vote)


def _heard(proposal: Proposal, event: Heard) -> Step:
    node, message, reply = event.send.node, event.send.message, event.reply
    current = isinstance(message, Vote | Write) and message.ballot == proposal.ballot
    if isinstance(reply, Refused):
        proposal = _replace(proposal, highest=max(proposal.highest, reply.promised))
    if isinstance(reply, Refused | Locked) and current:
        proposal = _replace(proposal, contended=proposal.contended | {node})
    match proposal.phase, message, reply:
        case Phase.VOTING, Vote(), Promised() if current:
            answers = {**proposal.answers, node: reply.snapshot}
            return _count_votes(_replace(proposal, answers=answers, gone=proposal.gone - {node}))
        case Phase.VOTING, Vote(), _ if current and node not in proposal.answers:
            return _count_votes(_replace(proposal, gone=proposal.gone | {node}))
        case ((Phase.SETTLING | Phase.WRITING), Write(), Accepted()) if current:
            return _count_acceptances(_replace(proposal, acks=proposal.acks | {node}, gone=proposal.gone - {node}))
        case ((Phase.SETTLING | Phase.WRITING), Write(), _) if current and node not in proposal.acks:
            return _count_acceptances(_replace(proposal, gone=proposal.gone | {node}))
        case Phase.ERASING, Erase(), Erased():
            return _count_erasures(_replace(proposal, acks=proposal.acks | {node}, gone=proposal.gone - {node}))
        case Phase.ERASING, Erase(), _ if node not in proposal.acks:
            return _count_erasures(_replace(proposal, gone=proposal.gone | {node}))
    return proposal, []


def _tally(proposal: Proposal, yes: int) -> str:
    count = proposal.seat.quorum.share_count
    return tally(yes, count - yes - len(proposal.gone), proposal.seat.quorum.write)


def _slow(proposal: Proposal) -> bool:
    """Whether a node may still vote."""
    return len(proposal.answers) + len(proposal.gone) < proposal.seat.quorum.share_count


def _count_votes(proposal: Proposal) -> Step:
    if proposal.needs:
        return proposal, []
    verdict = _tally(proposal, len(proposal.answers))
    if verdict == "lost" or _own_vote_missing(proposal, proposal.gone):
        return _lost_vote(proposal)
    if verdict == "pending" or (proposal.intent.keeps_share and proposal.seat.me not in proposal.answers):
        return proposal, []
    evidence = _evidence(proposal)
    judgement = evidence.judge()
    if not judgement.clean and proposal.patient and _slow(proposal):
        return proposal, []
    if judgement.unresolved:
        return _replace(proposal, needs=judgement.unresolved), []
    proposal = _replace(proposal, judgement=judgement)
    if judgement.doubts:
        header = evidence.settleable(judgement.doubts[0])
        if header is not None:
            return _send_writes(_replace(proposal, phase=Phase.SETTLING, cut=again(evidence, header)))
    return _decide(proposal, evidence, judgement)


def _own_vote_missing(proposal: Proposal, gone: frozenset[str]) -> bool:
    return proposal.intent.keeps_share and proposal.seat.me in gone


def _lost_vote(proposal: Proposal) -> Step:
    unreachable = proposal.gone - proposal.contended
    quorum = proposal.seat.quorum
    if quorum.share_count - len(unreachable) < quorum.write or _own_vote_missing(proposal, unreachable):
        return _fail(proposal, "voting_failed")
    return _give_way(proposal)


def _give_way(proposal: Proposal) -> Step:
    """Others are at work. Raise the ballot if only that was wrong, else let them finish."""
    if proposal.highest > proposal.ballot and proposal.rounds < MAX_ROUNDS:
        return _vote_again(proposal)
    return _fail(proposal, "write_conflict", retry_ms=RETRY_MS)


def _vote_again(proposal: Proposal) -> Step:
    ballot = _replace(proposal.ballot, counter=max(proposal.ballot.counter, proposal.highest.counter) + 1)
    proposal = _replace(proposal, phase=Phase.VOTING, ballot=ballot, rounds=proposal.rounds + 1, answers={}, judgement=None, cut=None)
    proposal = _unanswered(proposal)
    return proposal, _vote(proposal)


def _unanswered(proposal: Proposal) -> Proposal:
    """Nobody has answered what is sent now."""
    return _replace(proposal, acks=frozenset(), gone=frozenset(), contended=frozenset())


def _evidence(proposal: Proposal) -> Evidence:
    return Evidence(proposal.secret, proposal.seat.quorum, proposal.answers, proposal.groups, voted=True)


def _resolved(proposal: Proposal, event: Resolved) -> Step:
    if event.group not in proposal.needs:
        return proposal, []
    if event.committed is None:
        return _fail(proposal, "write_conflict", retry_ms=RETRY_MS) if event.busy else _fail(proposal, "voting_failed")
    groups = {**proposal.groups, event.group: event.committed}
    return _count_votes(_replace(proposal, groups=groups, needs=proposal.needs - {event.group}))


def _send_writes(proposal: Proposal) -> Step:
    record = proposal.cut
    assert record is not None, "a proposal writes only what it has cut"
    return _unanswered(proposal), writes(proposal.seat.nodes, proposal.secret, proposal.ballot, record)


def _decide(proposal: Proposal, evidence: Evidence, judgement: Judgement) -> Step:
    slow = _slow(proposal)
    asked_again = RETRY_MS if slow or proposal.contended else None
    match decide(proposal.intent, evidence, judgement, waits=slow and proposal.patient, retry_ms=asked_again):
        case Course.WAIT:
            return proposal, []
        case Course.WRITE:
            proposal = _replace(proposal, phase=Phase.READY)
            return (proposal, []) if proposal.hold else _proceed(proposal, Proceed())
        case Header() as tombstone:
            return _erase(_replace(proposal, cut=Cut(tombstone, None, {})))
        case outcome:
            return _finish(proposal, outcome)


def _proceed(proposal: Proposal, event: Proceed) -> Step:
    if proposal.phase is not Phase.READY:
        return proposal, []
    if event.abort:
        proposal = _replace(proposal, intent=_replace(proposal.intent, decision=Kind.ABORT))
    assert proposal.judgement is not None, "nothing is written before the vote was judged"
    record = draft(proposal.seat, proposal.intent, proposal.ballot, _evidence(proposal), proposal.judgement, proposal.entropy)
    return _send_writes(_replace(proposal, phase=Phase.WRITING, cut=record))


def _count_acceptances(proposal: Proposal) -> Step:
    verdict = _tally(proposal, len(proposal.acks))
    record = proposal.cut
    assert record is not None, "acceptances are of a record"
    if verdict == "pending":
        return proposal, []
    if proposal.phase is Phase.SETTLING:
        if verdict == "lost":
            return _give_way(proposal) if proposal.contended else _fail(proposal, "voting_failed")
        voting, votes = _vote_again(proposal)
        return voting, [*to_all(proposal.seat.nodes, proposal.secret, Confirm(record.header.tag)), *votes]
    if verdict == "lost":
        return _fail(proposal, "writing_failed")
    if record.header.kind is Kind.TOMBSTONE:
        return _erase(proposal)
    if record.header.group is not None:
        return _replace(proposal, phase=Phase.CHOSEN), []
    if record.header.kind is Kind.VALUE:
        return _finish(proposal, Written((Version(record.header.version, record.header.valid_from),)))
    return _finish(proposal, Decided(record.header.kind))


def _erase(proposal: Proposal) -> Step:
    """The tombstone is chosen: now, and only now, everything below it may be erased (PROTO-8)."""
    record = proposal.cut
    assert record is not None, "an erasure is of what a tombstone buries"
    return _unanswered(_replace(proposal, phase=Phase.ERASING)), to_all(proposal.seat.nodes, proposal.secret, Erase(record.header))


def _count_erasures(proposal: Proposal) -> Step:
    verdict = _tally(proposal, len(proposal.acks))
    if verdict == "pending":
        return proposal, []
    return _finish(proposal, Deleted()) if verdict == "won" else _fail(proposal, "writing_failed")


def _time_up(proposal: Proposal) -> Step:
    if proposal.phase in (Phase.WRITING, Phase.CHOSEN, Phase.ERASING):
        return _fail(proposal, "writing_failed")
    if proposal.contended:
        return _fail(proposal, "write_conflict", retry_ms=RETRY_MS)
    return _fail(proposal, "voting_failed")


def _fail(proposal: Proposal, code: str, *, retry_ms: int | None = None) -> Step:
    return _finish(proposal, Failed(code, names=(proposal.secret.name,), retry_ms=retry_ms))


def _finish(proposal: Proposal, outcome: Result | Settled | Decided) -> Step:
    """Tell the client, then spread what was learnt: the record is chosen, or the lease is over; what is void may go."""
    record = proposal.cut
    won = proposal.phase in (Phase.WRITING, Phase.CHOSEN) and not isinstance(outcome, Failed)
    done = _replace(proposal, phase=Phase.DONE, outcome=outcome)
    last: Confirm | Release = Confirm(record.header.tag) if won and record is not None else Release(proposal.ballot)
    sends = to_all(proposal.seat.nodes, proposal.secret, last)
    if proposal.judgement is not None and proposal.judgement.void:
        sends += to_all(proposal.seat.nodes, proposal.secret, Void(proposal.ballot, proposal.judgement.void))
    return done, sends
