"""The coordinator's machine for a read: whom it asks, what it shows, what it never shows (PROTO-15 to PROTO-17)."""

from __future__ import annotations

import msgspec
import pytest
from scenes import ENTROPY, SECRET, Bench, Reaches, ballot, cut_of, header_of, held, snapshot, to, view, without

from model import reading as readings
from model.machine import Event, Heard, PatienceOver, Proceed, Resolved, Send, TimeUp
from model.message import Accepted, Confirm, Erase, Query, Refused, Repair, Snapshot, Unfit, Write
from model.operation import Failed, Found, Version, Versions
from model.proposal import RETRY_MS, Decided, Intent, Proposal
from model.quorum import Quorum
from model.reading import Phase, Reading, Wanted
from model.record import Kind, Register, cut, group_register, share_is_sound

MISSING = Failed("secret_not_found", names=(SECRET.name,))
UNAVAILABLE = Failed("unavailable", names=(SECRET.name,))
BUSY = Failed("unavailable", names=(SECRET.name,), retry_ms=RETRY_MS)


def propose(bench: Bench, intent: Intent, me: str = "n1", reaches: Reaches = lambda _: True) -> Proposal:
    machine = bench.run(*bench.propose(intent, me), reaches)
    assert isinstance(machine, Proposal)
    return machine


def read(bench: Bench, wanted: Wanted | None = None, me: str = "n1", reaches: Reaches = lambda _: True) -> Reading:
    machine = bench.run(*bench.read(wanted, me), reaches)
    assert isinstance(machine, Reading)
    return machine


def kept(*values: bytes, quorum: Quorum | None = None) -> Bench:
    """A bench with one version for each of ``values``, at times 100, 200, ..."""
    bench = Bench() if quorum is None else Bench(quorum)
    for place, value in enumerate(values, start=1):
        propose(bench, Intent("create" if place == 1 else "update", 100 * place, value))
    return bench


def after_events(bench: Bench, *events: Event, wanted: Wanted | None = None) -> tuple[Reading, list[Send]]:
    machine, sends = bench.read(wanted)
    for event in events:
        machine, sends = readings.step(machine, event)
    return machine, sends


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


def test_a_version_is_read_where_every_node_is_needed() -> None:  # PROTO-17
    """The own store's sealed value must survive its second answer, which carries the share only."""
    assert read(kept(b"one", b"two", quorum=Quorum(3, 3)), Wanted(version=1)).outcome == Found(Version(1, 100, 200), b"one", "utf-8")


def test_without_reveal_nothing_is_rebuilt() -> None:
    assert read(kept(b"one"), Wanted(reveal=False)).outcome == Found(Version(1, 100), None, "utf-8")


def test_an_absent_and_a_deleted_secret_are_not_found() -> None:
    assert read(Bench()).outcome == MISSING
    bench = kept(b"one")
    propose(bench, Intent("delete", 200))
    for wanted in (Wanted(), Wanted(version=1), Wanted(history=True)):
        assert read(bench, wanted).outcome == MISSING


def test_too_few_answers_are_unavailable_at_once() -> None:
    assert read(kept(b"one"), reaches=to("n1")).outcome == UNAVAILABLE


def test_a_coordinator_whose_own_store_does_not_answer_reads_from_the_others() -> None:
    assert read(kept(b"one"), reaches=to("n2", "n3")).outcome == Found(Version(1, 100), b"one", "utf-8")


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


def test_shares_that_a_delete_erases_meanwhile_make_it_worth_asking_again() -> None:
    bench = kept(b"one", b"two")
    machine, sends = bench.read(Wanted(version=1))
    for _ in range(2):
        machine, sends = readings.step(machine, Heard(sends[0], bench.apply(sends[0].node, sends[0].message)))
    assert machine.phase is Phase.GATHERING
    propose(bench, Intent("delete", 300))
    assert bench.run(machine, sends).outcome == BUSY


def test_a_top_in_doubt_is_written_again_under_its_own_ballot_before_it_is_shown() -> None:  # PROTO-16
    bench = kept(b"one", quorum=Quorum(4, 2))
    torn = propose(bench, Intent("update", 200, b"two"), reaches=without(Write, "n3", "n4"))
    machine = read(bench, me="n3", reaches=lambda send: send.node != "n4")
    assert machine.outcome == Found(Version(2, 200), b"two", "utf-8")
    assert bench.register("n3").held(torn.ballot) is not None
    assert all(each.ballot == torn.ballot for node in bench.names[:3] for each in bench.register(node).records[-1:])
    assert bench.register("n3").records[-1].chosen


def test_an_older_version_is_never_shown_in_place_of_one_in_doubt() -> None:  # PROTO-16
    bench = kept(b"one")
    propose(bench, Intent("update", 200, b"two"), reaches=without(Write, "n2", "n3"))
    assert read(bench, reaches=to("n1", "n2")).outcome == UNAVAILABLE
    assert read(bench, me="n2").outcome == Found(Version(1, 100), b"one", "utf-8")  # n1 alone can never have been W


def test_a_tombstone_in_doubt_needs_no_shares_to_be_settled_by_a_reader() -> None:  # PROTO-16
    bench = kept(b"one")
    propose(bench, Intent("delete", 200), reaches=without(Write, "n2", "n3"))
    assert read(bench, reaches=to("n1", "n2")).outcome == MISSING
    assert bench.register("n2").records[-1].header.kind is Kind.TOMBSTONE


def in_doubt() -> tuple[Bench, Reading, list[Send]]:
    """A reader at n1 of four that has just begun to write again an update that two nodes hold; n4 is away."""
    bench = kept(b"one", quorum=Quorum(4, 2))
    propose(bench, Intent("update", 200, b"two"), reaches=without(Write, "n3", "n4"))
    bench.now_ms = 5000
    machine, sends = bench.read()
    writes: list[Send] = []
    while sends:
        send = sends.pop(0)
        machine, more = readings.step(machine, Heard(send, bench.apply(send.node, send.message) if send.node != "n4" else None))
        writes, sends = (more, sends) if machine.phase is Phase.REWRITING else (writes, sends + more)
    assert machine.phase is Phase.REWRITING
    return bench, machine, writes


def test_a_rewrite_that_a_newer_ballot_refuses_may_be_asked_again_and_one_that_reaches_nobody_not() -> None:  # PROTO-16
    _, machine, writes = in_doubt()
    refused = Refused(ballot(99))
    for replies, expected in (((refused, refused), BUSY), ((refused, None), BUSY), ((None, None), UNAVAILABLE)):
        after = machine
        for send, reply in zip(writes, replies, strict=False):
            after, _ = readings.step(after, Heard(send, reply))
        assert after.outcome == expected


def test_only_acceptances_of_this_very_rewrite_count_and_each_once() -> None:  # PROTO-16
    _, machine, writes = in_doubt()
    write = writes[0].message
    assert isinstance(write, Write)
    stale = Send("n2", SECRET, Write(ballot(77), write.header, None, None))
    for event in (Heard(stale, Accepted(ballot(77), write.header.tag)), Heard(stale, None), PatienceOver(), Proceed()):
        after, more = readings.step(machine, event)
        assert (after.acks, after.gone, more) == (frozenset(), frozenset(), [])
    for reply in (None, Accepted(write.ballot, write.header.tag), None):
        machine, _ = readings.step(machine, Heard(writes[0], reply))
    assert (machine.acks, machine.gone) == ({writes[0].node}, frozenset())


def test_a_history_with_a_late_write_still_possible_is_not_told_but_its_readers_put_an_end_to_that() -> None:  # PROTO-9, PROTO-15
    bench = kept(b"one")
    propose(bench, Intent("update", 200, b"two"), reaches=without(Write, "n2", "n3"))
    propose(bench, Intent("update", 300, b"three"), reaches=to("n1", "n2"))
    register = bench.register("n3")
    assert [each.header.version for each in register.records] == [1]
    machine = read(bench, Wanted(history=True, reveal=False))
    assert machine.outcome == BUSY
    assert bench.register("n3").records[-1].header.version == 3  # its header alone
    assert read(bench, Wanted(history=True, reveal=False)).outcome == Versions((Version(1, 100, 300), Version(3, 300)))
    assert read(bench, Wanted(version=3), me="n3").outcome == Found(Version(3, 300), b"three", "utf-8")


def test_a_history_that_nothing_can_complete_is_unavailable() -> None:  # PROTO-15
    bench = kept(b"one")
    propose(bench, Intent("update", 200, b"two"), reaches=without(Write, "n2", "n3"))
    propose(bench, Intent("update", 300, b"three"), reaches=to("n1", "n2"))
    assert read(bench, Wanted(history=True), reaches=to("n1", "n2")).outcome == UNAVAILABLE


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


def test_time_is_up_is_unavailable_and_worth_asking_again_only_if_enough_have_answered() -> None:
    bench = kept(b"one")
    assert after_events(bench, TimeUp())[0].outcome == UNAVAILABLE
    assert after_events(bench, Proceed(), Resolved("g", True))[0].outcome is None


def test_a_doubt_that_a_slow_node_could_end_waits_for_it_as_long_as_patience_lasts() -> None:  # PROTO-16
    bench = kept(b"one")
    propose(bench, Intent("update", 200, b"two"), reaches=without(Write, "n2", "n3"))
    bench.now_ms = 5000
    machine, sends = bench.read()
    for _ in range(2):
        machine, sends = readings.step(machine, Heard(sends[0], bench.apply(sends[0].node, sends[0].message)))
    assert [send.node for send in sends] == ["n3"]
    assert readings.step(machine, PatienceOver())[0].outcome == BUSY
    assert bench.run(machine, sends).outcome == Found(Version(1, 100), b"one", "utf-8")


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


@pytest.mark.parametrize("message", [Confirm(ballot(1)), Repair(header_of(1), None, None)])
def test_replies_to_messages_it_does_not_wait_for_change_nothing(message: Confirm | Repair) -> None:
    machine, _ = Bench().read()
    assert readings.step(machine, Heard(Send("n1", SECRET, message), None)) == (machine, [])


def test_a_top_in_doubt_is_written_again_under_the_highest_ballot_that_anybody_holds_it_under() -> None:  # PROTO-16
    bench = Bench()
    record = cut_of(header_of(1))
    for node, at in (("n1", 2), ("n2", 5)):
        bench.registers[node, SECRET] = Register(ballot(5), records=(held(record, node, at=at),))
    rewritten: list[Send] = []

    def watched(send: Send) -> bool:
        rewritten.extend([send] if isinstance(send.message, Write) else [])
        return True

    assert isinstance(read(bench, reaches=watched).outcome, Found)
    assert [send.message.ballot for send in rewritten if isinstance(send.message, Write)] == [ballot(5)] * 3


def heard(machine: Reading, bench: Bench, *sends: Send) -> tuple[Reading, list[Send]]:
    """These messages arrive and are answered; what follows from them is sent nowhere yet."""
    following: list[Send] = []
    for send in sends:
        machine, more = readings.step(machine, Heard(send, bench.apply(send.node, send.message)))
        following += more
    return machine, following


def spoil(bench: Bench, node: str, *, share: bool = False, sealed: bool = False) -> None:
    """What the node keeps of its only record is rubbish from now on."""
    register = bench.register(node)
    (whole,) = register.records
    broken = msgspec.structs.replace(whole, share=b"\0" * 33 if share else whole.share, sealed=b"rubbish" if sealed else whole.sealed)
    bench.registers[node, SECRET] = msgspec.structs.replace(register, records=(broken,))


def test_no_peer_is_asked_before_the_own_store_has_answered_or_failed() -> None:
    machine, sends = Bench().read()
    machine, more = readings.step(machine, PatienceOver())
    assert (machine.asked, more) == ({"n1"}, [])
    _, more = readings.step(machine, Heard(sends[0], None))
    assert [send.node for send in more] == ["n2", "n3"]


def test_who_was_given_up_and_answers_after_all_is_heard_and_nobody_else_is_waited_for() -> None:
    bench = kept(b"one")
    machine, sends = bench.read()
    machine, to_peer = heard(machine, bench, *sends)
    machine, instead = readings.step(machine, Heard(to_peer[0], None))
    assert [send.node for send in instead] == ["n3"]
    machine, _ = heard(machine, bench, *to_peer)
    assert machine.outcome == Found(Version(1, 100), b"one", "utf-8")


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


def test_what_a_rewrite_made_certain_is_shown_although_the_own_store_never_answers() -> None:  # PROTO-16
    bench = kept(b"one", quorum=Quorum(4, 2))
    propose(bench, Intent("update", 200, b"two"), reaches=without(Write, "n3", "n4"))
    machine, sends = bench.read(me="n4")
    while machine.phase is Phase.ASKING:
        send = sends.pop(0)
        machine, more = readings.step(machine, Heard(send, bench.apply(send.node, send.message) if send.node != "n4" else None))
        sends += more
    assert machine.phase is Phase.REWRITING
    machine, _ = heard(machine, bench, *(send for send in sends if send.node != "n4"))
    assert machine.outcome == Found(Version(2, 200), b"two", "utf-8")


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


def test_a_rewrite_makes_nothing_certain_but_what_it_wrote() -> None:  # PROTO-16
    """A newer record that one node accepted on top of it stays what it was."""
    bench = Bench(Quorum(4, 2))
    one = cut_of(header_of(1, nodes=bench.names))
    two = cut_of(header_of(2, one.header, nodes=bench.names))
    three = cut_of(header_of(3, one.header, two.header, nodes=bench.names))
    above = {"n1": (held(two, "n1"), held(three, "n1")), "n2": (held(two, "n2", at=5),)}
    for node in bench.names:
        promised = ballot(3 if node == "n1" else 5)
        bench.registers[node, SECRET] = Register(promised, records=(held(one, node, chosen=True), *above.get(node, ())))
    machine = read(bench, reaches=without(Query, "n4"))
    assert machine.rewritten == (ballot(5), two.header)
    assert machine.outcome == Found(Version(2, 1002), b"secret", "utf-8")


def test_while_as_many_are_awaited_as_are_needed_nobody_else_is_asked() -> None:
    bench = kept(b"one", quorum=Quorum(5, 3))
    machine, sends = bench.read()
    machine, sends = heard(machine, bench, *sends)
    machine, more = heard(machine, bench, sends[0])
    assert ([send.node for send in sends], more) == (["n2", "n3"], [])
    machine, _ = heard(machine, bench, sends[1])
    assert machine.outcome == Found(Version(1, 100), b"one", "utf-8")


def test_a_rewrite_brings_every_node_its_own_share() -> None:  # PROTO-16
    bench = kept(b"one", quorum=Quorum(4, 2))
    propose(bench, Intent("update", 200, b"two"), reaches=without(Write, "n3", "n4"))
    read(bench, reaches=without(Query, "n4"))
    for node in bench.names:
        top = bench.register(node).records[-1]
        assert (top.header.version, share_is_sound(SECRET, top.header, node, top.share)) == (2, True)


def test_one_node_that_has_erased_what_is_sought_makes_it_worth_asking_again() -> None:
    bench = kept(b"one", b"two")
    machine, sends = bench.read(Wanted(version=1))
    machine, sends = heard(machine, bench, *sends)
    machine, sends = heard(machine, bench, *sends)
    assert machine.phase is Phase.GATHERING
    propose(bench, Intent("delete", 300), reaches=without(Erase, "n2", "n3"))
    bench.now_ms = 5000
    assert bench.run(machine, sends, to("n1", "n2")).outcome == BUSY
