"""The record that a proposal writes: a new one on top of what was judged, or the one in doubt once more (PROTO-9, PROTO-11)."""

from __future__ import annotations

import msgspec

from model.intent import Intent, Seat
from model.judging import Evidence, Judgement
from model.machine import Send
from model.message import Write
from model.operation import SecretId
from model.record import Ballot, Cut, Entropy, Header, Kind, cut, shares_for
from model.retrying import to_bury
from model.version import next_valid_from


def again(evidence: Evidence, header: Header) -> Cut:
    """The record in doubt as it was: the same tag, the same shares. ``evidence`` shows enough of it (``Evidence.settleable``)."""
    shares = shares_for(header, evidence.sound_shares(header), header.placement) if header.needs_shares else {}
    return Cut(header, evidence.sealed(header), shares)


def writes(nodes: tuple[str, ...], secret: SecretId, ballot: Ballot, record: Cut) -> list[Send]:
    """The record for each of ``nodes``, with its own share as far as there is one."""
    return [Send(node, secret, Write(ballot, record.header, record.shares.get(node), record.sealed)) for node in nodes]


def draft(seat: Seat, intent: Intent, ballot: Ballot, evidence: Evidence, judgement: Judgement, entropy: Entropy | None) -> Cut:
    """A new record under ``ballot``. ``entropy`` is there for a value, and for that alone."""
    head, doubts, live = judgement.head, judgement.doubts, judgement.live
    below = doubts[0].version if doubts else live.version if live is not None else 0
    times = [doubt.valid_from for doubt in doubts] + ([head.valid_from] if head is not None else [])
    kind = {"delete": Kind.TOMBSTONE, "decide": intent.decision}.get(intent.verb, Kind.VALUE)
    header = Header(
        tag=ballot,
        kind=kind,
        incarnation=live.incarnation if live is not None else ballot,
        sequence=judgement.next_sequence,
        version=below + 1 if kind is Kind.VALUE else below,
        base=head.tag if head is not None else None,
        doubts=doubts,
        valid_from=next_valid_from(intent.now, max(times, default=None)),
        threshold=seat.quorum.threshold,
        placement=seat.nodes,
        encoding=intent.encoding,
        retry=intent.retry,
        group=intent.group,
    )
    if kind is Kind.VALUE:
        assert entropy is not None, "a value is sealed with fresh randomness"
        return cut(evidence.secret, header, intent.value, entropy)
    if kind is Kind.TOMBSTONE:
        header = msgspec.structs.replace(header, buried=to_bury(evidence, judgement, intent.now))
    return Cut(header, None, {})
