"""A group that fails: what is told, what is undone, what is decided (PROTO-14, SEM-17)."""

from __future__ import annotations

from group_scenes import DECISION, A, B, code, decision_at, done, lost_writes
from msgspec.structs import replace
from scenes import ENTROPY, Bench, ballot, cut_of, header_of, held, retry

from model import group as groups
from model.group import Group
from model.intent import RETRY_MS, Intent
from model.machine import Heard, Send, TimeUp
from model.message import Refused, Release, Write
from model.operation import Failed, SecretId
from model.proposal import Phase
from model.record import ZERO, Buried, Header, Kind, Register, cut


def test_every_name_that_exists_is_named_and_nothing_is_created() -> None:
    bench = Bench()
    for secret in (A, B):
        bench.run(*bench.propose(Intent("create", 100, b"x"), secret=secret))
    machine = done(bench, *bench.group("a", "c", "b"))
    assert code(machine) == ("secret_exists", ("a", "b"))
    assert bench.register("n1", SecretId("default", "c")).records == ()
    assert decision_at(bench) is None


def test_a_name_that_cannot_be_voted_on_fails_the_group_before_anything_is_written() -> None:
    bench = Bench()
    machine = done(bench, *bench.group("a", "b"), lambda send: send.secret != B)
    assert code(machine) == ("voting_failed", ("b",))
    assert bench.register("n1", A).records == ()


def test_an_undecidable_group_is_not_begun() -> None:
    bench = Bench()
    machine = done(bench, *bench.group("a", "b"), lambda send: send.secret != DECISION)
    assert code(machine) == ("voting_failed", ("a", "b"))
    assert bench.register("n1", A).records == ()


def test_a_decision_contended_before_anything_was_written_may_be_asked_again() -> None:
    bench = Bench()
    for node in bench.names:
        bench.apply(node, bench.propose(Intent("decide"), "n3", DECISION)[1][0].message, DECISION)
    machine = done(bench, *bench.group("a", "b"))
    assert machine.outcome == Failed("write_conflict", names=("a", "b"), retry_ms=RETRY_MS)


def test_a_name_written_short_of_its_quorum_undoes_the_group() -> None:
    bench = Bench()
    machine = done(bench, *bench.group("a", "b"), lost_writes(B))
    assert code(machine) == ("writing_failed", ("b",))
    assert decision_at(bench) is Kind.ABORT
    assert machine.decision.intent.decision is Kind.ABORT


def test_a_commit_short_of_its_quorum_is_an_unknown_outcome_and_not_undone() -> None:
    bench = Bench()
    machine = done(bench, *bench.group("a", "b"), lost_writes(DECISION))
    assert code(machine) == ("writing_failed", ("a", "b"))
    assert machine.decision.phase is Phase.DONE


def test_a_commit_that_a_newer_ballot_refuses_is_an_unknown_outcome() -> None:
    bench = Bench()
    machine, sends = bench.group("a", "b")
    waiting = list(sends)
    while machine.decision.phase is not Phase.WRITING:
        send = waiting.pop(0)
        machine, more = groups.step(machine, Heard(send, bench.apply(send.node, send.message, send.secret)))
        waiting += more
    for send in waiting:
        if send.secret == DECISION:
            machine, _ = groups.step(machine, Heard(send, Refused(ballot(99))))
    assert code(machine) == ("writing_failed", ("a", "b"))


def test_only_another_writes_abort_is_told_as_one() -> None:
    bench = Bench()
    unknown = done(bench, *bench.group("a", "b"), lost_writes(DECISION)).outcome
    assert isinstance(unknown, Failed)
    assert unknown.detail == ""


def test_the_worst_failure_stands_for_the_group_and_only_its_names_are_told() -> None:  # SEM-17
    bench = Bench()
    bench.run(*bench.propose(Intent("create", 100, b"x"), secret=A))
    for node in ("n2", "n3"):
        bench.apply(node, bench.propose(Intent("update"), "n3", B)[1][0].message, B)
    machine = done(bench, *bench.group("a", "b", "c"))
    assert machine.outcome == Failed("write_conflict", names=("b",), retry_ms=RETRY_MS)
    assert bench.register("n1", SecretId("default", "c")).records == ()


def decision_first(machine: Group, sends: list[Send]) -> tuple[Group, list[Send]]:
    """The votes on the decision are heard before those on the names."""
    return machine, sorted(sends, key=lambda send: send.secret != DECISION)


def test_a_group_that_wrote_nothing_decides_nothing_and_lets_go_of_everything() -> None:
    bench = Bench()
    bench.run(*bench.propose(Intent("create", 100, b"x"), secret=A))
    machine = done(bench, *decision_first(*bench.group("b", "a")))
    assert code(machine) == ("secret_exists", ("a",))
    assert decision_at(bench) is None
    assert [member.phase for member in (*machine.members, machine.decision)] == [Phase.DONE] * 3
    assert [bench.register(node, secret).lease for node in bench.names for secret in (A, B, DECISION)] == [None] * 9


def test_a_group_none_of_whose_names_reached_its_quorum_is_undone_too() -> None:
    bench = Bench()
    machine = done(bench, *bench.group("a", "b"), lost_writes(A, B))
    assert code(machine) == ("writing_failed", ("a", "b"))
    assert decision_at(bench) is Kind.ABORT


def test_a_retry_whose_first_attempt_is_in_doubt_decides_nothing() -> None:  # SEM-21
    bench = Bench()
    attempt = cut_of(header_of(1, retry=retry("key")))
    for node, at in (("n1", 1), ("n2", 2)):
        unsettled = replace(held(attempt, node, at=at), share=None, sealed=None)
        bench.registers[node, A] = Register(ballot(2), ZERO, (unsettled,))
    machine = done(bench, *decision_first(*bench.group("a", "b", retry=retry("key"))))
    assert code(machine) == ("writing_failed", ("a",))
    assert decision_at(bench) is None


def test_a_group_that_could_not_settle_what_it_met_wrote_nothing_and_decides_nothing() -> None:
    bench = Bench()
    unsettled = cut(A, header_of(1), b"x", ENTROPY)
    for node, at in (("n1", 1), ("n2", 2)):
        bench.registers[node, A] = Register(ballot(2), ZERO, (held(unsettled, node, at=at),))
    written: list[tuple[SecretId, Header]] = []

    def lost(send: Send) -> bool:
        if isinstance(send.message, Write):
            written.append((send.secret, send.message.header))
        return not isinstance(send.message, Write)

    machine = done(bench, *decision_first(*bench.group("a", "b")), lost)
    assert written == [(A, unsettled.header)] * 3
    assert code(machine) == ("voting_failed", ("a",))


def test_time_is_up_ends_the_group_wherever_it_stands() -> None:
    bench = Bench()
    machine, sends = bench.group("a", "b")
    assert code(groups.step(machine, TimeUp())[0]) == ("voting_failed", ("a", "b"))
    waiting = list(sends)
    for phase in (Phase.WRITING, Phase.CHOSEN):
        while machine.members[0].phase is not phase:
            send = waiting.pop(0)
            machine, more = groups.step(machine, Heard(send, bench.apply(send.node, send.message, send.secret)))
            waiting += more
        assert code(groups.step(machine, TimeUp())[0])[0] == "writing_failed"


def test_a_group_that_settled_what_it_met_wrote_nothing_of_its_own_and_decides_nothing() -> None:  # SEM-22
    bench = Bench()
    create = cut_of(header_of(1))
    deletion = header_of(2, create.header, kind=Kind.TOMBSTONE)
    unsettled = cut_of(replace(deletion, buried=(Buried(retry("key"), False, 1, 1001, unsure=True),)))
    for node, at in (("n1", 2), ("n2", 3)):
        bench.registers[node, A] = Register(ballot(3), ZERO, (held(create, node, chosen=True), held(unsettled, node, at=at)))
    machine = done(bench, *decision_first(*bench.group("a", "b", retry=retry("key"))))
    assert bench.register("n3", A).records[-1].header == unsettled.header
    assert code(machine) == ("writing_failed", ("a",))
    assert decision_at(bench) is None


def test_what_refuses_the_ballot_of_one_name_raises_that_of_no_other() -> None:  # PROTO-11
    bench = Bench()
    for node in ("n2", "n3"):
        bench.registers[node, A] = Register(ballot(50))
        bench.apply(node, bench.propose(Intent("update"), "n3", B)[1][0].message, B)
    bench.registers["n1", B] = Register(ballot(5))
    machine = done(bench, *bench.group("a", "b"))
    assert code(machine) == ("write_conflict", ("b",))
    assert [member.rounds for member in machine.members] == [2, 1]


def test_an_abort_is_not_let_go_of_while_it_is_being_written() -> None:
    bench = Bench()
    told: list[type] = []

    def watched(send: Send) -> bool:
        if send.secret == DECISION and isinstance(send.message, Write | Release):
            told.append(type(send.message))
        return lost_writes(B)(send)

    done(bench, *bench.group("a", "b"), watched)
    assert told == [Write] * 3
