"""Several creates as one: all or nothing (PROTO-14)."""

from __future__ import annotations

from msgspec.structs import replace
from scenes import ENTROPY, Bench, Reaches, ballot, cut_of, header_of, held, retry

from model import group as groups
from model.group import Group
from model.machine import Heard, PatienceOver, Resolved, Send, TimeUp
from model.message import Confirm, Refused, Write
from model.operation import Failed, SecretId, Version, Written
from model.proposal import RETRY_MS, Decided, Intent, Phase
from model.record import ZERO, Header, Kind, Register, cut, group_register

A, B = SecretId("default", "a"), SecretId("default", "b")
DECISION = group_register("g")


def done(bench: Bench, machine: Group, sends: list[Send], reaches: Reaches = lambda _: True) -> Group:
    after = bench.run(machine, sends, reaches)
    assert isinstance(after, Group)
    return after


def code(machine: Group) -> tuple[str, tuple[str, ...]]:
    assert isinstance(machine.outcome, Failed)
    return machine.outcome.code, machine.outcome.names


def lost_writes(*secrets: SecretId) -> Reaches:
    return lambda send: not (isinstance(send.message, Write) and send.secret in secrets)


def decision_at(bench: Bench, node: str = "n1") -> Kind | None:
    records = bench.register(node, DECISION).records
    return records[-1].header.kind if records else None


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


def test_a_group_that_another_write_undid_says_so() -> None:
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


def test_the_worst_failure_stands_for_the_group_and_only_its_names_are_told() -> None:  # SEM-17
    bench = Bench()
    bench.run(*bench.propose(Intent("create", 100, b"x"), secret=A))
    for node in ("n2", "n3"):
        bench.apply(node, bench.propose(Intent("update"), "n3", B)[1][0].message, B)
    machine = done(bench, *bench.group("a", "b", "c"))
    assert machine.outcome == Failed("write_conflict", names=("b",), retry_ms=RETRY_MS)
    assert bench.register("n1", SecretId("default", "c")).records == ()


def test_a_member_whose_ballot_was_too_low_votes_again_and_the_group_goes_on() -> None:  # PROTO-11
    bench = Bench()
    for node in ("n2", "n3"):
        bench.registers[node, A] = Register(ballot(50))
    machine = done(bench, *bench.group("a", "b"))
    assert isinstance(machine.outcome, Written)
    assert decision_at(bench) is Kind.COMMIT


def test_only_another_writes_abort_is_told_as_one() -> None:
    bench = Bench()
    unknown = done(bench, *bench.group("a", "b"), lost_writes(DECISION)).outcome
    assert isinstance(unknown, Failed)
    assert unknown.detail == ""


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
