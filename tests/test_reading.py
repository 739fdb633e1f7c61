"""The coordinator's machine for a read: whom it asks, and what it answers (PROTO-15 to PROTO-17)."""

from __future__ import annotations

import pytest
from reading_scenes import BUSY, MISSING, UNAVAILABLE, heard, kept, propose, read
from scenes import SECRET, Bench, ballot, cut_of, header_of, held, to

from model import reading as readings
from model.intent import Decided, Intent, Wanted
from model.machine import Event, Heard, PatienceOver, Proceed, Resolved, Send, TimeUp, VotingOver
from model.message import Confirm, Query, Repair
from model.operation import Failed, Found, Version, Versions
from model.quorum import Quorum
from model.reading import Reading
from model.record import Kind, Register, group_register


def test_it_asks_its_own_store_first_and_then_exactly_k_minus_1_peers() -> None:
    bench = kept(b"one")
    machine, sends = bench.read()
    assert [send.node for send in sends] == ["n1"]
    machine, more = readings.step(machine, Heard(sends[0], bench.apply("n1", sends[0].message)))
    assert [send.node for send in more] == ["n2"]
    query = more[0].message
    assert isinstance(query, Query)
    assert len(query.known) == 1
    machine, more = readings.step(machine, Heard(more[0], bench.apply("n2", query)))
    assert (machine.outcome, more) == (Found(Version(1, 100), b"one", "utf-8"), [])


def test_the_latest_version_a_number_a_time_and_the_history() -> None:
    bench = kept(b"one", b"two", b"three")
    assert read(bench).outcome == Found(Version(3, 300), b"three", "utf-8")
    assert read(bench, Wanted(version=2)).outcome == Found(Version(2, 200, 300), b"two", "utf-8")
    assert read(bench, Wanted(at=150)).outcome == Found(Version(1, 100, 200), b"one", "utf-8")
    assert read(bench, Wanted(history=True, reveal=False)).outcome == Versions(
        (Version(1, 100, 200), Version(2, 200, 300), Version(3, 300))
    )
    for missing in (Wanted(version=4), Wanted(at=99)):
        assert read(bench, missing).outcome == Failed("version_not_found", names=(SECRET.name,))


def test_without_reveal_nothing_is_rebuilt() -> None:
    assert read(kept(b"one"), Wanted(reveal=False)).outcome == Found(Version(1, 100), None, "utf-8")


def test_an_absent_and_a_deleted_secret_are_not_found() -> None:
    assert read(Bench()).outcome == MISSING
    bench = kept(b"one")
    propose(bench, Intent("delete", 200))
    for wanted in (Wanted(), Wanted(version=1), Wanted(history=True)):
        assert read(bench, wanted).outcome == MISSING


def test_too_few_answers_are_unavailable_at_once() -> None:
    for wanted in (Wanted(), Wanted(reveal=False), Wanted(history=True)):
        for bench in (kept(b"one"), Bench()):
            assert read(bench, wanted, reaches=to("n1")).outcome == UNAVAILABLE


def test_a_coordinator_whose_own_store_does_not_answer_reads_from_the_others() -> None:
    assert read(kept(b"one"), reaches=to("n2", "n3")).outcome == Found(Version(1, 100), b"one", "utf-8")


def test_no_peer_is_asked_before_the_own_store_has_answered_or_failed() -> None:
    machine, sends = Bench().read()
    machine, more = readings.step(machine, PatienceOver())
    assert (machine.asked, more) == ({"n1"}, [])
    _, more = readings.step(machine, Heard(sends[0], None))
    assert [send.node for send in more] == ["n2", "n3"]


def test_while_as_many_are_awaited_as_are_needed_nobody_else_is_asked() -> None:
    bench = kept(b"one", quorum=Quorum(5, 3))
    machine, sends = bench.read()
    machine, sends = heard(machine, bench, *sends)
    machine, more = heard(machine, bench, sends[0])
    assert ([send.node for send in sends], more) == (["n2", "n3"], [])
    machine, _ = heard(machine, bench, sends[1])
    assert machine.outcome == Found(Version(1, 100), b"one", "utf-8")


def test_who_was_given_up_and_answers_after_all_is_heard_and_nobody_else_is_waited_for() -> None:
    bench = kept(b"one")
    machine, sends = bench.read()
    machine, to_peer = heard(machine, bench, *sends)
    machine, instead = readings.step(machine, Heard(to_peer[0], None))
    assert [send.node for send in instead] == ["n3"]
    machine, _ = heard(machine, bench, *to_peer)
    assert machine.outcome == Found(Version(1, 100), b"one", "utf-8")


def test_a_slow_peer_is_replaced_when_patience_is_over() -> None:
    bench = kept(b"one")
    machine, sends = bench.read()
    machine, sends = readings.step(machine, Heard(sends[0], bench.apply("n1", sends[0].message)))
    machine, more = readings.step(machine, PatienceOver())
    assert [send.node for send in more] == ["n3"]
    machine, none = readings.step(machine, PatienceOver())
    assert (machine.outcome, none) == (None, [])
    machine, _ = readings.step(machine, Heard(more[0], bench.apply("n3", more[0].message)))
    assert isinstance(machine.outcome, Found)
    assert readings.step(machine, TimeUp()) == (machine, [])


def after_events(bench: Bench, *events: Event, wanted: Wanted | None = None) -> tuple[Reading, list[Send]]:
    machine, sends = bench.read(wanted)
    for event in events:
        machine, sends = readings.step(machine, event)
    return machine, sends


def test_time_is_up_is_unavailable_and_worth_asking_again_only_if_enough_have_answered() -> None:
    bench = kept(b"one")
    assert after_events(bench, TimeUp())[0].outcome == UNAVAILABLE
    assert after_events(bench, VotingOver())[0].outcome == UNAVAILABLE
    surveying = Wanted(survey=True)
    assert after_events(bench, VotingOver(), wanted=surveying)[0].outcome is None
    assert after_events(bench, TimeUp(), wanted=surveying)[0].outcome == UNAVAILABLE
    assert after_events(bench, Proceed(), Resolved("g", True))[0].outcome is None


@pytest.mark.parametrize("message", [Confirm(ballot(1)), Repair(header_of(1), None, None)])
def test_replies_to_messages_it_does_not_wait_for_change_nothing(message: Confirm | Repair) -> None:
    machine, _ = Bench().read()
    assert readings.step(machine, Heard(Send("n1", SECRET, message), None)) == (machine, [])


def test_a_survey_hears_every_node_that_answers() -> None:  # PROTO-17
    bench = kept(b"one")
    assert set(read(bench, Wanted(survey=True)).answers) == {"n1", "n2", "n3"}
    assert set(read(bench, Wanted(survey=True), reaches=to("n1", "n3")).answers) == {"n1", "n3"}
    assert read(bench, Wanted(survey=True), reaches=to("n3")).outcome == UNAVAILABLE


def test_an_impatient_survey_goes_on_with_those_that_answered() -> None:  # PROTO-17
    bench = kept(b"one")
    machine, sends = bench.read(Wanted(survey=True))
    machine, sends = readings.step(machine, Heard(sends[0], bench.apply("n1", sends[0].message)))
    machine, _ = readings.step(machine, Heard(sends[0], bench.apply("n2", sends[0].message)))
    assert readings.step(machine, PatienceOver())[0].outcome == Found(Version(1, 100), None, "utf-8")


def test_a_survey_rebuilds_no_value() -> None:  # PROTO-17
    assert read(kept(b"one"), Wanted(survey=True)).outcome == Found(Version(1, 100), None, "utf-8")


def provisional() -> tuple[Bench, Reading]:
    bench = Bench()
    member = cut_of(header_of(1, group="g"))
    for node in bench.names:
        bench.registers[node, SECRET] = Register(ballot(1), records=(held(member, node),))
    return bench, read(bench)


def test_a_provisional_record_is_shown_only_once_its_group_is_known_to_be_committed() -> None:  # PROTO-14
    _, waiting = provisional()
    assert (waiting.outcome, waiting.needs) == (None, {"g"})
    assert readings.step(waiting, PatienceOver())[0].needs == {"g"}
    assert readings.step(waiting, Resolved("another", True)) == (waiting, [])
    assert isinstance(readings.step(waiting, Resolved("g", True))[0].outcome, Found)
    assert readings.step(waiting, Resolved("g", False))[0].outcome == MISSING
    assert readings.step(waiting, Resolved("g", None))[0].outcome == UNAVAILABLE
    assert readings.step(waiting, Resolved("g", None, busy=True))[0].outcome == BUSY


def test_a_groups_decision_is_read_as_not_committed_until_one_stands() -> None:  # PROTO-14
    bench = Bench()
    register = group_register("g")
    assert bench.run(*bench.read(Wanted(reveal=False, decision=True), secret=register)).outcome == Decided(Kind.ABORT)
    bench.run(*bench.propose(Intent("decide", decision=Kind.COMMIT), secret=register))
    assert bench.run(*bench.read(Wanted(reveal=False, decision=True), secret=register)).outcome == Decided(Kind.COMMIT)


def test_who_was_given_up_and_answers_after_all_makes_up_for_those_still_awaited() -> None:
    bench = kept(b"one", quorum=Quorum(7, 3))
    machine, sends = bench.read()
    machine, peers = heard(machine, bench, *sends)
    machine, instead = readings.step(machine, Heard(peers[0], None))
    assert ([send.node for send in peers], [send.node for send in instead]) == (["n2", "n3"], ["n4"])
    machine, more = heard(machine, bench, peers[0])
    assert (machine.outcome, more) == (None, []), "two of seven have answered and two more are awaited"


def test_while_a_groups_decision_is_awaited_late_answers_are_kept_and_judge_nothing() -> None:  # PROTO-14
    bench = Bench()
    member = cut_of(header_of(1, group="g"))
    for node in bench.names:
        bench.registers[node, SECRET] = Register(ballot(1), records=(held(member, node, chosen=node == "n2"),))
    machine, sends = bench.read()
    machine, late = heard(machine, bench, *sends)
    machine, instead = readings.step(machine, PatienceOver())
    machine, _ = heard(machine, bench, *instead)
    assert machine.needs == {"g"}
    machine, more = heard(machine, bench, *late)
    assert (machine.outcome, machine.needs, set(machine.answers), more) == (None, {"g"}, {"n1", "n2", "n3"}, [])
