"""The coordinator's machine for a delete: the tombstone, the erasures, what they answer for (PROTO-8)."""

from __future__ import annotations

from proposal_scenes import code, created, done, heard
from scenes import SECRET, Bench, header_of, retry, without

from model import proposal as proposals
from model.intent import Intent
from model.machine import Heard, Send, TimeUp
from model.message import Accepted, Erase, Vote, Write
from model.operation import Deleted, Version, Written
from model.proposal import Phase
from model.record import ZERO


def test_a_delete_answers_only_once_w_nodes_have_erased() -> None:  # PROTO-8
    bench = created()
    machine = done(bench, Intent("delete", 200), reaches=without(Erase, "n3"))
    assert machine.outcome == Deleted()
    assert [bench.tags(node) for node in bench.names] == [[2], [2], [1, 2]]
    assert code(done(bench, Intent("update", 300, b"x")).outcome) == "secret_not_found"


def test_a_delete_whose_erasures_fall_short_is_chosen_but_not_acknowledged() -> None:  # PROTO-8
    bench = created()
    assert code(done(bench, Intent("delete", 200), reaches=without(Erase, "n2", "n3")).outcome) == "writing_failed"
    assert code(done(bench, Intent("delete", 300), "n2").outcome) == "secret_not_found"
    assert isinstance(done(bench, Intent("create", 400, b"again"), "n3").outcome, Written)


def test_doubled_erasures_are_counted_once_and_time_up_leaves_the_delete_unknown() -> None:  # PROTO-8
    bench = created()
    machine, votes = bench.propose(Intent("delete", 200))
    sends = list(votes)
    while not isinstance(sends[0].message, Erase):
        send = sends.pop(0)
        machine, more = proposals.step(machine, Heard(send, bench.apply(send.node, send.message)))
        sends += more
        sends = sends if machine.phase is not Phase.ERASING else [each for each in sends if isinstance(each.message, Erase)]
    reply = bench.apply("n1", sends[0].message)
    for each in (None, reply, None, reply):
        machine, _ = proposals.step(machine, Heard(sends[0], each))
    assert (machine.acks, machine.gone) == ({"n1"}, frozenset())
    assert proposals.step(machine, Heard(Send("n2", SECRET, Write(ZERO, header_of(1), None, None)), Accepted(ZERO, ZERO)))[0] == machine
    assert code(proposals.step(machine, TimeUp())[0].outcome) == "writing_failed"


def test_who_missed_the_tombstone_may_still_erase_and_an_erasure_stands() -> None:  # PROTO-8
    bench = created()
    machine, votes = bench.propose(Intent("delete", 200))
    machine, writes = heard(machine, bench, *votes[:2])
    machine, _ = proposals.step(machine, Heard(writes[2], None))
    machine, erases = heard(machine, bench, *writes[:2])
    assert machine.phase is Phase.ERASING
    machine, _ = heard(machine, bench, erases[0])
    machine, _ = proposals.step(machine, Heard(erases[0], None))
    machine, _ = proposals.step(machine, Heard(erases[1], None))
    assert (machine.acks, machine.gone) == ({"n1"}, {"n2"})
    machine, _ = heard(machine, bench, erases[2])
    assert machine.outcome == Deleted()


def test_a_create_after_a_delete_begins_again_at_version_1_with_a_higher_sequence() -> None:
    bench = created()
    done(bench, Intent("delete", 200))
    machine = done(bench, Intent("create", 150, b"again"))
    assert machine.outcome == Written((Version(1, 201),))
    assert machine.cut is not None
    assert (machine.cut.header.sequence, machine.cut.header.is_create) == (3, True)


def test_only_a_delete_asks_for_everything_that_is_held() -> None:  # SEM-22
    for verb, gathers in (("create", False), ("update", False), ("delete", True), ("settle", False), ("decide", False)):
        _, votes = Bench().propose(Intent(verb))
        assert [send.message.gather for send in votes if isinstance(send.message, Vote)] == [gathers] * 3


def test_a_delete_writes_the_digests_of_what_it_buries_into_its_tombstone() -> None:  # SEM-22
    bench = Bench()
    done(bench, Intent("create", 100, b"one", retry=retry("key")))
    done(bench, Intent("delete", 200))
    tombstone = bench.register("n1").records[-1].header
    assert [entry.retry for entry in tombstone.buried] == [retry("key")]
    done(bench, Intent("create", 300, b"two"))
    assert bench.register("n1").records[-1].header.buried == ()


def test_a_tombstone_repeats_the_version_that_it_buries() -> None:
    bench = created()
    done(bench, Intent("update", 200, b"two"))
    done(bench, Intent("delete", 300))
    assert bench.register("n1").records[-1].header.version == 2
