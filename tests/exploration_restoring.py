"""The recovery of a node that lost its disk, for one secret, as a machine: what ``node.recovery`` does, step by step (PROTO-12).

First fence n-W+1 others, then survey the history, settle what is in doubt and survey again, gather shares, and say what to install. The
decisions are those of ``model.restoring``. The own store takes no part: nothing is on it.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from fencing import FENCE_COUNTERS

from model import proposal as proposals
from model import reading as readings
from model.intent import Intent, Seat, Wanted
from model.machine import Event, Heard, PatienceOver, Send, TimeUp, to_all
from model.message import Fence, Message, Noted, Snapshot
from model.operation import Failed, SecretId
from model.proposal import Proposal
from model.quorum import Quorum
from model.reading import Reading
from model.record import Header
from model.restoring import chosen, doubtful, fenced_only, remembered, restored, shards_wanted

_replace = msgspec.structs.replace
FLOOR = FENCE_COUNTERS
"""Where the fence stands: above every ballot counter that a small case reaches."""


class Restored(msgspec.Struct, frozen=True, tag="restored"):
    """Recovery is over: apply these to the own store, promise nothing up to the fence, serve."""

    messages: tuple[Message, ...]


class Restore(msgspec.Struct, frozen=True):
    """One recovery under way. ``open``: shares asked for; ``shards``: what each node showed when it was asked, in a fixed order."""

    seat: Seat
    secret: SecretId
    phase: Literal["fencing", "surveying", "settling", "gathering"] = "fencing"
    heard: frozenset[str] = frozenset()
    fenced: frozenset[str] = frozenset()
    survey: Reading | None = None
    settling: Proposal | None = None
    settled: bool = False
    open: tuple[Send, ...] = ()
    shards: tuple[tuple[str, Snapshot], ...] = ()
    outcome: Restored | Failed | None = None


Step = tuple[Restore, list[Send]]


def begin(seat: Seat, secret: SecretId) -> Step:
    return Restore(seat, secret), to_all(_peers(seat), secret, Fence(FLOOR))


def step(restore: Restore, event: Event) -> Step:
    """Take one event; anything after the outcome changes nothing."""
    if restore.outcome is not None:
        return restore, []
    match restore.phase:
        case "fencing":
            return _fencing(restore, event)
        case "surveying":
            assert restore.survey is not None
            survey, sends = readings.step(restore.survey, event)
            return _surveyed(_replace(restore, survey=survey), sends)
        case "settling":
            assert restore.settling is not None
            settling, sends = proposals.step(restore.settling, event)
            return _settled(_replace(restore, settling=settling), sends)
    return _gathering(restore, event)


def _peers(seat: Seat) -> tuple[str, ...]:
    return tuple(node for node in seat.nodes if node != seat.me)


def _needed(quorum: Quorum) -> int:
    return quorum.share_count - quorum.write + 1


def _fencing(restore: Restore, event: Event) -> Step:
    if isinstance(event, Heard) and isinstance(event.send.message, Fence):
        fenced = restore.fenced | {event.send.node} if isinstance(event.reply, Noted) else restore.fenced
        restore = _replace(restore, heard=restore.heard | {event.send.node}, fenced=fenced)
    waiting = len(restore.heard) < len(restore.seat.nodes) - 1 and not isinstance(event, PatienceOver | TimeUp)
    if waiting or len(restore.fenced) < _needed(restore.seat.quorum):
        return restore, []
    return _ask(restore)


def _ask(restore: Restore) -> Step:
    seat = restore.seat
    wanted = Wanted(history=True, reveal=False, survey=True)
    survey, sends = readings.begin(seat.me, restore.secret, wanted, seat.quorum, _peers(seat))
    survey, sends = readings.step(survey, Heard(sends[0], None))
    return _surveyed(_replace(restore, phase="surveying", survey=survey), sends)


def _surveyed(restore: Restore, sends: list[Send]) -> Step:
    survey, seat = restore.survey, restore.seat
    assert survey is not None
    if survey.outcome is None:
        return restore, sends
    sends = [send for send in sends if send.node != seat.me]
    judged = fenced_only(survey, restore.fenced)
    if doubtful(judged) and not restore.settled:
        settling, votes = proposals.begin(seat, restore.secret, Intent("settle"), None, 0)
        restore, votes = _settled(_replace(restore, phase="settling", settling=settling), votes)
        return restore, sends + votes
    if len(survey.answers) < seat.quorum.read or len(restore.fenced & survey.answers.keys()) < _needed(seat.quorum):
        return _replace(restore, outcome=Failed("unavailable")), sends
    asked = tuple(send for header in chosen(judged) for send in shards_wanted(survey, header))
    restore = _replace(restore, phase="gathering", open=asked)
    return (restore, [*sends, *asked]) if asked else (_finished(restore), sends)


def _settled(restore: Restore, sends: list[Send]) -> Step:
    """Go on settling; the own store refuses at once. Whatever comes of it, look again."""
    seat, settling = restore.seat, restore.settling
    assert settling is not None
    others: list[Send] = []
    while sends:
        others += [send for send in sends if send.node != seat.me]
        mine = [send for send in sends if send.node == seat.me]
        sends = []
        for send in mine:
            settling, more = proposals.step(settling, Heard(send, None))
            sends += more
    restore = _replace(restore, settling=settling)
    if settling.outcome is None:
        return restore, others
    restore, more = _ask(_replace(restore, settled=True))
    return restore, others + more


def _gathering(restore: Restore, event: Event) -> Step:
    if isinstance(event, Heard) and event.send in restore.open:
        restore = _replace(restore, open=tuple(send for send in restore.open if send != event.send))
        if isinstance(event.reply, Snapshot):
            restore = _replace(restore, shards=tuple(sorted([*restore.shards, (event.send.node, event.reply)], key=str)))
    if restore.open and not isinstance(event, PatienceOver | TimeUp):
        return restore, []
    return _finished(restore), []


def _finished(restore: Restore) -> Restore:
    survey = restore.survey
    assert survey is not None
    judged = fenced_only(survey, restore.fenced)
    messages: list[Message] = list(remembered(judged, restore.seat.me))
    for header in chosen(judged):
        messages += restored(restore.secret, header, _shown(restore, header), restore.seat.me)
    return _replace(restore, outcome=Restored(tuple(messages)))


def _shown(restore: Restore, header: Header) -> dict[str, Snapshot]:
    return {node: shown for node, shown in restore.shards if any(view.tag == header.tag for view in shown.views)}
