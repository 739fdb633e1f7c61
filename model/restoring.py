"""What a node that was away, or lost its disk, takes over from the others (PROTO-12, PROTO-13).

Read repair restores the latest version only; here every chosen record of the chain is looked at. The share that a node gets is
interpolated on the record's own polynomial, so it is the very share that the node would have had.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from model.judging import Standing
from model.machine import Send
from model.message import Erase, Query, Repair, Snapshot, Write
from model.operation import SecretId
from model.placement import share_index
from model.reading import Reading
from model.record import ZERO, Ballot, Header, Kind, sealed_is_sound, share_is_sound, shares_for


def fenced_only(reading: Reading, fenced: frozenset[str]) -> Reading:
    """The survey as the ``fenced`` alone answered it: what another does not hold it may yet accept, under a ballot that the lost store
    helped (PROTO-12).
    """
    answers = {node: snapshot for node, snapshot in reading.answers.items() if node in fenced}
    return msgspec.structs.replace(reading, answers=answers)


def chosen(reading: Reading) -> tuple[Header, ...]:
    """The records that a survey of the history shows to be chosen, oldest first, from the newest tombstone on.

    A tombstone below a create counts too: it keeps the retry digests of what it buried (SEM-22).
    """
    evidence = reading.evidence
    headers = sorted(evidence.headers.values(), key=lambda header: header.tag)
    sure = [header for header in headers if evidence.standing(header.tag) is Standing.CHOSEN]
    first = max((place for place, header in enumerate(sure) if header.kind is Kind.TOMBSTONE), default=0)
    return tuple(sure[first:])


def doubtful(reading: Reading) -> tuple[Header, ...]:
    """The records that may have been chosen or not, for all that the survey shows, oldest first."""
    evidence = reading.evidence
    oldest = min((header.tag for header in chosen(reading)), default=ZERO)
    headers = sorted(evidence.headers.values(), key=lambda header: header.tag)
    return tuple(
        header for header in headers if header.tag > oldest and evidence.standing(header.tag) in (Standing.DOUBT, Standing.UNRESOLVED)
    )


def whole(own: Snapshot) -> frozenset[Ballot]:
    """What a node holds whole, from its own snapshot with shares and sealed values."""
    headers = ((view, view.header) for view in own.views)
    return frozenset(
        view.tag
        for view, header in headers
        if header is not None and (not header.needs_shares or (view.share is not None and sealed_is_sound(header, view.sealed)))
    )


def is_whole(held: Mapping[Header, bool]) -> bool:
    """Whether a node holds all that its newest record may stand on; ``held``: its headers, and whether it has a share of each.

    Only below a tombstone nothing need be. So a node that was away during a deletion and a new create, and then got the latest
    version alone, is found out: it must yet learn of the tombstone, and erase (PROTO-8).
    """
    tags = {header.tag for header in held}
    return all(
        (has_share or not header.needs_shares) and (header.kind is Kind.TOMBSTONE or tags.issuperset(_stands_on(header)))
        for header, has_share in held.items()
    )


def _stands_on(header: Header) -> set[Ballot]:
    return {doubt.tag for doubt in header.doubts} | ({header.base} if header.base is not None else set())


def shards_wanted(reading: Reading, *headers: Header) -> list[Send]:
    """Ask for shares of each of the records from every node that showed it; the first few send the sealed value too."""
    views = reading.evidence.views
    sends = []
    for header in headers:
        shown = views.get(header.tag, {})
        holders = [node for node in reading.order if node in shown and node != reading.me]
        sends += [Send(node, reading.secret, Query(shares=True, sealed=place < 2, tag=header.tag)) for place, node in enumerate(holders)]
    return sends


def restored(secret: SecretId, header: Header, answers: Mapping[str, Snapshot], node: str) -> tuple[Erase | Repair, ...]:
    """The messages that give ``node`` its record; without a share, where too little is at hand to rebuild it.

    That the record was chosen is worth knowing all the same: a node that has forgotten it would help to outvote it.
    """
    if header.kind is Kind.TOMBSTONE:
        return Erase(header), Repair(header, None, None)  # what it buried may be erased here and yet the tombstone itself be missing
    if not header.needs_shares:
        return (Repair(header, None, None),)
    views = {holder: view for holder, snapshot in answers.items() for view in snapshot.views if view.tag == header.tag}
    shares = {holder: view.share for holder, view in views.items() if share_is_sound(secret, header, holder, view.share)}
    known = {holder: share for holder, share in shares.items() if share is not None}
    sealed = next((view.sealed for view in views.values() if sealed_is_sound(header, view.sealed)), None)
    if len(known) < header.threshold or sealed is None or node not in header.placement:
        return (Repair(header, None, None),)
    return (Repair(header, shares_for(header, known, (node,))[node], sealed),)


def remembered(reading: Reading, node: str) -> tuple[Write, ...]:
    """The messages by which a recovering node keeps in mind what it may once have accepted, the lowest ballot first (PROTO-12).

    Each ranks just below the ballot under which the others hold the record, so that it stands above what it stands on; but its
    ballot is none that anybody voted under, and no other node's: a possible acceptance, never counted as one.
    """
    evidence = reading.evidence
    hearsay = []
    for header in doubtful(reading):
        ballot = max(view.ballot for view in evidence.views[header.tag].values())
        rank = Ballot(ballot.counter, ballot.node, -share_index(header.placement, node))
        hearsay.append(Write(rank, header, None, None))
    return tuple(sorted(hearsay, key=lambda write: write.ballot))
