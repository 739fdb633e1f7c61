"""A proposal that meets others: when it raises its ballot, and when it gives way (PROTO-4, PROTO-11)."""

from __future__ import annotations

from proposal_scenes import code, done, heard
from scenes import SECRET, Bench, ballot

from model import proposal as proposals
from model.intent import RETRY_MS, Intent
from model.machine import Heard, TimeUp
from model.message import Locked, Refused
from model.operation import Failed, Written
from model.proposal import Phase
from model.quorum import Quorum
from model.record import ZERO, Register


def test_a_vote_lost_to_a_lease_may_be_asked_again() -> None:  # PROTO-4
    bench = Bench()
    _, votes = bench.propose(Intent("create", 100, b"x"), "n2")
    for send in votes:
        bench.apply(send.node, send.message)
    bench.registers = {key: Register(ZERO, lease=register.lease) for key, register in bench.registers.items()}
    outcome = done(bench, Intent("create", 100, b"y")).outcome
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.retry_ms) == ("write_conflict", RETRY_MS)


def test_nodes_that_have_not_answered_yet_are_not_counted_as_unreachable() -> None:
    bench = Bench(Quorum(5, 2))
    machine, votes = bench.propose(Intent("create", 100, b"x"), "n3")
    for send in votes[:2]:
        machine, _ = proposals.step(machine, Heard(send, Locked(10)))
    assert isinstance(machine.outcome, Failed)
    assert machine.outcome.code == "write_conflict"


def test_a_refused_ballot_is_raised_above_the_promise_that_refused_it() -> None:
    bench = Bench()
    for node in ("n2", "n3"):
        bench.registers[node, SECRET] = Register(ballot(9, "n9"))
    machine = done(bench, Intent("create", 100, b"x"))
    assert machine.ballot.counter == 10
    assert isinstance(machine.outcome, Written)


def test_a_vote_lost_to_others_is_taken_again_if_just_enough_nodes_can_be_reached() -> None:
    bench = Bench()
    machine, votes = bench.propose(Intent("create", 100, b"x"))
    machine, _ = heard(machine, bench, votes[0])
    machine, _ = proposals.step(machine, Heard(votes[1], None))
    machine, again = proposals.step(machine, Heard(votes[2], Refused(ballot(20))))
    assert (machine.phase, machine.rounds, len(again)) == (Phase.VOTING, 2, 3)


def test_a_refusal_under_the_own_ballot_is_no_reason_to_raise_it() -> None:
    machine, votes = Bench().propose(Intent("create", 100, b"x"))
    machine, _ = proposals.step(machine, Heard(votes[0], Refused(machine.ballot)))
    assert machine.outcome == Failed("write_conflict", names=(SECRET.name,), retry_ms=RETRY_MS)


def test_a_proposal_votes_as_often_as_its_rounds_and_no_oftener() -> None:
    machine, votes = Bench().propose(Intent("create", 100, b"x"))
    for round_ in range(proposals.MAX_ROUNDS):
        assert (machine.outcome, machine.rounds, len(votes)) == (None, round_ + 1, 3)
        machine, votes = proposals.step(machine, Heard(votes[0], Refused(ballot(10 * round_ + 20))))
    assert code(machine.outcome) == "write_conflict"


def test_a_proposal_gives_way_after_some_rounds() -> None:
    machine, votes = Bench().propose(Intent("create", 100, b"x"))
    for round_ in range(proposals.MAX_ROUNDS):
        machine, votes = proposals.step(machine, Heard(votes[0], Refused(ballot(10 * round_ + 20))))
    assert code(machine.outcome) == "write_conflict"


def test_a_late_refusal_of_an_earlier_round_is_no_contention() -> None:
    machine, votes = Bench().propose(Intent("create", 100, b"x"))
    machine, _ = proposals.step(machine, Heard(votes[0], Refused(ballot(20))))
    assert machine.rounds == 2
    machine, _ = proposals.step(machine, Heard(votes[1], Locked(10)))
    assert machine.contended == frozenset()
    assert code(proposals.step(machine, TimeUp())[0].outcome) == "voting_failed"


def test_a_vote_given_in_an_earlier_round_does_not_count_in_the_next() -> None:  # PROTO-2
    bench = Bench()
    machine, votes = bench.propose(Intent("create", 100, b"x"))
    machine, _ = heard(machine, bench, votes[0])
    machine, _ = proposals.step(machine, Heard(votes[1], Refused(ballot(20))))
    machine, again = proposals.step(machine, Heard(votes[2], Refused(ballot(20))))
    machine, more = heard(machine, bench, again[1])
    assert (machine.phase, set(machine.answers), more) == (Phase.VOTING, {"n2"}, [])
