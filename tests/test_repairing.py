"""What a survey says is to be sent: shards restored, marks spread, erasures carried on (PROTO-7, PROTO-8, PROTO-17)."""

from __future__ import annotations

from itertools import permutations

import msgspec
from scenes import QUORUM, SECRET, Bench, ballot, cut_of, header_of, held, snapshot, to, view, without

from model.intent import Intent, Wanted
from model.machine import Send
from model.message import Confirm, Erase, Repair, Snapshot, Write
from model.quorum import Quorum
from model.reading import Reading
from model.record import ZERO, Cut, Kind, Register, group_register
from model.repairing import repairs


def surveyed(bench: Bench, *nodes: str, buffer: int = 1) -> list[Send]:
    machine = bench.run(*bench.read(Wanted(survey=True)), to(*(nodes or bench.names)))
    assert isinstance(machine, Reading)
    return repairs(machine, buffer)


def kept(quorum: Quorum, *writers: str) -> Bench:
    """One version that only ``writers`` accepted, all of whom know that it was chosen."""
    bench = Bench(quorum)
    missed = tuple(name for name in bench.names if name not in writers)
    bench.run(*bench.propose(Intent("create", 100, b"one")), without(Write, *missed) if missed else to(*bench.names))
    return bench


def deliver(bench: Bench, sends: list[Send]) -> None:
    for send in sends:
        bench.apply(send.node, send.message, send.secret)


def test_a_whole_secret_needs_nothing() -> None:
    assert surveyed(kept(Quorum(3, 2), "n1", "n2", "n3")) == []


def test_a_missing_shard_is_restored_on_the_same_polynomial() -> None:  # PROTO-7
    bench = kept(Quorum(3, 2), "n1", "n2")
    sends = surveyed(bench)
    assert [(send.node, type(send.message)) for send in sends] == [("n3", Repair)]
    deliver(bench, sends)
    whole = kept(Quorum(3, 2), "n1", "n2", "n3").register("n3").records[0]
    mended = bench.register("n3").records[0]
    assert (mended.share, mended.sealed) == (whole.share, whole.sealed)
    assert surveyed(bench) == []


def test_a_corrupt_share_counts_as_missing() -> None:  # PROTO-17
    bench = kept(Quorum(3, 2), "n1", "n2", "n3")
    register = bench.register("n2")
    broken = msgspec.structs.replace(register.records[0], share=b"\0" * 33)
    bench.registers["n2", SECRET] = msgspec.structs.replace(register, records=(broken,))
    deliver(bench, surveyed(bench))
    assert bench.register("n2") == register


def test_the_trigger_is_k_to_k_plus_buffer_shards_found() -> None:  # PROTO-17
    bench = kept(Quorum(5, 2), "n1", "n2", "n3", "n4")
    assert surveyed(bench, buffer=1) == []
    assert [send.node for send in surveyed(bench, buffer=2)] == ["n5"]


def test_only_nodes_that_answered_are_written_to() -> None:
    assert surveyed(kept(Quorum(3, 2), "n1", "n2"), "n1", "n2") == []


def test_too_few_answers_repair_nothing() -> None:
    assert surveyed(kept(Quorum(3, 2), "n1", "n2"), "n1") == []


def test_what_is_absent_or_in_doubt_is_not_repaired() -> None:  # PROTO-7
    assert surveyed(Bench()) == []
    bench = Bench()
    bench.run(*bench.propose(Intent("create", 100, b"one")), without(Write, "n2", "n3"))
    assert surveyed(bench, "n1", "n2") == []


def test_the_mark_of_a_chosen_head_is_spread() -> None:  # PROTO-6
    bench = Bench()
    bench.run(*bench.propose(Intent("create", 100, b"one")), without(Confirm, "n2", "n3"))
    sends = surveyed(bench)
    assert [(send.node, type(send.message)) for send in sends] == [("n2", Confirm), ("n3", Confirm)]
    deliver(bench, sends)
    assert surveyed(bench) == []


def test_an_erasure_that_its_coordinator_left_unfinished_is_carried_on() -> None:  # PROTO-8
    bench = kept(Quorum(3, 2), "n1", "n2", "n3")
    bench.run(*bench.propose(Intent("delete", 200)), without(Erase, "n2", "n3"))
    sends = surveyed(bench)
    assert [(send.node, type(send.message)) for send in sends] == [("n2", Erase), ("n3", Erase)]
    deliver(bench, sends)
    assert surveyed(bench) == []
    assert all(bench.tags(node) == [2] for node in bench.names)


def test_a_groups_decision_is_given_to_those_that_missed_it_without_a_share() -> None:  # PROTO-14
    bench = Bench()
    register = group_register("g")
    bench.run(*bench.propose(Intent("decide"), secret=register), without(Write, "n3"))
    machine = bench.run(*bench.read(Wanted(survey=True, decision=True), secret=register))
    assert isinstance(machine, Reading)
    assert [(send.node, send.message) for send in repairs(machine, 1)] == [
        ("n3", Repair(bench.register("n1", register).records[0].header, None, None))
    ]


def test_without_a_whole_sealed_value_nothing_is_repaired() -> None:  # PROTO-17
    record = cut_of(header_of(1))
    bench = Bench()
    for node in ("n1", "n2"):
        unsealed = msgspec.structs.replace(held(record, node, chosen=True), sealed=b"rubbish")
        bench.registers[node, SECRET] = Register(ballot(1), records=(unsealed,))
    assert surveyed(bench) == []


def test_a_corrupt_sealed_value_counts_as_a_missing_shard() -> None:  # STORE-8
    bench = kept(Quorum(3, 2), "n1", "n2", "n3")
    register = bench.register("n1")
    broken = msgspec.structs.replace(register.records[0], sealed=b"?")
    bench.registers["n1", SECRET] = msgspec.structs.replace(register, records=(broken,))
    deliver(bench, surveyed(bench))
    assert bench.register("n1") == register


def test_two_repairs_that_race_with_an_update_and_a_delete_change_nothing_in_any_order() -> None:  # PROTO-7, PROTO-8, SEM-26
    """A node that missed the first version takes the messages about it, its update and its delete in every order there is."""
    first = cut_of(header_of(1))
    second = cut_of(header_of(2, first.header))
    grave = header_of(3, second.header, kind=Kind.TOMBSTONE)
    repair = Repair(first.header, first.shares["n3"], first.sealed)
    update = Write(second.header.tag, second.header, second.shares["n3"], second.sealed)
    told = [repair, repair, update, Confirm(second.header.tag), Write(grave.tag, grave, None, None), Erase(grave)]
    for order in permutations(range(len(told))):
        bench = Bench()
        for place in order:
            before = bench.register("n3")
            bench.apply("n3", told[place])
            if isinstance(told[place], Repair):
                assert bench.register("n3").promised == before.promised
                assert all(each.ballot == ZERO for each in bench.register("n3").records if each.header.tag == first.header.tag)
        assert [each.header for each in bench.register("n3").records] == [grave], order


def seen(*records: Cut, node: str = "n1", chosen: bool = True) -> Snapshot:
    return snapshot(*(view(each, node, chosen=chosen) for each in records))


def after(*, quorum: Quorum = QUORUM, **answers: Snapshot) -> list[Send]:
    return repairs(Reading("n1", SECRET, Wanted(survey=True), quorum, tuple(answers), answers=answers), 1)


def test_a_tombstone_is_carried_out_when_a_read_quorum_has_answered_and_not_before() -> None:  # PROTO-17
    grave = cut_of(header_of(2, header_of(1), kind=Kind.TOMBSTONE))
    assert after(n1=seen(grave)) == []
    assert after(n1=seen(grave), n2=seen(grave)) == [Send(node, SECRET, Erase(grave.header)) for node in ("n1", "n2")]


def test_below_a_doubt_nothing_is_repaired() -> None:  # PROTO-7
    one = cut_of(header_of(1))
    two = cut_of(header_of(2, one.header))
    doubted = [snapshot(view(one, node, chosen=True), view(two, node, at=at)) for node, at in (("n1", 2), ("n2", 7))]
    assert after(n1=doubted[0], n2=doubted[1], n3=snapshot()) == []
    assert [type(send.message) for send in after(n1=seen(one), n2=seen(one, node="n2"), n3=snapshot())] == [Repair]


def test_a_node_outside_the_placement_is_given_nothing() -> None:  # PROTO-18
    one = cut_of(header_of(1))
    sends = after(quorum=Quorum(4, 2), n1=seen(one), n2=seen(one, node="n2"), n3=snapshot(), n9=snapshot())
    assert [send.node for send in sends] == ["n3"]


def test_where_no_answer_has_the_sealed_value_nothing_is_repaired() -> None:  # PROTO-7
    one = cut_of(header_of(1))
    answers = {node: snapshot(view(one, node, chosen=True, sealed=False)) for node in ("n1", "n2")}
    assert after(**answers, n3=snapshot()) == []
