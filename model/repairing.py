"""Read repair: what to send after a survey, so that every node holds its shard again (PROTO-7, PROTO-17)."""

from __future__ import annotations

from model.machine import Send
from model.message import Confirm, Erase, Repair
from model.reading import Reading
from model.record import Kind, sealed_is_sound, shares_for


def repairs(reading: Reading, buffer: int) -> list[Send]:
    """After a survey: restore missing shards if the trigger says so, carry on erasures, spread the mark of a chosen head.

    Only nodes that answered are written to. The trigger is k <= shards found <= k + ``buffer``, and some missing.
    """
    evidence = reading.evidence
    if len(reading.answers) < reading.quorum.read:
        return []
    judgement = evidence.judge()
    header = judgement.head
    if header is None or not judgement.clean:
        return []
    secret = reading.secret
    if header.kind is Kind.TOMBSTONE:
        return [Send(node, secret, Erase(header)) for node, seen in reading.answers.items() if seen.erased < header.tag]
    views = evidence.views.get(header.tag, {})
    sends = [Send(node, secret, Confirm(header.tag)) for node, view in views.items() if not view.chosen]
    if not header.needs_shares:
        return sends + [Send(node, secret, Repair(header, None, None)) for node in reading.answers if node not in views]
    sound = evidence.sound_shares(header)
    sealed = evidence.sealed(header)
    spoiled = {node for node, view in views.items() if view.sealed is not None and not sealed_is_sound(header, view.sealed)}
    whole = sound.keys() - spoiled
    lacking = tuple(node for node in reading.answers if node not in whole and node in header.placement)
    if not lacking or sealed is None or not reading.quorum.repair_due(len(whole), buffer):
        return sends
    shares = shares_for(header, sound, lacking)
    return sends + [Send(node, secret, Repair(header, shares[node], sealed)) for node in lacking]
