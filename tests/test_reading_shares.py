"""How a read comes by k sound shares and a sound sealed value, and what it says when it cannot (PROTO-17)."""

from __future__ import annotations

import msgspec
import pytest
from reading_scenes import BUSY, UNAVAILABLE, heard, kept, propose, read
from scenes import ENTROPY, SECRET, Bench, ballot, cut_of, header_of, held, snapshot, to, view, without

from model import reading as readings
from model.intent import Intent, Wanted
from model.machine import Heard, PatienceOver
from model.message import Erase, Query, Snapshot, Unfit, Write
from model.operation import Found, Version
from model.quorum import Quorum
from model.reading import Phase
from model.record import Register, cut


def test_a_version_is_read_where_every_node_is_needed() -> None:  # PROTO-17
    """The own store's sealed value must survive its second answer, which carries the share only."""
    assert read(kept(b"one", b"two", quorum=Quorum(3, 3)), Wanted(version=1)).outcome == Found(Version(1, 100, 200), b"one", "utf-8")


def test_a_corrupt_share_is_passed_over_for_a_sound_one() -> None:  # PROTO-17
    bench = kept(b"one")
    register = bench.register("n2")
    broken = msgspec.structs.replace(register.records[0], share=b"\0" * 33)
    bench.registers["n2", SECRET] = msgspec.structs.replace(register, records=(broken,))
    assert read(bench).outcome == Found(Version(1, 100), b"one", "utf-8")


def test_a_corrupt_sealed_value_is_fetched_from_a_peer() -> None:  # PROTO-17
    bench = kept(b"one")
    register = bench.register("n1")
    broken = msgspec.structs.replace(register.records[0], sealed=b"rubbish")
    bench.registers["n1", SECRET] = msgspec.structs.replace(register, records=(broken,))
    assert read(bench).outcome == Found(Version(1, 100), b"one", "utf-8")


def test_fewer_than_k_sound_shares_are_unavailable_never_garbage() -> None:  # PROTO-17
    bench = kept(b"one")
    for node in ("n2", "n3"):
        register = bench.register(node)
        broken = msgspec.structs.replace(register.records[0], share=b"\0" * 33)
        bench.registers[node, SECRET] = msgspec.structs.replace(register, records=(broken,))
    assert read(bench).outcome == UNAVAILABLE


def test_a_record_whose_commitments_are_all_kept_but_that_does_not_open_is_unavailable() -> None:
    header = header_of(1)
    good = cut(SECRET, header, b"x", ENTROPY)
    wrong = cut(SECRET, header, b"x", msgspec.structs.replace(ENTROPY, key=b"q" * 32))
    mixed = msgspec.structs.replace(good.header, sealed_digest=wrong.header.sealed_digest)
    bench = Bench()
    for node in bench.names:
        whole = msgspec.structs.replace(held(good, node, chosen=True), header=mixed, sealed=wrong.sealed)
        bench.registers[node, SECRET] = Register(ballot(1), records=(whole,))
    assert read(bench).outcome == UNAVAILABLE


def test_a_share_is_sought_first_where_the_record_was_seen_and_given_up_when_nobody_is_left() -> None:  # PROTO-17
    record = cut_of(header_of(1))
    bench = Bench()
    machine, sends = bench.read()
    answer = snapshot(view(record, "n1", chosen=True))
    machine, sends = readings.step(machine, Heard(sends[0], answer))
    machine, sends = readings.step(machine, Heard(sends[0], Snapshot(ballot(1), ballot(0), ())))
    assert [(send.node, send.message) for send in sends] == [("n2", Query(shares=True, tag=ballot(1)))]
    machine, sends = readings.step(machine, Heard(sends[0], Unfit()))
    assert [send.node for send in sends] == ["n3"]
    waiting, none = readings.step(machine, PatienceOver())
    assert (waiting.outcome, none) == (None, [])
    machine, _ = readings.step(machine, Heard(sends[0], None))
    assert machine.outcome == UNAVAILABLE


def spoil(bench: Bench, node: str, *, share: bool = False, sealed: bool = False) -> None:
    """What the node keeps of its only record is rubbish from now on."""
    register = bench.register(node)
    (whole,) = register.records
    broken = msgspec.structs.replace(whole, share=b"\0" * 33 if share else whole.share, sealed=b"rubbish" if sealed else whole.sealed)
    bench.registers[node, SECRET] = msgspec.structs.replace(register, records=(broken,))


@pytest.mark.parametrize("answers", [True, False])
def test_a_late_reply_about_the_history_is_not_taken_for_one_about_the_version(answers: bool) -> None:  # PROTO-17
    bench = kept(b"one")
    spoil(bench, "n3", share=True)
    machine, sends = bench.read(Wanted(version=1))
    machine, late = heard(machine, bench, *sends)
    machine, instead = readings.step(machine, PatienceOver())
    machine, queries = heard(machine, bench, *instead)
    assert [send.node for send in queries] == ["n1", "n3"]
    machine, last = heard(machine, bench, *queries)
    assert [send.node for send in (*late, *last)] == ["n2", "n2"]
    machine, more = readings.step(machine, Heard(late[0], bench.apply("n2", late[0].message) if answers else None))
    assert (machine.outcome, more) == (None, [])
    machine, _ = heard(machine, bench, *last)
    assert machine.outcome == Found(Version(1, 100), b"one", "utf-8")


def test_what_of_a_version_is_sought_first_where_it_was_seen() -> None:  # PROTO-17
    bench = Bench()
    propose(bench, Intent("create", 100, b"one"), reaches=without(Write, "n2"))
    machine, sends = bench.read(Wanted(version=1), me="n2")
    machine, sends = heard(machine, bench, *sends)
    machine, sends = heard(machine, bench, *sends)
    assert machine.phase is Phase.GATHERING
    assert [(send.node, send.message.sealed) for send in sends if isinstance(send.message, Query)] == [("n1", True), ("n2", False)]


def test_the_sealed_value_of_one_node_and_the_shares_of_others_are_enough() -> None:  # PROTO-17
    bench = kept(b"one")
    spoil(bench, "n1", share=True)
    spoil(bench, "n2", sealed=True)
    spoil(bench, "n3", sealed=True)
    assert read(bench).outcome == Found(Version(1, 100), b"one", "utf-8")


def test_who_gave_its_share_is_asked_for_its_sealed_value_too() -> None:  # PROTO-17
    bench = kept(b"one")
    spoil(bench, "n1", sealed=True)
    assert read(bench, reaches=to("n1", "n2")).outcome == Found(Version(1, 100), b"one", "utf-8")


def test_what_a_node_has_come_to_know_since_it_first_answered_is_known_of_it() -> None:  # PROTO-17
    record = cut_of(header_of(1))
    machine, sends = Bench().read()
    machine, sends = readings.step(machine, Heard(sends[0], snapshot(view(record, "n1", chosen=True))))
    unaware = msgspec.structs.replace(view(record, "n2"), share=None)
    machine, sends = readings.step(machine, Heard(sends[0], snapshot(unaware)))
    assert machine.evidence.unmarked(record.header) == ("n2",)
    machine, _ = readings.step(machine, Heard(sends[0], snapshot(view(record, "n2", chosen=True))))
    assert isinstance(machine.outcome, Found)
    assert machine.evidence.unmarked(record.header) == ()


def test_shares_that_a_delete_erases_meanwhile_make_it_worth_asking_again() -> None:
    bench = kept(b"one", b"two")
    machine, sends = bench.read(Wanted(version=1))
    for _ in range(2):
        machine, sends = readings.step(machine, Heard(sends[0], bench.apply(sends[0].node, sends[0].message)))
    assert machine.phase is Phase.GATHERING
    propose(bench, Intent("delete", 300))
    assert bench.run(machine, sends).outcome == BUSY


def test_one_node_that_has_erased_what_is_sought_makes_it_worth_asking_again() -> None:
    bench = kept(b"one", b"two")
    machine, sends = bench.read(Wanted(version=1))
    machine, sends = heard(machine, bench, *sends)
    machine, sends = heard(machine, bench, *sends)
    assert machine.phase is Phase.GATHERING
    propose(bench, Intent("delete", 300), reaches=without(Erase, "n2", "n3"))
    bench.now_ms = 5000
    assert bench.run(machine, sends, to("n1", "n2")).outcome == BUSY


@pytest.mark.parametrize(
    ("wanted", "asks"),
    [
        (Wanted(), True),
        (Wanted(reveal=False), False),
        (Wanted(survey=True, reveal=False), True),
        (Wanted(version=1), False),
        (Wanted(history=True), False),
    ],
)
def test_shares_are_asked_for_at_once_only_where_the_latest_ones_are_needed(wanted: Wanted, asks: bool) -> None:  # PROTO-15
    _, sends = Bench().read(wanted)
    assert [(send.message.shares, send.message.sealed) for send in sends if isinstance(send.message, Query)] == [(asks, asks)]


def test_what_a_node_has_shown_still_counts_when_it_shows_less_the_next_time() -> None:  # PROTO-17
    record = cut_of(header_of(1))
    machine, sends = Bench().read()
    machine, sends = readings.step(machine, Heard(sends[0], snapshot(view(record, "n1", chosen=True, sealed=False))))
    machine, sends = readings.step(machine, Heard(sends[0], snapshot(view(record, "n2", chosen=True, sealed=False))))
    machine, sends = readings.step(machine, Heard(sends[0], None))
    assert [send.node for send in sends] == ["n2"]
    unsure = msgspec.structs.replace(view(record, "n2"), share=None)
    machine, _ = readings.step(machine, Heard(sends[0], snapshot(unsure)))
    assert machine.outcome == Found(Version(1, 1001), b"secret", "utf-8")
    assert machine.evidence.unmarked(record.header) == ()


def test_who_is_slow_to_give_its_share_is_replaced_when_patience_is_over() -> None:  # PROTO-17
    bench = kept(b"one")
    machine, sends = bench.read(Wanted(version=1))
    machine, sends = heard(machine, bench, *sends)
    machine, queries = heard(machine, bench, *sends)
    machine, none = heard(machine, bench, queries[0])
    assert ([send.node for send in queries], none) == (["n1", "n2"], [])
    machine, instead = readings.step(machine, PatienceOver())
    assert [send.node for send in instead] == ["n3"]
    machine, _ = heard(machine, bench, *instead)
    assert machine.outcome == Found(Version(1, 100), b"one", "utf-8")


@pytest.mark.parametrize("reveal", [True, False])
def test_a_survey_gathers_what_repair_needs(reveal: bool) -> None:  # PROTO-17
    bench = kept(b"one")
    spoil(bench, "n1", sealed=True)
    machine = read(bench, Wanted(survey=True, reveal=reveal))
    assert machine.outcome == Found(Version(1, 100), None, "utf-8")
    assert machine.target is not None
    assert machine.evidence.sealed(machine.target) is not None


def test_who_was_given_up_and_gives_its_share_after_all_makes_up_for_those_still_awaited() -> None:  # PROTO-17
    bench = kept(b"one", quorum=Quorum(7, 3))
    machine, sends = bench.read(Wanted(version=1))
    machine, sends = heard(machine, bench, *sends)
    machine, queries = heard(machine, bench, *sends)
    machine, instead = readings.step(machine, Heard(queries[1], None))
    assert ([send.node for send in queries], [send.node for send in instead]) == (["n1", "n2", "n3"], ["n4"])
    machine, more = heard(machine, bench, queries[1])
    assert (machine.outcome, more) == (None, []), "one share has come, and three more are awaited"


def test_who_turns_out_to_be_away_is_no_reason_to_ask_again_soon() -> None:  # PROTO-17
    bench = kept(b"one")
    spoil(bench, "n3", share=True)
    machine, sends = bench.read()
    machine, slow = heard(machine, bench, *sends)
    machine, instead = readings.step(machine, PatienceOver())
    machine, queries = heard(machine, bench, *instead)
    machine, last = heard(machine, bench, *queries)
    assert [send.node for send in (*slow, *instead, *queries, *last)] == ["n2", "n3", "n3", "n2"]
    machine, _ = readings.step(machine, Heard(last[0], None))
    assert machine.outcome == UNAVAILABLE
