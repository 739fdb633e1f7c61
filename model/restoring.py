"""What a node that was away, or lost its disk, takes over from the others (PROTO-12, PROTO-13).

Read repair restores the latest version only; here every chosen record of the chain is looked at. The share that a node gets is
interpolated on the record's own polynomial, so it is the very share that the node would have had.
"""

from __future__ import annotations

from collections.abc import Mapping

from model.machine import Send
from model.message import Erase, Query, Repair, Snapshot
from model.operation import SecretId
from model.reading import Reading
from model.record import Header, Kind, sealed_is_sound, share_is_sound, shares_for


def lacking(reading: Reading, node: str) -> tuple[Header, ...] | None:
    """The chosen records of the chain, oldest first, that ``node`` showed no whole shard of, from a survey of the history.

    None if the survey leaves the chain in doubt: then it is to be asked again later.
    """
    evidence = reading.evidence
    if len(reading.answers) < reading.quorum.read:
        return None
    judgement = evidence.judge()
    if not judgement.clean:
        return None
    head = judgement.head
    if head is None:
        return ()
    chain = evidence.lineage(head) if head.kind is Kind.VALUE else (head,)
    if chain is None:
        return None
    own = {view.tag for view in reading.answers[node].views} if node in reading.answers else set()
    return tuple(header for header in reversed(chain) if header.tag not in own)


def shards_wanted(reading: Reading, header: Header) -> list[Send]:
    """Ask for shares of a record from every node that showed it; the first few send the sealed value too."""
    holders = [node for node in reading.order if node in reading.evidence.views.get(header.tag, {}) and node != reading.me]
    return [Send(node, reading.secret, Query(shares=True, sealed=place < 2, tag=header.tag)) for place, node in enumerate(holders)]


def restored(secret: SecretId, header: Header, answers: Mapping[str, Snapshot], node: str) -> Erase | Repair | None:
    """The message that gives ``node`` its shard; None if too little of the record is at hand to rebuild it."""
    if header.kind is Kind.TOMBSTONE:
        return Erase(header)
    if not header.needs_shares:
        return Repair(header, None, None)
    views = {holder: view for holder, snapshot in answers.items() for view in snapshot.views if view.tag == header.tag}
    shares = {holder: view.share for holder, view in views.items() if share_is_sound(secret, header, holder, view.share)}
    known = {holder: share for holder, share in shares.items() if share is not None}
    sealed = next((view.sealed for view in views.values() if sealed_is_sound(header, view.sealed)), None)
    if len(known) < header.threshold or sealed is None or node not in header.placement:
        return None
    return Repair(header, shares_for(header, known, (node,))[node], sealed)
