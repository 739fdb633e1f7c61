"""The coordinator's machine for one write, from vote to outcome (PROTO-11)."""

from __future__ import annotations

from msgspec.structs import replace
from scenes import SECRET, Bench, Reaches, ballot, cut_of, header_of, held, retry, to, without

from model import proposal as proposals
from model.machine import Heard, PatienceOver, Proceed, Resolved, Send, TimeUp
from model.message import Accepted, Confirm, Erase, Locked, Promised, Refused, Release, Snapshot, Unfit, Void, Vote, Write
from model.operation import Deleted, Failed, Result, Version, Written
from model.proposal import Decided, Intent, Phase, Proposal, Settled
from model.quorum import Quorum
from model.record import ZERO, Ballot, Kind, Register, group_register


def done(bench: Bench, intent: Intent, me: str = "n1", reaches: Reaches = lambda _: True) -> Proposal:
    machine = bench.run(*bench.propose(intent, me), reaches)
    assert isinstance(machine, Proposal)
    return machine


def created(quorum: Quorum | None = None) -> Bench:
    bench = Bench() if quorum is None else Bench(quorum)
    assert isinstance(done(bench, Intent("create", 100, b"one")).outcome, Written)
    return bench


def code(result: object) -> str:
    assert isinstance(result, Failed)
    return result.code


def torn(bench: Bench, intent: Intent, *nodes: str, me: str = "n1") -> Proposal:
    """The write reaches only ``nodes``."""
    missed = tuple(name for name in bench.names if name not in nodes)
    machine = done(bench, intent, me, without(Write, *missed))
    assert machine.outcome == Failed("writing_failed", names=(SECRET.name,))
    return machine


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


def test_a_vote_lost_to_a_lease_may_be_asked_again() -> None:  # PROTO-4
    bench = Bench()
    _, votes = bench.propose(Intent("create", 100, b"x"), "n2")
    for send in votes:
        bench.apply(send.node, send.message)
    bench.registers = {key: Register(ZERO, lease=register.lease) for key, register in bench.registers.items()}
    outcome = done(bench, Intent("create", 100, b"y")).outcome
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.retry_ms) == ("write_conflict", proposals.RETRY_MS)


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


def test_a_proposal_gives_way_after_some_rounds() -> None:
    machine, votes = Bench().propose(Intent("create", 100, b"x"))
    for round_ in range(proposals.MAX_ROUNDS):
        machine, votes = proposals.step(machine, Heard(votes[0], Refused(ballot(10 * round_ + 20))))
    assert code(machine.outcome) == "write_conflict"


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


def test_time_is_up_while_voting_means_nothing_was_written() -> None:
    machine, votes = Bench().propose(Intent("create", 100, b"x"))
    assert code(proposals.step(machine, TimeUp())[0].outcome) == "voting_failed"
    machine, _ = proposals.step(machine, Heard(votes[1], Locked(5)))
    outcome = proposals.step(machine, TimeUp())[0].outcome
    assert outcome == Failed("write_conflict", names=(SECRET.name,), retry_ms=proposals.RETRY_MS)


def test_time_is_up_while_writing_leaves_the_outcome_unknown() -> None:
    bench = Bench()
    machine, votes = bench.propose(Intent("create", 100, b"x"))
    for send in votes:
        machine, _ = proposals.step(machine, Heard(send, bench.apply(send.node, send.message)))
    assert machine.phase is Phase.WRITING
    assert proposals.step(machine, PatienceOver())[1] == []
    assert code(proposals.step(machine, TimeUp())[0].outcome) == "writing_failed"


def test_a_torn_create_is_settled_before_anything_is_built_on_it() -> None:
    bench = Bench(Quorum(4, 2))
    torn(bench, Intent("create", 100, b"one"), "n1", "n2")
    machine = done(bench, Intent("update", 200, b"two"), "n3", to("n1", "n2", "n3"))
    assert machine.outcome == Written((Version(2, 200),))
    assert [each.ballot.counter for each in bench.register("n3").records] == [2, 3]  # the create again, then the update
    assert [each.header.tag.counter for each in bench.register("n3").records] == [1, 3]


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
    assert impatient.outcome == Failed("voting_failed", names=(SECRET.name,), retry_ms=proposals.RETRY_MS)
    last, _ = proposals.step(machine, Heard(votes[2], bench.apply("n3", votes[2].message)))
    assert code(last.outcome) == "secret_not_found"


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


def test_a_create_after_a_delete_begins_again_at_version_1_with_a_higher_sequence() -> None:
    bench = created()
    done(bench, Intent("delete", 200))
    machine = done(bench, Intent("create", 150, b"again"))
    assert machine.outcome == Written((Version(1, 201),))
    assert machine.cut is not None
    assert (machine.cut.header.sequence, machine.cut.header.is_create) == (3, True)


def test_a_first_attempt_is_found_again_and_written_no_second_time() -> None:  # SEM-20
    bench = Bench()
    intent = Intent("create", 100, b"one", retry=retry("key"))
    first: Result | object = done(bench, intent).outcome
    assert done(bench, intent, "n2").outcome == first
    assert code(done(bench, Intent("create", 100, b"two", retry=retry("key")), "n3").outcome) == "idempotency_key_reused"


def test_a_retried_delete_finishes_its_erasures_before_it_says_so() -> None:  # SEM-21
    bench = created()
    intent = Intent("delete", 200, retry=retry("key"))
    assert code(done(bench, intent, reaches=without(Erase)).outcome) == "writing_failed"
    assert done(bench, intent, "n2").outcome == Deleted()
    assert all(bench.register(node).erased.counter == 2 for node in bench.names)


def test_an_own_attempt_in_doubt_is_waited_for_and_then_reported_as_unknown() -> None:  # SEM-21
    bench = Bench()
    intent = Intent("create", 100, b"one", retry=retry("key"))
    torn(bench, intent, "n1")
    assert done(bench, intent, reaches=to("n1", "n2")).outcome == Failed("writing_failed", names=(SECRET.name,))


def test_an_old_attempt_below_the_head_is_judged_with_every_vote_at_hand() -> None:  # SEM-21
    bench = created(Quorum(5, 3))
    torn(bench, Intent("update", 200, b"two", retry=retry("key")), "n1")
    assert isinstance(done(bench, Intent("update", 300, b"three"), "n2", to("n1", "n2", "n3")).outcome, Written)
    machine, votes = bench.propose(Intent("update", 400, b"two", retry=retry("key")))
    for send in votes[:3]:
        machine, more = proposals.step(machine, Heard(send, bench.apply(send.node, send.message)))
        assert (machine.phase, more) == (Phase.VOTING, [])
    assert bench.run(machine, votes[3:]).outcome == Written((Version(4, 400),))


def test_out_of_patience_an_own_attempt_in_doubt_may_be_asked_for_again() -> None:  # SEM-21
    bench = Bench()
    intent = Intent("create", 100, b"one", retry=retry("key"))
    torn(bench, intent, "n1")
    machine, votes = bench.propose(intent)
    for send in votes[:2]:
        machine, _ = proposals.step(machine, Heard(send, bench.apply(send.node, send.message)))
    machine, _ = proposals.step(machine, PatienceOver())
    assert machine.outcome == Failed("writing_failed", names=(SECRET.name,), retry_ms=proposals.RETRY_MS)


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


def test_a_node_that_is_unfit_counts_as_gone() -> None:
    machine, votes = Bench().propose(Intent("create", 100, b"x"))
    machine, _ = proposals.step(machine, Heard(votes[1], Unfit()))
    assert machine.gone == {"n2"}


def test_an_intent_never_shows_its_value() -> None:
    assert "hunter2" not in repr(Intent("update", 1, b"hunter2"))


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


def heard(machine: Proposal, bench: Bench, *sends: Send) -> tuple[Proposal, list[Send]]:
    """These messages arrive and are answered; what follows from them is sent nowhere yet."""
    following: list[Send] = []
    for send in sends:
        machine, more = proposals.step(machine, Heard(send, bench.apply(send.node, send.message, send.secret)))
        following += more
    return machine, following


def test_a_won_vote_on_what_is_certain_waits_for_nobody() -> None:
    bench = Bench()
    machine, votes = bench.propose(Intent("create", 100, b"x"))
    machine, writes = heard(machine, bench, *votes[:2])
    assert machine.phase is Phase.WRITING
    assert [send.node for send in writes] == ["n1", "n2", "n3"]


def test_a_proposal_votes_as_often_as_its_rounds_and_no_oftener() -> None:
    machine, votes = Bench().propose(Intent("create", 100, b"x"))
    for round_ in range(proposals.MAX_ROUNDS):
        assert (machine.outcome, machine.rounds, len(votes)) == (None, round_ + 1, 3)
        machine, votes = proposals.step(machine, Heard(votes[0], Refused(ballot(10 * round_ + 20))))
    assert code(machine.outcome) == "write_conflict"


def test_only_a_delete_asks_for_everything_that_is_held() -> None:  # SEM-22
    for verb, gathers in (("create", False), ("update", False), ("delete", True), ("settle", False), ("decide", False)):
        _, votes = Bench().propose(Intent(verb))
        assert [send.message.gather for send in votes if isinstance(send.message, Vote)] == [gathers] * 3


def test_a_late_refusal_of_an_earlier_round_is_no_contention() -> None:
    machine, votes = Bench().propose(Intent("create", 100, b"x"))
    machine, _ = proposals.step(machine, Heard(votes[0], Refused(ballot(20))))
    assert machine.rounds == 2
    machine, _ = proposals.step(machine, Heard(votes[1], Locked(10)))
    assert machine.contended == frozenset()
    assert code(proposals.step(machine, TimeUp())[0].outcome) == "voting_failed"


def test_a_vote_that_was_given_up_and_comes_after_all_is_counted() -> None:
    bench = Bench()
    machine, votes = bench.propose(Intent("create", 100, b"x"))
    machine, _ = proposals.step(machine, Heard(votes[1], None))
    machine, _ = heard(machine, bench, votes[1])
    assert (set(machine.answers), machine.gone) == ({"n2"}, frozenset())


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


def test_a_delete_writes_the_digests_of_what_it_buries_into_its_tombstone() -> None:  # SEM-22
    bench = Bench()
    done(bench, Intent("create", 100, b"one", retry=retry("key")))
    done(bench, Intent("delete", 200))
    tombstone = bench.register("n1").records[-1].header
    assert [entry.retry for entry in tombstone.buried] == [retry("key")]
    done(bench, Intent("create", 300, b"two"))
    assert bench.register("n1").records[-1].header.buried == ()


def told_last(send: Send) -> bool:
    return isinstance(send.message, Confirm)


def buried() -> tuple[Bench, Proposal, list[Send]]:
    """A delete for which n1 and n3 have voted. Below what it deletes lies an update that n1 and n2 accepted; nobody knows it to be made."""
    bench = created()
    lost = done(bench, Intent("update", 200, b"two", retry=retry("key")), reaches=lambda send: send.node != "n3" and not told_last(send))
    assert lost.outcome == Written((Version(2, 200),))
    bench.now_ms += 2000
    assert done(bench, Intent("update", 300, b"three"), "n3", lambda send: send.node in "n1 n3").outcome == Written((Version(3, 300),))
    machine, votes = bench.propose(Intent("delete", 400), "n3")
    machine, sends = heard(machine, bench, votes[0], votes[2])
    assert (machine.phase, sends) == (Phase.VOTING, []), "n2 may tell whether the update below was made"
    return bench, machine, votes


def test_a_delete_that_knows_of_an_attempt_in_doubt_hears_the_others_first() -> None:  # SEM-22
    bench, machine, votes = buried()
    machine, sends = heard(machine, bench, votes[1])
    assert isinstance(bench.run(machine, sends).outcome, Deleted)
    assert done(bench, Intent("update", 500, b"two", retry=retry("key")), "n2").outcome == Written((Version(2, 200),))


def test_a_retry_of_an_attempt_that_was_deleted_in_doubt_stays_in_doubt() -> None:  # SEM-22
    bench, machine, _ = buried()
    machine, sends = proposals.step(machine, PatienceOver())
    assert isinstance(bench.run(machine, sends).outcome, Deleted)
    assert code(done(bench, Intent("update", 500, b"two", retry=retry("key")), "n2").outcome) == "writing_failed"
    assert done(bench, Intent("create", 600, b"new")).outcome == Written((Version(1, 600),))
    assert code(done(bench, Intent("update", 700, b"two", retry=retry("key")), "n2").outcome) == "writing_failed"


def test_a_version_keeps_the_encoding_of_its_value() -> None:  # SEM-11
    bench = Bench()
    done(bench, Intent("create", 100, b"\xff", encoding="base64"))
    assert bench.register("n1").records[-1].header.encoding == "base64"


def test_a_version_on_a_doubt_is_later_than_the_doubt_and_what_lies_below_it() -> None:  # SEM-13
    bench = Bench()
    one, two = cut_of(header_of(1)), cut_of(header_of(2, cut_of(header_of(1)).header))
    for node, at in (("n1", 2), ("n2", 3)):
        unsettled = replace(held(two, node, at=at), share=None, sealed=None)
        bench.registers[node, SECRET] = Register(ballot(3), ZERO, (held(one, node, chosen=True), unsettled))
    machine = done(bench, Intent("update", 0, b"three"))
    assert machine.outcome == Written((Version(3, 1003),))


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
