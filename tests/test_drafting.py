"""What a proposal writes: where a new record stands in the chain, and how one in doubt is written again (PROTO-9, PROTO-11)."""

from __future__ import annotations

import pytest
from scenes import ENTROPY, NODES, QUORUM, SECRET, ballot, cut_of, doubt, header_of, retry, snapshot, view

from model.drafting import again, draft, writes
from model.intent import Intent, Seat
from model.judging import Evidence, Judgement
from model.message import Write
from model.record import Cut, Kind, open_value

SEAT = Seat("n1", 7, QUORUM, NODES, 1000)
ONE = cut_of(header_of(1, retry=retry("one")))
TWO = cut_of(header_of(2, ONE.header))
GRAVE = cut_of(header_of(3, TWO.header, kind=Kind.TOMBSTONE))


def drafted(intent: Intent, judgement: Judgement, *shown: Cut) -> Cut:
    answers = {node: snapshot(*(view(each, node, chosen=True) for each in shown)) for node in NODES}
    evidence = Evidence(SECRET, QUORUM, answers, {}, voted=True)
    return draft(SEAT, intent, ballot(9), evidence, judgement, ENTROPY if intent.verb in ("create", "update") else None)


def test_a_first_create_stands_on_nothing_and_begins_an_incarnation() -> None:  # PROTO-9, SEM-10
    record = drafted(Intent("create", 500, b"new", "base64", retry=retry("key")), Judgement(None))
    header = record.header
    assert (header.tag, header.incarnation, header.base, header.doubts) == (ballot(9), ballot(9), None, ())
    assert (header.kind, header.version, header.sequence, header.valid_from) == (Kind.VALUE, 1, 1, 500)
    assert (header.threshold, header.placement, header.encoding, header.retry) == (2, NODES, "base64", retry("key"))
    assert open_value(SECRET, header, record.shares, record.sealed or b"") == b"new"


def test_a_create_after_a_deletion_stands_on_the_tombstone_and_counts_from_one() -> None:  # SEM-10, SEM-13
    header = drafted(Intent("create", 1, b"new"), Judgement(GRAVE.header, next_sequence=4), GRAVE).header
    assert (header.incarnation, header.base, header.version, header.sequence) == (ballot(9), GRAVE.header.tag, 1, 4)
    assert header.valid_from == GRAVE.header.valid_from + 1, "whatever the clock says"


def test_an_update_above_a_doubt_counts_it_and_names_it() -> None:  # PROTO-9, SEM-10, SEM-13
    judgement = Judgement(ONE.header, (doubt(TWO.header),), next_sequence=3)
    header = drafted(Intent("update", 1, b"new"), judgement, ONE).header
    assert (header.incarnation, header.base, header.doubts) == (ONE.header.incarnation, ONE.header.tag, (doubt(TWO.header),))
    assert (header.version, header.sequence, header.valid_from) == (3, 3, TWO.header.valid_from + 1)


def test_a_tombstone_repeats_the_version_and_keeps_the_digests_of_what_it_buries() -> None:  # SEM-22
    record = drafted(Intent("delete", 2000), Judgement(TWO.header, next_sequence=3), ONE, TWO)
    assert (record.header.kind, record.header.version, record.header.incarnation) == (Kind.TOMBSTONE, 2, ONE.header.incarnation)
    assert [each.retry for each in record.header.buried] == [retry("one")]
    assert (record.shares, record.sealed) == ({}, None)


def test_a_decision_has_neither_value_nor_shares_nor_digests() -> None:  # PROTO-14
    record = drafted(Intent("decide", decision=Kind.COMMIT), Judgement(None))
    assert (record.header.kind, record.header.version, record.shares, record.sealed, record.header.buried) == (Kind.COMMIT, 0, {}, None, ())


@pytest.mark.parametrize("missing", NODES)
def test_what_is_written_again_has_the_very_shares_that_it_had(missing: str) -> None:  # PROTO-11
    answers = {node: snapshot(view(ONE, node)) for node in NODES if node != missing}
    assert again(Evidence(SECRET, QUORUM, answers, {}, voted=True), ONE.header) == ONE


def test_a_tombstone_is_written_again_as_it_is() -> None:  # PROTO-11
    assert again(Evidence(SECRET, QUORUM, {"n1": snapshot(view(GRAVE, "n1"))}, {}, voted=True), GRAVE.header) == GRAVE


def test_every_node_is_sent_its_own_share() -> None:  # PROTO-5
    sends = writes(NODES, SECRET, ballot(9), ONE)
    assert [(send.node, send.secret) for send in sends] == [(node, SECRET) for node in NODES]
    assert [send.message for send in sends] == [Write(ballot(9), ONE.header, ONE.shares[node], ONE.sealed) for node in NODES]
