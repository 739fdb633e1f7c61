"""What a read does about a version in doubt: never shows an older one instead, and settles it if it can (PROTO-15, PROTO-16)."""

from __future__ import annotations

import pytest
from reading_scenes import BUSY, MISSING, UNAVAILABLE, heard, kept, propose, read
from scenes import SECRET, Bench, ballot, cut_of, header_of, held, snapshot, to, view, without

from model import reading as readings
from model.intent import Intent, Wanted
from model.machine import Heard, PatienceOver, Proceed, Send
from model.message import Accepted, Query, Refused, Write
from model.operation import Failed, Found, Version, Versions
from model.quorum import Quorum
from model.reading import Phase, Reading
from model.record import Kind, Register, share_is_sound


def test_a_top_in_doubt_is_written_again_under_its_own_ballot_before_it_is_shown() -> None:  # PROTO-16
    bench = kept(b"one", quorum=Quorum(4, 2))
    torn = propose(bench, Intent("update", 200, b"two"), reaches=without(Write, "n3", "n4"))
    machine = read(bench, me="n3", reaches=lambda send: send.node != "n4")
    assert machine.outcome == Found(Version(2, 200), b"two", "utf-8")
    assert bench.register("n3").held(torn.ballot) is not None
    assert all(each.ballot == torn.ballot for node in bench.names[:3] for each in bench.register(node).records[-1:])
    assert bench.register("n3").records[-1].chosen


def test_an_older_version_is_never_shown_in_place_of_one_in_doubt() -> None:  # PROTO-16
    bench = kept(b"one")
    propose(bench, Intent("update", 200, b"two"), reaches=without(Write, "n2", "n3"))
    assert read(bench, reaches=to("n1", "n2")).outcome == UNAVAILABLE
    assert read(bench, me="n2").outcome == Found(Version(1, 100), b"one", "utf-8")  # n1 alone can never have been W


def test_a_tombstone_in_doubt_needs_no_shares_to_be_settled_by_a_reader() -> None:  # PROTO-16
    bench = kept(b"one")
    propose(bench, Intent("delete", 200), reaches=without(Write, "n2", "n3"))
    assert read(bench, reaches=to("n1", "n2")).outcome == MISSING
    assert bench.register("n2").records[-1].header.kind is Kind.TOMBSTONE


def test_a_doubt_that_a_slow_node_could_end_waits_for_it_as_long_as_patience_lasts() -> None:  # PROTO-16
    bench = kept(b"one")
    propose(bench, Intent("update", 200, b"two"), reaches=without(Write, "n2", "n3"))
    bench.now_ms = 5000
    machine, sends = bench.read()
    for _ in range(2):
        machine, sends = readings.step(machine, Heard(sends[0], bench.apply(sends[0].node, sends[0].message)))
    assert [send.node for send in sends] == ["n3"]
    assert readings.step(machine, PatienceOver())[0].outcome == BUSY
    assert bench.run(machine, sends).outcome == Found(Version(1, 100), b"one", "utf-8")


def test_a_top_in_doubt_is_written_again_under_the_highest_ballot_that_anybody_holds_it_under() -> None:  # PROTO-16
    bench = Bench()
    record = cut_of(header_of(1))
    for node, at in (("n1", 2), ("n2", 5)):
        bench.registers[node, SECRET] = Register(ballot(5), records=(held(record, node, at=at),))
    rewritten: list[Send] = []

    def watched(send: Send) -> bool:
        rewritten.extend([send] if isinstance(send.message, Write) else [])
        return True

    assert isinstance(read(bench, reaches=watched).outcome, Found)
    assert [send.message.ballot for send in rewritten if isinstance(send.message, Write)] == [ballot(5)] * 3


def in_doubt() -> tuple[Bench, Reading, list[Send]]:
    """A reader at n1 of four that has just begun to write again an update that two nodes hold; n4 is away."""
    bench = kept(b"one", quorum=Quorum(4, 2))
    propose(bench, Intent("update", 200, b"two"), reaches=without(Write, "n3", "n4"))
    bench.now_ms = 5000
    machine, sends = bench.read()
    writes: list[Send] = []
    while sends:
        send = sends.pop(0)
        machine, more = readings.step(machine, Heard(send, bench.apply(send.node, send.message) if send.node != "n4" else None))
        writes, sends = (more, sends) if machine.phase is Phase.REWRITING else (writes, sends + more)
    assert machine.phase is Phase.REWRITING
    return bench, machine, writes


def test_a_rewrite_that_a_newer_ballot_refuses_may_be_asked_again_and_one_that_reaches_nobody_not() -> None:  # PROTO-16
    _, machine, writes = in_doubt()
    refused = Refused(ballot(99))
    for replies, expected in (((refused, refused), BUSY), ((refused, None), BUSY), ((None, None), UNAVAILABLE)):
        after = machine
        for send, reply in zip(writes, replies, strict=False):
            after, _ = readings.step(after, Heard(send, reply))
        assert after.outcome == expected


def test_only_acceptances_of_this_very_rewrite_count_and_each_once() -> None:  # PROTO-16
    _, machine, writes = in_doubt()
    write = writes[0].message
    assert isinstance(write, Write)
    stale = Send("n2", SECRET, Write(ballot(77), write.header, None, None))
    for event in (Heard(stale, Accepted(ballot(77), write.header.tag)), Heard(stale, None), PatienceOver(), Proceed()):
        after, more = readings.step(machine, event)
        assert (after.acks, after.gone, more) == (frozenset(), frozenset(), [])
    for reply in (None, Accepted(write.ballot, write.header.tag), None):
        machine, _ = readings.step(machine, Heard(writes[0], reply))
    assert (machine.acks, machine.gone) == ({writes[0].node}, frozenset())


def test_what_a_rewrite_made_certain_is_shown_although_the_own_store_never_answers() -> None:  # PROTO-16
    bench = kept(b"one", quorum=Quorum(4, 2))
    propose(bench, Intent("update", 200, b"two"), reaches=without(Write, "n3", "n4"))
    machine, sends = bench.read(me="n4")
    while machine.phase is Phase.ASKING:
        send = sends.pop(0)
        machine, more = readings.step(machine, Heard(send, bench.apply(send.node, send.message) if send.node != "n4" else None))
        sends += more
    assert machine.phase is Phase.REWRITING
    machine, _ = heard(machine, bench, *(send for send in sends if send.node != "n4"))
    assert machine.outcome == Found(Version(2, 200), b"two", "utf-8")


def test_a_rewrite_makes_nothing_certain_but_what_it_wrote() -> None:  # PROTO-16
    """A newer record that one node accepted on top of it stays what it was."""
    bench = Bench(Quorum(4, 2))
    one = cut_of(header_of(1, nodes=bench.names))
    two = cut_of(header_of(2, one.header, nodes=bench.names))
    three = cut_of(header_of(3, one.header, two.header, nodes=bench.names))
    above = {"n1": (held(two, "n1"), held(three, "n1")), "n2": (held(two, "n2", at=5),)}
    for node in bench.names:
        promised = ballot(3 if node == "n1" else 5)
        bench.registers[node, SECRET] = Register(promised, records=(held(one, node, chosen=True), *above.get(node, ())))
    machine = read(bench, reaches=without(Query, "n4"))
    assert machine.rewritten == (ballot(5), two.header)
    assert machine.outcome == Found(Version(2, 1002), b"secret", "utf-8")


def test_a_rewrite_brings_every_node_its_own_share() -> None:  # PROTO-16
    bench = kept(b"one", quorum=Quorum(4, 2))
    propose(bench, Intent("update", 200, b"two"), reaches=without(Write, "n3", "n4"))
    read(bench, reaches=without(Query, "n4"))
    for node in bench.names:
        top = bench.register(node).records[-1]
        assert (top.header.version, share_is_sound(SECRET, top.header, node, top.share)) == (2, True)


def test_a_history_with_a_late_write_still_possible_is_not_told_but_its_readers_put_an_end_to_that() -> None:  # PROTO-9, PROTO-15
    bench = kept(b"one")
    propose(bench, Intent("update", 200, b"two"), reaches=without(Write, "n2", "n3"))
    propose(bench, Intent("update", 300, b"three"), reaches=to("n1", "n2"))
    register = bench.register("n3")
    assert [each.header.version for each in register.records] == [1]
    machine = read(bench, Wanted(history=True, reveal=False))
    assert machine.outcome == BUSY
    assert bench.register("n3").records[-1].header.version == 3  # its header alone
    assert read(bench, Wanted(history=True, reveal=False)).outcome == Versions((Version(1, 100, 300), Version(3, 300)))
    assert read(bench, Wanted(version=3), me="n3").outcome == Found(Version(3, 300), b"three", "utf-8")


def test_a_history_that_nothing_can_complete_is_unavailable() -> None:  # PROTO-15
    bench = kept(b"one")
    propose(bench, Intent("update", 200, b"two"), reaches=without(Write, "n2", "n3"))
    propose(bench, Intent("update", 300, b"three"), reaches=to("n1", "n2"))
    assert read(bench, Wanted(history=True), reaches=to("n1", "n2")).outcome == UNAVAILABLE


def test_a_rewrite_that_too_few_can_still_accept_is_given_up_at_once() -> None:  # PROTO-16
    bench, machine, writes = in_doubt()
    machine, _ = heard(machine, bench, writes[0])
    for write in writes[1:3]:
        machine, _ = readings.step(machine, Heard(write, None))
    assert machine.outcome == UNAVAILABLE


@pytest.mark.parametrize(("lease_ms", "expected"), [(0, UNAVAILABLE), (1, BUSY)])
def test_a_doubt_is_worth_asking_about_again_while_one_node_knows_of_a_running_proposal(lease_ms: int, expected: Failed) -> None:
    record = cut_of(header_of(1))
    machine, sends = Bench().read()
    machine, sends = readings.step(machine, Heard(sends[0], snapshot(view(record, "n1"), lease_ms=lease_ms)))
    machine, sends = readings.step(machine, Heard(sends[0], snapshot()))
    machine, _ = readings.step(machine, Heard(sends[0], None))
    assert machine.outcome == expected
