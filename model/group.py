"""The coordinator's machine for a group of creates: all or nothing through crashes (PROTO-14).

Every name is voted on and written as a *provisional* record that names the group. The commit point is one register under the
group's id, decided by the same protocol without shares: whoever first gets COMMIT or ABORT chosen there has decided for all.
The register is voted on together with the names, so the decision costs one more write and no more votes.
"""

from __future__ import annotations

from itertools import chain

import msgspec

from model import proposal as proposals
from model.intent import RETRY_MS, Decided, Intent, Seat
from model.machine import Event, Heard, Proceed, Resolved, Send, to_all
from model.message import Confirm
from model.operation import Failed, NewValue, Result, Retry, Version, Written
from model.proposal import Phase, Proposal
from model.record import Entropy, Kind, group_register

_replace = msgspec.structs.replace


class Group(msgspec.Struct, frozen=True):
    """A group of creates under way: one member for each name, in the order asked, and the proposal that decides."""

    members: tuple[Proposal, ...]
    decision: Proposal
    outcome: Result | None = None

    @property
    def needs(self) -> frozenset[str]:
        return frozenset(chain.from_iterable(member.needs for member in self.members if member.phase is not Phase.DONE))


Step = tuple[Group, list[Send]]


def begin(
    seats: tuple[Seat, ...],
    decision_seat: Seat,
    group: str,
    values: tuple[NewValue, ...],
    now: int,
    retry: Retry | None,
    entropies: tuple[Entropy, ...],
    counters: tuple[int, ...],
) -> Step:
    """Open the group. ``group`` is a fresh random id; seats, values, entropies and counters run in step."""
    members, sends = [], []
    for seat, new, entropy, counter in zip(seats, values, entropies, counters, strict=True):
        intent = Intent("create", now, new.value, new.encoding, retry=retry, group=group)
        member, votes = proposals.begin(seat, new.secret, intent, entropy, counter, hold=True)
        members.append(member)
        sends += votes
    intent = Intent("decide", now, decision=Kind.COMMIT)
    decision, votes = proposals.begin(decision_seat, group_register(group), intent, None, 0, hold=True)
    return Group(tuple(members), decision), sends + votes


def step(group: Group, event: Event) -> Step:
    """Take one event; anything after the outcome changes nothing."""
    if group.outcome is not None:
        return group, []
    sends: list[Send] = []
    members = []
    for member in group.members:
        if not isinstance(event, Heard | Resolved) or _concerns(member, event):
            member, more = proposals.step(member, event)  # noqa: PLW2901 - the member after its step
            sends += more
        members.append(member)
    decision = group.decision
    if not isinstance(event, Heard) or event.send.secret == decision.secret:
        decision, more = proposals.step(decision, event)
        sends += more
    group, more = _advance(_replace(group, members=tuple(members), decision=decision))
    return group, sends + more


def _concerns(member: Proposal, event: Heard | Resolved) -> bool:
    return event.send.secret == member.secret if isinstance(event, Heard) else event.group in member.needs


def _advance(group: Group) -> Step:
    """Where all members stand together decides what comes next."""
    phases = {member.phase for member in group.members}
    decision = group.decision
    if phases == {Phase.READY} and decision.phase is Phase.READY:
        return _proceed_all(group)
    if phases == {Phase.CHOSEN} and decision.phase is Phase.READY:
        decision, sends = proposals.step(decision, Proceed())
        return _replace(group, decision=decision), sends
    if phases == {Phase.CHOSEN} and decision.phase is Phase.DONE:
        return _decided(group)
    if Phase.DONE in phases and phases <= {Phase.DONE, Phase.READY, Phase.CHOSEN}:
        return _failed(group)
    if decision.phase is Phase.DONE and not phases & {Phase.WRITING, Phase.CHOSEN}:
        failure = decision.outcome
        if isinstance(failure, Failed) and failure.retry_ms is None:
            return _end(group, Failed("voting_failed", names=_names(group.members)))
        return _end(group, Failed("write_conflict", names=_names(group.members), retry_ms=RETRY_MS))
    return group, []


def _proceed_all(group: Group) -> Step:
    sends: list[Send] = []
    members = []
    for member in group.members:
        writing, more = proposals.step(member, Proceed())
        members.append(writing)
        sends += more
    return _replace(group, members=tuple(members)), sends


def _decided(group: Group) -> Step:
    if group.decision.outcome != Decided(Kind.COMMIT):
        return _end(group, Failed("writing_failed", names=_names(group.members)))
    versions, sends = [], []
    for member in group.members:
        assert member.cut is not None, "a chosen member was cut"
        header = member.cut.header
        versions.append(Version(header.version, header.valid_from))
        sends += to_all(member.seat.nodes, member.secret, Confirm(header.tag))
    return _replace(group, outcome=Written(tuple(versions))), sends


def _failed(group: Group) -> Step:
    """At least one member ended without being written: name every offender; undo what was written."""
    done = [member for member in group.members if member.phase is Phase.DONE]
    first = [member.outcome for member in done if isinstance(member.outcome, Written)]
    if len(first) == len(group.members):
        return _end(group, Written(tuple(version for written in first for version in written.versions)))
    failures = [member.outcome for member in done if isinstance(member.outcome, Failed)]
    worst = next((code for code in _SEVERITY if any(failure.code == code for failure in failures)), "secret_exists")
    offenders = tuple(
        member
        for member in done
        if isinstance(member.outcome, Written) or (isinstance(member.outcome, Failed) and member.outcome.code == worst)
    )
    retry_ms = next((failure.retry_ms for failure in failures if failure.code == worst), None)
    return _end(group, Failed(worst, names=_names(offenders), retry_ms=retry_ms))


_SEVERITY = ("writing_failed", "idempotency_key_reused", "write_conflict", "voting_failed", "secret_exists")
"""Which failure stands for the group when its members failed in different ways. Names that exist come last: they are told all at once, so
every member must have been judged (SEM-17)."""


def _names(members: tuple[Proposal, ...]) -> tuple[str, ...]:
    return tuple(sorted({member.secret.name for member in members}))


def _end(group: Group, outcome: Result) -> Step:
    """Release what was voted; if anything was written, write ABORT so that nobody need wonder, and do not wait for it."""
    sends: list[Send] = []
    members = []
    decision = group.decision
    if decision.phase is Phase.READY and any(member.phase is Phase.CHOSEN or _wrote(member) for member in group.members):
        decision, sends = proposals.step(decision, Proceed(abort=True))
    for member in group.members:
        ended, more = proposals.abandon(member)
        members.append(ended)
        sends += more
    if decision.phase is Phase.READY:
        decision, more = proposals.abandon(decision)
        sends += more
    return _replace(group, members=tuple(members), decision=decision, outcome=outcome), sends


def _wrote(member: Proposal) -> bool:
    return member.cut is not None and isinstance(member.outcome, Failed) and member.outcome.code == "writing_failed"
