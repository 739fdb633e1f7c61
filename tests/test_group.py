"""Several creates as one: all or nothing (PROTO-14)."""

from __future__ import annotations

from group_scenes import DECISION, A, B, code, decision_at, done
from scenes import Bench, ballot, cut_of, header_of, held, retry

from model import group as groups
from model.intent import Decided, Intent
from model.machine import Heard, PatienceOver, Resolved, Send, TimeUp
from model.message import Confirm, Write
from model.operation import Version, Written
from model.proposal import Phase
from model.record import ZERO, Kind, Register, group_register


def test_every_name_is_written_before_the_commit_and_confirmed_only_after_it() -> None:
    bench = Bench()
    order: list[str] = []

    def watched(send: Send) -> bool:
        if isinstance(send.message, Write | Confirm) and send.node == "n1":
            order.append(f"{type(send.message).__name__} {send.secret.name}")
        return True

    machine = done(bench, *bench.group("a", "b"), watched)
    assert machine.outcome == Written((Version(1, 5000), Version(1, 5000)))
    assert order[:3] == ["Write a", "Write b", "Write g"]
    assert sorted(order[3:]) == ["Confirm a", "Confirm b", "Confirm g"]
    assert decision_at(bench) is Kind.COMMIT
    assert groups.step(machine, TimeUp()) == (machine, [])


def test_a_slow_coordinator_cannot_commit_what_a_rival_aborted_first() -> None:
    bench = Bench()
    machine, sends = bench.group("a", "b")
    waiting = list(sends)
    while machine.decision.phase is not Phase.WRITING:
        send = waiting.pop(0)
        machine, more = groups.step(machine, Heard(send, bench.apply(send.node, send.message, send.secret)))
        waiting += more
    bench.now_ms = 5000
    rival = bench.run(*bench.propose(Intent("decide"), "n2", DECISION))
    assert rival.outcome == Decided(Kind.ABORT)
    assert code(done(bench, machine, waiting)) == ("writing_failed", ("a", "b"))
    assert decision_at(bench) is Kind.ABORT


def test_patience_is_every_members() -> None:
    machine, _ = Bench().group("a", "b")
    after, _ = groups.step(machine, PatienceOver())
    assert [member.patient for member in (*after.members, after.decision)] == [False] * 3


def test_a_retried_group_gets_its_first_outcome() -> None:  # SEM-20
    bench = Bench()
    first = done(bench, *bench.group("a", "b", retry=retry("key")))
    again = done(bench, *bench.group("a", "b", group="h", me="n2", retry=retry("key")))
    assert again.outcome == first.outcome
    assert bench.register("n1", group_register("h")).records == ()


def test_a_retry_of_which_only_a_part_is_remembered_creates_nothing() -> None:  # SEM-22
    bench = Bench()
    bench.run(*bench.propose(Intent("create", 100, b"a", retry=retry("key")), secret=A))
    assert code(done(bench, *bench.group("a", "b", retry=retry("key")))) == ("secret_exists", ("a",))


def test_members_that_meet_another_group_share_its_resolution() -> None:
    bench = Bench()
    member = cut_of(header_of(1, group="other"))
    for node in bench.names:
        for secret in (A, B):
            bench.registers[node, secret] = Register(ballot(1), ZERO, (held(member, node),))
    waiting = done(bench, *bench.group("a", "b", "c"))
    assert waiting.needs == {"other"}
    after = done(bench, *groups.step(waiting, Resolved("other", False)))
    assert isinstance(after.outcome, Written)
    assert code(groups.step(waiting, Resolved("other", True))[0]) == ("secret_exists", ("a", "b"))


def test_a_member_whose_ballot_was_too_low_votes_again_and_the_group_goes_on() -> None:  # PROTO-11
    bench = Bench()
    for node in ("n2", "n3"):
        bench.registers[node, A] = Register(ballot(50))
    machine = done(bench, *bench.group("a", "b"))
    assert isinstance(machine.outcome, Written)
    assert decision_at(bench) is Kind.COMMIT


def test_a_group_that_a_failed_member_met_need_not_be_looked_up_any_more() -> None:  # PROTO-14
    bench = Bench()
    provisional = cut_of(header_of(1, group="other"))
    for node in bench.names:
        bench.registers[node, A] = Register(ballot(1), ZERO, (held(provisional, node),))
    machine, sends = bench.group("a", "b")
    for send in sends:
        if send.secret == A:
            machine, _ = groups.step(machine, Heard(send, bench.apply(send.node, send.message, send.secret)))
    assert machine.needs == {"other"}
    machine, _ = groups.step(machine, Resolved("other", None))
    assert machine.outcome is None, "b is not judged yet"
    assert machine.needs == frozenset()
