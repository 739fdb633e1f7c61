"""What a write does about records in doubt: settles them, stands on them, tells that they are void (PROTO-9 to PROTO-11)."""

from __future__ import annotations

from msgspec.structs import replace
from proposal_scenes import code, created, done, heard, torn
from scenes import SECRET, Bench, ballot, cut_of, header_of, held, to, without

from model import proposal as proposals
from model.intent import RETRY_MS, Intent, Settled
from model.machine import Heard, PatienceOver, Send, TimeUp
from model.message import Confirm, Locked, Refused, Release, Void, Vote
from model.operation import Failed, Version, Written
from model.proposal import Phase
from model.quorum import Quorum
from model.record import ZERO, Ballot, Register, share_is_sound


def test_a_torn_create_is_settled_before_anything_is_built_on_it() -> None:
    bench = Bench(Quorum(4, 2))
    torn(bench, Intent("create", 100, b"one"), "n1", "n2")
    machine = done(bench, Intent("update", 200, b"two"), "n3", to("n1", "n2", "n3"))
    assert machine.outcome == Written((Version(2, 200),))
    assert [each.ballot.counter for each in bench.register("n3").records] == [2, 3]  # the create again, then the update
    assert [each.header.tag.counter for each in bench.register("n3").records] == [1, 3]


def test_a_settlement_brings_every_node_its_own_share() -> None:  # PROTO-11
    bench = Bench(Quorum(4, 2))
    torn(bench, Intent("create", 100, b"one"), "n1", "n2")
    assert isinstance(done(bench, Intent("settle"), "n3", without(Vote, "n4")).outcome, Settled)
    for node in bench.names:
        (settled,) = bench.register(node).records
        assert share_is_sound(SECRET, settled.header, node, settled.share)


def test_nothing_is_built_on_a_secret_whose_very_existence_is_in_doubt() -> None:
    bench = Bench()
    torn(bench, Intent("create", 100, b"one"), "n1")
    for intent in (Intent("create", 200, b"x"), Intent("update", 200, b"x"), Intent("delete", 200)):
        assert done(bench, intent, reaches=to("n1", "n2")).outcome == Failed("voting_failed", names=(SECRET.name,))


def test_an_update_stands_on_one_in_doubt_and_names_it() -> None:  # PROTO-9
    bench = created()
    torn(bench, Intent("update", 200, b"two"), "n1")
    machine = done(bench, Intent("update", 300, b"three"), reaches=to("n1", "n2"))
    assert machine.outcome == Written((Version(3, 300),))
    assert machine.cut is not None
    assert [each.version for each in machine.cut.header.doubts] == [2]
    assert machine.cut.header.base == Ballot(1, "n1", 1)


def test_an_update_of_an_expected_version_does_not_guess_while_one_is_in_doubt() -> None:
    bench = created()
    torn(bench, Intent("update", 200, b"two"), "n1")
    assert code(done(bench, Intent("update", 300, b"x", expected_version=1), reaches=to("n1", "n2")).outcome) == "voting_failed"


def test_while_something_is_in_doubt_slow_nodes_are_waited_for_and_out_of_patience_it_may_be_asked_again() -> None:
    bench = Bench()
    torn(bench, Intent("create", 100, b"one"), "n1")
    machine, votes = bench.propose(Intent("update", 200, b"x"))
    for send in votes[:2]:
        machine, more = proposals.step(machine, Heard(send, bench.apply(send.node, send.message)))
        assert (machine.phase, more) == (Phase.VOTING, [])
    impatient, _ = proposals.step(machine, PatienceOver())
    assert impatient.outcome == Failed("voting_failed", names=(SECRET.name,), retry_ms=RETRY_MS)
    last, _ = proposals.step(machine, Heard(votes[2], bench.apply("n3", votes[2].message)))
    assert code(last.outcome) == "secret_not_found"


def test_a_version_on_a_doubt_is_later_than_the_doubt_and_what_lies_below_it() -> None:  # SEM-13
    bench = Bench()
    one, two = cut_of(header_of(1)), cut_of(header_of(2, cut_of(header_of(1)).header))
    for node, at in (("n1", 2), ("n2", 3)):
        unsettled = replace(held(two, node, at=at), share=None, sealed=None)
        bench.registers[node, SECRET] = Register(ballot(3), ZERO, (held(one, node, chosen=True), unsettled))
    machine = done(bench, Intent("update", 0, b"three"))
    assert machine.outcome == Written((Version(3, 1003),))


def test_a_settlement_that_loses_to_others_gives_way_and_one_that_reaches_nobody_fails() -> None:
    for reply, expected in ((Refused(ballot(50)), Phase.VOTING), (None, Phase.DONE)):
        bench = Bench(Quorum(4, 2))
        torn(bench, Intent("create", 100, b"one"), "n1", "n2")
        machine, votes = bench.propose(Intent("update", 200, b"x"))
        writes: list[Send] = []
        for send in votes:
            answer = bench.apply(send.node, send.message) if send.node != "n4" else None
            machine, more = proposals.step(machine, Heard(send, answer))
            writes += more
        assert machine.phase is Phase.SETTLING
        for send in writes[:2]:
            machine, _ = proposals.step(machine, Heard(send, reply))
        assert machine.phase is expected
        if reply is None:
            assert code(machine.outcome) == "voting_failed"


def test_what_stood_in_the_way_of_the_vote_is_not_blamed_for_settling_that_reached_nobody() -> None:  # PROTO-11
    bench = Bench()
    unsettled = cut_of(header_of(1))
    for node, at in (("n1", 1), ("n2", 2)):
        bench.registers[node, SECRET] = Register(ballot(2), ZERO, (held(unsettled, node, at=at),))
    machine, votes = bench.propose(Intent("create", 100, b"x"))
    machine, _ = proposals.step(machine, Heard(votes[2], Locked(10)))
    machine, writes = heard(machine, bench, *votes[:2])
    assert machine.phase is Phase.SETTLING
    for write in writes[1:]:
        machine, _ = proposals.step(machine, Heard(write, None))
    assert machine.outcome == Failed("voting_failed", names=(SECRET.name,))


def test_a_doubt_that_a_running_proposal_may_end_is_worth_asking_about_again() -> None:
    bench = Bench()
    torn(bench, Intent("create", 100, b"one"), "n1")
    machine, votes = bench.propose(Intent("update", 200, b"x"))
    machine, _ = proposals.step(machine, Heard(votes[2], Locked(10)))
    machine, _ = heard(machine, bench, *votes[:2])
    assert machine.outcome == Failed("voting_failed", names=(SECRET.name,), retry_ms=RETRY_MS)


def test_what_a_vote_judged_void_is_told_under_the_ballot_that_judged_it() -> None:  # PROTO-6
    bench = created()
    torn(bench, Intent("update", 200, b"two"), "n1")
    assert bench.tags("n1") == [1, 2]
    machine = done(bench, Intent("create", 300, b"x"))
    assert code(machine.outcome) == "secret_exists"
    assert bench.tags("n1") == [1]


def test_a_void_of_an_earlier_vote_does_not_undo_a_later_settlement() -> None:  # PROTO-6
    bench = Bench(Quorum(4, 2))
    done(bench, Intent("create", 100, b"one"))
    torn(bench, Intent("update", 200, b"two"), "n1", "n2")
    machine, votes = bench.propose(Intent("create", 300, b"x"))
    voids: list[Send] = []
    for send in votes:
        machine, more = proposals.step(machine, Heard(send, bench.apply(send.node, send.message)))
        voids += [each for each in more if isinstance(each.message, Void)]
        for each in more:
            if isinstance(each.message, Release):
                bench.apply(each.node, each.message)
    assert len(voids) == 4
    settled = done(bench, Intent("settle"), "n2", lambda send: send.node != "n4" and not isinstance(send.message, Confirm))
    assert isinstance(settled.outcome, Settled)
    assert settled.outcome.judgement.head is not None
    for each in voids:
        bench.apply(each.node, each.message)
    again = done(bench, Intent("update", 400, b"three"))
    assert again.outcome == Written((Version(3, 400),))


def test_what_one_vote_found_void_is_not_told_under_the_ballot_of_a_later_one() -> None:  # PROTO-6
    nodes = ("n1", "n2", "n3", "n4")
    one = cut_of(header_of(1, nodes=nodes))
    two = cut_of(header_of(2, one.header, nodes=nodes))
    three = cut_of(header_of(3, one.header, two.header, nodes=nodes))
    bench = Bench(Quorum(4, 2))
    for node, records in (("n1", (two, three)), ("n2", (three,)), ("n3", ())):
        kept = (held(one, node, chosen=True), *(held(each, node) for each in records))
        bench.registers[node, SECRET] = Register(ballot(3), ZERO, kept)
    machine, sends = bench.propose(Intent("update", 400, b"four"))
    while machine.phase is not Phase.SETTLING:
        send = sends.pop()
        machine, more = proposals.step(machine, Heard(send, bench.apply(send.node, send.message) if send.node != "n4" else None))
        sends = more or sends
    assert machine.judgement is not None
    assert machine.judgement.void == (two.header.tag,)
    while machine.phase is Phase.SETTLING:
        send = sends.pop(0)
        machine, _ = proposals.step(machine, Heard(send, bench.apply(send.node, send.message)))
    machine, sends = proposals.step(machine, TimeUp())
    assert {type(send.message) for send in sends} == {Release}
