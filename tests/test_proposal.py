"""The coordinator's machine for one write, from vote to outcome (PROTO-11)."""

from __future__ import annotations

from proposal_scenes import code, created, done, heard, torn
from scenes import SECRET, Bench, ballot, to

from model import proposal as proposals
from model.intent import RETRY_MS, Intent, Settled
from model.machine import Heard, PatienceOver, Proceed, Resolved, Send, TimeUp, VotingOver
from model.message import Accepted, Locked, Promised, Refused, Snapshot, Unfit, Vote, Write
from model.operation import Failed, Version, Written
from model.proposal import Phase, Proposal
from model.record import ZERO


def test_a_create_is_voted_on_by_all_then_written_to_all_then_confirmed() -> None:
    bench = Bench()
    machine, votes = bench.propose(Intent("create", 100, b"one"))
    assert [type(send.message) for send in votes] == [Vote] * 3
    after = bench.run(machine, votes)
    assert after.outcome == Written((Version(1, 100),))
    assert all(bench.register(node).records[0].chosen for node in bench.names)


def test_versions_count_up_and_times_rise_even_when_the_clock_does_not() -> None:
    bench = created()
    assert done(bench, Intent("update", 50, b"two"), "n2").outcome == Written((Version(2, 101),))
    assert done(bench, Intent("update", 900, b"three"), "n3").outcome == Written((Version(3, 900),))


def test_what_the_caller_must_hear_when_nothing_was_written() -> None:
    bench = created()
    expected = {
        "secret_exists": Intent("create", 100, b"x"),
        "version_mismatch": Intent("update", 100, b"x", expected_version=7),
    }
    for failure, intent in expected.items():
        assert done(bench, intent).outcome == Failed(failure, names=(SECRET.name,))
    for intent in (Intent("update", 100, b"x"), Intent("delete", 100)):
        assert done(Bench(), intent).outcome == Failed("secret_not_found", names=(SECRET.name,))


def test_an_expected_version_that_stands_is_updated() -> None:
    assert done(created(), Intent("update", 200, b"x", expected_version=1)).outcome == Written((Version(2, 200),))


def test_a_version_keeps_the_encoding_of_its_value() -> None:  # SEM-11
    bench = Bench()
    done(bench, Intent("create", 100, b"\xff", encoding="base64"))
    assert bench.register("n1").records[-1].header.encoding == "base64"


def test_a_won_vote_on_what_is_certain_waits_for_nobody() -> None:
    bench = Bench()
    machine, votes = bench.propose(Intent("create", 100, b"x"))
    machine, writes = heard(machine, bench, *votes[:2])
    assert machine.phase is Phase.WRITING
    assert [send.node for send in writes] == ["n1", "n2", "n3"]


def test_a_lost_vote_writes_nothing() -> None:
    bench = Bench()
    assert code(done(bench, Intent("create", 100, b"x"), reaches=to("n1")).outcome) == "voting_failed"
    assert bench.tags("n1") == []


def test_a_coordinator_that_cannot_vote_itself_proposes_nothing() -> None:
    bench = Bench()
    assert code(done(bench, Intent("create", 100, b"x"), reaches=to("n2", "n3")).outcome) == "voting_failed"


def test_a_coordinator_without_a_vote_of_its_own_may_still_settle_for_others() -> None:  # PROTO-12
    bench = created()
    assert isinstance(done(bench, Intent("settle"), reaches=to("n2", "n3")).outcome, Settled)


def test_a_majority_of_votes_without_its_own_is_not_enough_yet() -> None:
    bench = Bench()
    machine, votes = bench.propose(Intent("create", 100, b"x"))
    for send in votes[1:]:
        machine, more = proposals.step(machine, Heard(send, bench.apply(send.node, send.message)))
        assert (machine.phase, more) == (Phase.VOTING, [])


def test_a_vote_that_was_given_up_and_comes_after_all_is_counted() -> None:
    bench = Bench()
    machine, votes = bench.propose(Intent("create", 100, b"x"))
    machine, _ = proposals.step(machine, Heard(votes[1], None))
    machine, _ = heard(machine, bench, votes[1])
    assert (set(machine.answers), machine.gone) == ({"n2"}, frozenset())


def test_a_node_that_is_unfit_counts_as_gone() -> None:
    machine, votes = Bench().propose(Intent("create", 100, b"x"))
    machine, _ = proposals.step(machine, Heard(votes[1], Unfit()))
    assert machine.gone == {"n2"}


def test_a_doubled_reply_is_counted_once() -> None:
    bench = Bench()
    machine, votes = bench.propose(Intent("create", 100, b"x"))
    reply = bench.apply("n1", votes[0].message)
    for each in (reply, Refused(machine.ballot), reply):
        machine, _ = proposals.step(machine, Heard(votes[0], each))
    assert (set(machine.answers), machine.gone, machine.phase) == ({"n1"}, frozenset(), Phase.VOTING)


def test_replies_to_earlier_rounds_and_after_the_outcome_change_nothing() -> None:
    bench = created()
    machine, votes = bench.propose(Intent("update", 200, b"x"))
    stale = Send("n2", SECRET, Vote(ballot(99), 10))
    assert proposals.step(machine, Heard(stale, Promised(ballot(99), Snapshot(ZERO, ZERO, ())))) == (machine, [])
    finished = bench.run(machine, votes)
    assert isinstance(finished, Proposal)
    for event in (Heard(votes[0], None), PatienceOver(), TimeUp(), Proceed(), Resolved("g", True)):
        assert proposals.step(finished, event) == (finished, [])
    assert proposals.abandon(finished) == (finished, [])


def test_a_write_short_of_its_quorum_has_an_unknown_outcome_never_a_failed_one() -> None:
    bench = Bench()
    machine = torn(bench, Intent("create", 100, b"x"), "n1")
    assert machine.phase is Phase.DONE
    assert bench.tags("n1") == [1]


def test_a_refused_write_leaves_its_outcome_unknown_too() -> None:
    machine, votes = (bench := Bench()).propose(Intent("create", 100, b"x"))
    writes: list[Send] = []
    for send in votes:
        machine, more = proposals.step(machine, Heard(send, bench.apply(send.node, send.message)))
        writes += more
    for send in writes[:2]:
        machine, _ = proposals.step(machine, Heard(send, Refused(ballot(50))))
    assert code(machine.outcome) == "writing_failed"


def test_of_the_replies_to_writes_only_those_to_this_round_count_and_an_acceptance_stands() -> None:
    bench = Bench()
    machine, votes = bench.propose(Intent("create", 100, b"x"))
    machine, writes = heard(machine, bench, *votes[:2])
    first = writes[0].message
    assert isinstance(first, Write)
    other = Send("n2", SECRET, Write(ballot(99), first.header, None, None))
    for reply in (Accepted(ballot(99), first.header.tag), Refused(ballot(100)), None):
        after, _ = proposals.step(machine, Heard(other, reply))
        assert (after.phase, after.acks, after.gone) == (Phase.WRITING, frozenset(), frozenset())
    machine, _ = heard(machine, bench, writes[0])
    after, _ = proposals.step(machine, Heard(writes[0], None))
    assert (after.acks, after.gone) == ({"n1"}, frozenset())
    machine, _ = proposals.step(machine, Heard(writes[1], None))
    machine, _ = heard(machine, bench, writes[1])
    assert isinstance(machine.outcome, Written)


def test_a_node_that_did_not_vote_may_still_accept_the_write() -> None:
    bench = Bench()
    machine, votes = bench.propose(Intent("create", 100, b"x"))
    machine, _ = proposals.step(machine, Heard(votes[2], None))
    machine, writes = heard(machine, bench, *votes[:2])
    machine, _ = heard(machine, bench, writes[0])
    machine, _ = proposals.step(machine, Heard(writes[1], None))
    assert machine.outcome is None
    machine, _ = heard(machine, bench, writes[2])
    assert isinstance(machine.outcome, Written)


def test_an_acceptance_that_was_given_up_and_comes_after_all_is_counted() -> None:
    bench = Bench()
    machine, votes = bench.propose(Intent("create", 100, b"x"))
    machine, writes = heard(machine, bench, *votes[:2])
    machine, _ = proposals.step(machine, Heard(writes[1], None))
    machine, _ = heard(machine, bench, writes[1])
    machine, _ = proposals.step(machine, Heard(writes[0], None))
    assert machine.outcome is None, "the third may accept it yet"
    machine, _ = heard(machine, bench, writes[2])
    assert isinstance(machine.outcome, Written)


def test_time_is_up_while_voting_means_nothing_was_written() -> None:
    machine, votes = Bench().propose(Intent("create", 100, b"x"))
    locked, _ = proposals.step(machine, Heard(votes[1], Locked(5)))
    for event in (VotingOver(), TimeUp()):
        assert code(proposals.step(machine, event)[0].outcome) == "voting_failed"
        outcome = proposals.step(locked, event)[0].outcome
        assert outcome == Failed("write_conflict", names=(SECRET.name,), retry_ms=RETRY_MS)


def test_time_is_up_while_writing_leaves_the_outcome_unknown() -> None:
    bench = Bench()
    machine, votes = bench.propose(Intent("create", 100, b"x"))
    for send in votes:
        machine, _ = proposals.step(machine, Heard(send, bench.apply(send.node, send.message)))
    assert machine.phase is Phase.WRITING
    assert proposals.step(machine, PatienceOver())[1] == []
    assert proposals.step(machine, VotingOver()) == (machine, [])
    assert code(proposals.step(machine, TimeUp())[0].outcome) == "writing_failed"


def test_an_intent_never_shows_its_value() -> None:
    assert "hunter2" not in repr(Intent("update", 1, b"hunter2"))
