"""A proposal that is part of a group, or meets one: it waits, holds, decides (PROTO-14)."""

from __future__ import annotations

from proposal_scenes import code, heard
from scenes import SECRET, Bench, ballot, cut_of, header_of, held

from model import proposal as proposals
from model.intent import Decided, Intent
from model.machine import PatienceOver, Proceed, Resolved
from model.operation import Version, Written
from model.proposal import Phase, Proposal
from model.record import ZERO, Kind, Register, group_register


def test_a_vote_on_a_provisional_record_waits_for_its_groups_decision() -> None:  # PROTO-14
    bench = Bench()
    member = cut_of(header_of(1, group="g"))
    for node in bench.names:
        bench.registers[node, SECRET] = Register(ballot(1), records=(held(member, node),))
    machine, votes = bench.propose(Intent("create", 200, b"x"))
    waiting = bench.run(machine, votes)
    assert isinstance(waiting, Proposal)
    assert waiting.needs == {"g"}
    assert proposals.step(waiting, PatienceOver())[0].needs == {"g"}
    assert proposals.step(waiting, Resolved("another", True)) == (waiting, [])
    assert code(proposals.step(waiting, Resolved("g", True))[0].outcome) == "secret_exists"
    assert code(proposals.step(waiting, Resolved("g", None))[0].outcome) == "voting_failed"
    assert code(proposals.step(waiting, Resolved("g", None, busy=True))[0].outcome) == "write_conflict"
    assert bench.run(*proposals.step(waiting, Resolved("g", False))).outcome == Written((Version(1, 200),))


def test_while_a_groups_decision_is_awaited_late_votes_are_kept_and_judge_nothing() -> None:  # PROTO-14
    bench = Bench()
    provisional = cut_of(header_of(1, group="g"))
    for node in bench.names:
        bench.registers[node, SECRET] = Register(ballot(1), ZERO, (held(provisional, node, chosen=node == "n3"),))
    machine, votes = bench.propose(Intent("update", 100, b"x"))
    machine, _ = heard(machine, bench, *votes[:2])
    machine, _ = proposals.step(machine, PatienceOver())
    assert machine.needs == {"g"}
    machine, sends = heard(machine, bench, votes[2])
    assert (machine.needs, set(machine.answers), sends) == ({"g"}, {"n1", "n2", "n3"}, [])


def test_a_group_is_decided_once_and_for_all() -> None:  # PROTO-14
    bench = Bench()
    register = group_register("g")
    first = bench.run(*bench.propose(Intent("decide", decision=Kind.COMMIT), secret=register))
    assert first.outcome == Decided(Kind.COMMIT)
    assert bench.run(*bench.propose(Intent("decide"), "n2", register)).outcome == Decided(Kind.COMMIT)
    assert Bench().run(*bench.propose(Intent("decide"), secret=group_register("h"))).outcome == Decided(Kind.ABORT)


def test_a_held_proposal_waits_to_be_told_and_can_be_abandoned() -> None:  # PROTO-14
    bench = Bench()
    intent = Intent("decide", decision=Kind.COMMIT)
    begun, votes = proposals.begin(bench.seat(), group_register("g"), intent, None, 0, hold=True)
    assert proposals.step(begun, Proceed()) == (begun, [])
    ready = bench.run(begun, votes)
    assert isinstance(ready, Proposal)
    assert ready.phase is Phase.READY
    assert bench.run(*proposals.step(ready, Proceed(abort=True))).outcome == Decided(Kind.ABORT)
    assert code(proposals.abandon(ready)[0].outcome) == "voting_failed"
