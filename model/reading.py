"""The coordinator's machine for a read: choose the version, gather k shares, say what to repair (PROTO-15 to PROTO-17).

It asks its own store first, then exactly k-1 peers, and more only if something is amiss: answers differ, a share is missing or
corrupt, somebody is slow. It never shows an older version in place of one that is in doubt.
"""

from __future__ import annotations

import enum
from collections.abc import Container, Mapping

import msgspec

from model.drafting import again, writes
from model.envelope import EnvelopeError
from model.intent import RETRY_MS, Decided, Wanted
from model.judging import Evidence, Judgement
from model.machine import Event, Heard, PatienceOver, Resolved, Send, TimeUp, VotingOver, to_all
from model.message import Accepted, Confirm, Query, Refused, Repair, Snapshot, Write
from model.operation import Failed, Found, Result, SecretId, Version, Versions
from model.quorum import Quorum, tally
from model.record import Ballot, Header, Kind, open_value
from model.shamir import ShamirError
from model.snapshots import marked, merged
from model.version import intervals

_replace = msgspec.structs.replace


class Phase(enum.Enum):
    """Where a reading stands."""

    ASKING = enum.auto()
    REWRITING = enum.auto()
    GATHERING = enum.auto()
    DONE = enum.auto()


class Reading(msgspec.Struct, frozen=True):
    """One read under way. ``order``: this node, then the peers in the order in which they are asked.

    ``target``: the record that is read. ``chain``: all records of a history that was read, newest first. After the outcome ``evidence``
    tells what was seen: what repair needs.
    """

    me: str
    secret: SecretId
    wanted: Wanted
    quorum: Quorum
    order: tuple[str, ...]
    phase: Phase = Phase.ASKING
    asked: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()
    answers: Mapping[str, Snapshot] = {}
    requested: frozenset[str] = frozenset()
    gathered: frozenset[str] = frozenset()
    acks: frozenset[str] = frozenset()
    contended: bool = False
    patient: bool = True
    groups: Mapping[str, bool] = {}
    needs: frozenset[str] = frozenset()
    chain: tuple[Header, ...] = ()
    target: Header | None = None
    version: Version | None = None
    rewritten: tuple[Ballot, Header] | None = None
    outcome: Result | Decided | None = None

    @property
    def evidence(self) -> Evidence:
        return Evidence(self.secret, self.quorum, self.answers, self.groups)


Step = tuple[Reading, list[Send]]


def begin(me: str, secret: SecretId, wanted: Wanted, quorum: Quorum, peers: tuple[str, ...]) -> Step:
    """Open a reading: the own store is asked first, so that peers need not send what is known here already."""
    reading = Reading(me, secret, wanted, quorum, (me, *peers))
    return _ask(reading, [me])


def pick(history: Reading, versions: tuple[Version, ...], wanted: tuple[Wanted, ...]) -> list[Step]:
    """Readings of single versions, opened where that of the ``history`` has ended with ``versions``: nothing of it is asked again."""
    evidence = history.evidence
    return [_pick(_replace(history, wanted=each, outcome=None), evidence, versions) for each in wanted]


def step(reading: Reading, event: Event) -> Step:
    """Take one event; anything after the outcome changes nothing."""
    if reading.phase is Phase.DONE:
        return reading, []
    match event:
        case Heard():
            return _heard(reading, event)
        case PatienceOver():
            return _advance(_replace(reading, patient=False))
        case Resolved():
            return _resolved(reading, event)
        case VotingOver() if reading.wanted.survey:
            return reading, []
        case VotingOver() | TimeUp():
            return _finish(reading, _unavailable(reading))
        case _:
            return reading, []


def _ask(reading: Reading, nodes: list[str]) -> Step:
    own = reading.answers.get(reading.me)
    known = tuple(view.tag for view in own.views) if own is not None else ()
    lineage = reading.wanted.lineage
    shards = (reading.wanted.reveal or reading.wanted.survey) and not lineage
    query = Query(known, shares=shards, sealed=shards, lineage=lineage)
    return _replace(reading, asked=reading.asked | set(nodes)), [Send(node, reading.secret, query) for node in nodes]


def _heard(reading: Reading, event: Heard) -> Step:
    node, message, reply = event.send.node, event.send.message, event.reply
    match reading.phase, message, reply:
        case Phase.ASKING, Query(tag=None), Snapshot():
            return _advance(_replace(reading, answers={**reading.answers, node: reply}))
        case Phase.ASKING, Query(tag=None), _:
            return _advance(_replace(reading, gone=reading.gone | {node}))
        case Phase.GATHERING, Query(), Snapshot() if message.tag is not None:
            shown = merged(reading.answers.get(node), reply)
            reading = _replace(reading, answers={**reading.answers, node: shown}, gathered=reading.gathered | {node})
            return _gather(reading, reading.evidence)
        case Phase.GATHERING, Query(), _ if message.tag is not None:
            reading = _replace(reading, gathered=reading.gathered | {node}, gone=reading.gone | {node})
            return _gather(reading, reading.evidence)
        case Phase.REWRITING, Write(), Accepted() if reading.rewritten == (message.ballot, message.header):
            return _count_acceptances(_replace(reading, acks=reading.acks | {node}, gone=reading.gone - {node}))
        case Phase.REWRITING, Write(), _ if reading.rewritten == (message.ballot, message.header) and node not in reading.acks:
            contended = reading.contended or isinstance(reply, Refused)
            return _count_acceptances(_replace(reading, gone=reading.gone | {node}, contended=contended))
    return reading, []


def _resolved(reading: Reading, event: Resolved) -> Step:
    if event.group not in reading.needs:
        return reading, []
    if event.committed is None:
        return _finish(reading, _unavailable(_replace(reading, contended=reading.contended or event.busy)))
    groups = {**reading.groups, event.group: event.committed}
    return _advance(_replace(reading, groups=groups, needs=reading.needs - {event.group}))


def _unasked(reading: Reading) -> list[str]:
    return [node for node in reading.order if node not in reading.asked]


def _open(reading: Reading) -> frozenset[str]:
    return reading.asked - reading.gone - set(reading.answers)


def _advance(reading: Reading) -> Step:
    """Judge if enough have answered; else ask on."""
    if reading.phase is not Phase.ASKING:
        return _gather(reading, reading.evidence) if reading.phase is Phase.GATHERING else (reading, [])
    if reading.needs or (reading.me not in reading.answers and reading.me not in reading.gone):
        return reading, []
    enough = reading.quorum.read if not reading.wanted.survey else reading.quorum.share_count
    unasked = _unasked(reading)
    if len(reading.answers) < enough:
        missing = enough - len(reading.answers) - (len(_open(reading)) if reading.patient else 0)
        if unasked and missing > 0:
            return _ask(reading, unasked[:missing])
        if _open(reading) and (reading.patient or len(reading.answers) < reading.quorum.read):
            return reading, []
        if len(reading.answers) < reading.quorum.read:
            return _finish(reading, _unavailable(reading))
    evidence = reading.evidence
    judgement = evidence.judge()
    if judgement.unresolved:
        return _replace(reading, needs=judgement.unresolved), []
    if judgement.doubts:
        return _doubtful(reading, evidence, judgement)
    return _judged(reading, evidence, judgement)


def _ask_on(reading: Reading) -> Step | None:
    """Hear everyone before giving up; None when everyone was heard or is too slow."""
    unasked = _unasked(reading)
    if unasked:
        return _ask(reading, unasked)
    return (reading, []) if _open(reading) and reading.patient else None


def _doubtful(reading: Reading, evidence: Evidence, judgement: Judgement) -> Step:
    """The top is in doubt: write it once more under *its own* ballot, if that can be done, and answer only then (PROTO-16)."""
    more = _ask_on(reading)
    if more is not None:
        return more
    header = evidence.settleable(judgement.doubts[0])
    if header is None:
        return _finish(reading, _unavailable(reading))
    ballot = max(view.ballot for view in evidence.views[header.tag].values())
    sends = writes(reading.order, reading.secret, ballot, again(evidence, header))
    return _replace(reading, phase=Phase.REWRITING, rewritten=(ballot, header), acks=frozenset(), gone=frozenset()), sends


def _count_acceptances(reading: Reading) -> Step:
    verdict = tally(len(reading.acks), len(reading.order) - len(reading.acks) - len(reading.gone), reading.quorum.write)
    if verdict == "pending":
        return reading, []
    if verdict == "lost":
        return _finish(reading, _unavailable(reading))
    assert reading.rewritten is not None, "acceptances are of what was rewritten"
    header = reading.rewritten[1]
    confirms = to_all(reading.order, reading.secret, Confirm(header.tag))
    views = {node: marked(snapshot, header.tag) for node, snapshot in reading.answers.items()}
    reading, sends = _advance(_replace(reading, phase=Phase.ASKING, answers=views, gone=reading.asked - set(views)))
    return reading, confirms + sends


def _judged(reading: Reading, evidence: Evidence, judgement: Judgement) -> Step:
    head = judgement.head
    if reading.wanted.decision:
        return _finish(reading, Decided(head.kind if head is not None else Kind.ABORT))
    if head is None or head.kind is not Kind.VALUE:
        return _finish(reading, Failed("secret_not_found", names=(reading.secret.name,)))
    if not reading.wanted.lineage:
        version = Version(head.version, head.valid_from)
        return _gather(_replace(reading, phase=Phase.GATHERING, target=head, version=version), evidence)
    chain = evidence.lineage(head)
    if chain is None:
        more = _ask_on(reading)
        return more if more is not None else _fence(reading, evidence, head)
    versions = intervals([(header.version, header.valid_from) for header in reversed(chain)])
    reading = _replace(reading, chain=chain)
    return _finish(reading, Versions(versions)) if reading.wanted.history else _pick(reading, evidence, versions)


def _fence(reading: Reading, evidence: Evidence, head: Header) -> Step:
    """A record below the head cannot be told from these answers: some node may yet accept it.

    Nobody who knows the head to be chosen will (PROTO-5), so tell them: its header is enough for that. Asking again can help then.
    """
    unmarked = evidence.unmarked(head)
    done, _ = _finish(reading, _unavailable(_replace(reading, contended=reading.contended or bool(unmarked))))
    return done, [Send(node, reading.secret, Repair(head, None, None)) for node in unmarked]


def _pick(reading: Reading, evidence: Evidence, versions: tuple[Version, ...]) -> Step:
    """Pick the version that was asked for from the history; of what the nodes have shown, only what is about that one is kept."""
    version = reading.wanted.among(versions)
    if version is None:
        return _finish(reading, Failed("version_not_found", names=(reading.secret.name,)))
    target = next(header for header in reading.chain if header.version == version.version)
    views = evidence.views[target.tag]
    answers = {node: _replace(seen, views=(views[node],) if node in views else ()) for node, seen in reading.answers.items()}
    reading = _replace(reading, phase=Phase.GATHERING, answers=answers, chain=(), target=target, version=version)
    return _gather(reading, reading.evidence)


def _gather(reading: Reading, evidence: Evidence) -> Step:
    """Rebuild the value from k sound shares and a sound sealed value; ask those who have not said for what is missing (PROTO-17)."""
    header, version = reading.target, reading.version
    assert header is not None, "shares are gathered for a version"
    assert version is not None, "shares are gathered for a version"
    nothing_shown = Found(version, None, header.encoding)
    if not reading.wanted.reveal and not reading.wanted.survey:
        return _finish(reading, nothing_shown)
    shares = evidence.sound_shares(header)
    sealed = evidence.sealed(header)
    if len(shares) >= header.threshold and sealed is not None:
        if reading.wanted.survey:
            return _finish(reading, nothing_shown)
        try:
            return _finish(reading, Found(version, open_value(reading.secret, header, shares, sealed), header.encoding))
        except (ShamirError, EnvelopeError):
            return _finish(reading, _unavailable(reading))
    return _gather_more(reading, evidence.views.get(header.tag, {}), header, shares, sealed is None)


def _gather_more(reading: Reading, holders: Container[str], header: Header, shares: Mapping[str, bytes], no_sealed: bool) -> Step:
    """Ask as many more nodes for the target as shares are missing, those that are known to hold it first."""
    enough = len(shares) >= header.threshold
    fresh = [node for node in reading.order if node not in reading.requested and (enough or node not in shares)]
    fresh.sort(key=lambda node: node not in holders)
    waiting = reading.requested - reading.gathered
    short = max(header.threshold - len(shares), int(no_sealed)) - (len(waiting) if reading.patient else 0)
    if short > 0 and fresh:
        picked = fresh[:short]
        sends = [Send(node, reading.secret, Query(shares=True, sealed=no_sealed and node == picked[0], tag=header.tag)) for node in picked]
        return _replace(reading, requested=reading.requested | set(picked)), sends
    return (reading, []) if waiting else _finish(reading, _unavailable(reading))


def _unavailable(reading: Reading) -> Failed:
    """Not now. While a write or a delete is under way, or somebody is slow, it may be asked again at once; else too few nodes answer."""
    seen = reading.answers.values()
    gone_on = reading.target is not None and any(snapshot.erased > reading.target.tag for snapshot in seen)
    slow = reading.phase is not Phase.REWRITING and bool(_open(reading))
    busy = reading.contended or gone_on or slow or any(snapshot.lease_ms > 0 for snapshot in seen)
    return Failed("unavailable", names=(reading.secret.name,), retry_ms=RETRY_MS if busy and len(seen) >= reading.quorum.read else None)


def _finish(reading: Reading, outcome: Result | Decided) -> Step:
    return _replace(reading, phase=Phase.DONE, outcome=outcome), []
