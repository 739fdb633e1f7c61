"""The coordinator's machine for several versions of one secret: its lineage is read and judged once for all of them (PROTO-15).

Every link of a lineage counts for each version that is picked from it, so reading it for each anew would cost versions times reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from model import reading as readings
from model.intent import Decided, Wanted
from model.machine import Event, Heard, Send
from model.message import Query
from model.operation import Result, SecretId, Versions
from model.quorum import Quorum
from model.reading import Reading
from model.record import Ballot

_replace = msgspec.structs.replace

Outcome = Result | Decided | None


class Selection(msgspec.Struct, frozen=True):
    """Readings of the versions ``wanted``: first of the ``history``, then ``picks`` from it. Wanted, picks and outcome run in step.

    ``places``: which of the picks are of the record with that tag.
    """

    wanted: tuple[Wanted, ...]
    history: Reading
    picks: tuple[Reading, ...] = ()
    places: Mapping[Ballot, list[int]] = {}
    outcome: tuple[Outcome, ...] | None = None

    @property
    def needs(self) -> frozenset[str]:
        return self.history.needs


Step = tuple[Selection, list[Send]]


def begin(me: str, secret: SecretId, wanted: tuple[Wanted, ...], quorum: Quorum, peers: tuple[str, ...]) -> Step:
    """Open a selection. Each of ``wanted`` names a version or a time."""
    history, sends = readings.begin(me, secret, Wanted(history=True, reveal=False), quorum, peers)
    return Selection(wanted, history), sends


def step(selection: Selection, event: Event) -> Step:
    """Take one event; anything after the outcome changes nothing."""
    if selection.outcome is not None:
        return selection, []
    if not selection.picks:
        return _read_history(selection, event)
    picks, sends = list(selection.picks), list[Send]()
    for place in _concerned(selection, event):
        picks[place], more = readings.step(picks[place], event)
        sends += more
    return _with_picks(selection, picks), sends


def _read_history(selection: Selection, event: Event) -> Step:
    history, sends = readings.step(selection.history, event)
    selection = _replace(selection, history=history)
    if history.outcome is None:
        return selection, sends
    if not isinstance(history.outcome, Versions):
        return _replace(selection, outcome=(history.outcome,) * len(selection.wanted)), sends
    places: dict[Ballot, list[int]] = {}
    picks = []
    for place, (pick, more) in enumerate(readings.pick(history, history.outcome.versions, selection.wanted)):
        picks.append(pick)
        sends += more
        if pick.target is not None:
            places.setdefault(pick.target.tag, []).append(place)
    return _with_picks(_replace(selection, places=places), picks), sends


def _concerned(selection: Selection, event: Event) -> Sequence[int]:
    """The places of the picks that an event is for: a reply is for those whose version is being gathered with it."""
    if not isinstance(event, Heard):
        return range(len(selection.picks))
    message = event.send.message
    return selection.places.get(message.tag, ()) if isinstance(message, Query) and message.tag is not None else ()


def _with_picks(selection: Selection, picks: list[Reading]) -> Selection:
    outcome = tuple(pick.outcome for pick in picks) if all(pick.outcome is not None for pick in picks) else None
    return _replace(selection, picks=tuple(picks), outcome=outcome)
