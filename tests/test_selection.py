"""The coordinator's machine for several versions of one secret: one history is read for all of them (PROTO-15)."""

from __future__ import annotations

import msgspec
import pytest
from scenes import ONE_WAY, SECRET, Bench, Reaches, ballot, cut_of, header_of, held, to

from model import selection as selections
from model.intent import Intent, Wanted
from model.machine import Heard, PatienceOver, Send, TimeUp
from model.message import Query, Unfit
from model.operation import Failed, Found, Version
from model.proposal import Proposal
from model.reading import Reading
from model.record import Register, group_register
from model.selection import Selection
from model.session import Session

WANTED = (Wanted(version=2), Wanted(at=150), Wanted(version=2), Wanted(at=999, reveal=False), Wanted(version=1))
SHOWN = (
    Found(Version(2, 200, 300), b"two", "utf-8"),
    Found(Version(1, 100, 200), b"one", "utf-8"),
    Found(Version(2, 200, 300), b"two", "utf-8"),
    Found(Version(3, 300), None, "utf-8"),
    Found(Version(1, 100, 200), b"one", "utf-8"),
)


def kept() -> Bench:
    bench = Bench()
    for place, value in enumerate((b"one", b"two", b"three"), start=1):
        bench.run(*bench.propose(Intent("create" if place == 1 else "update", 100 * place, value)))
    return bench


def begin(bench: Bench, *wanted: Wanted) -> tuple[Selection, list[Send]]:
    return selections.begin("n1", SECRET, wanted, bench.quorum, bench.names[1:])


def run(bench: Bench, selection: Selection, sends: list[Send], reaches: Reaches = lambda _: True) -> tuple[Selection, list[Send]]:
    """The selection when nothing follows any more, and all that it has sent."""
    sent, waiting = list(sends), list(sends)
    while waiting:
        send = waiting.pop(0)
        reply = bench.apply(send.node, send.message, send.secret) if reaches(send) else None
        if not isinstance(send.message, ONE_WAY):
            selection, more = selections.step(selection, Heard(send, reply))
            waiting += more
            sent += more
    return selection, sent


def run_only(bench: Bench, selection: Selection, sends: list[Send], reaches: Reaches) -> Selection:
    """As ``run``, but what does not reach its node is never answered."""
    sent = list(sends)
    for send in sent:
        if reaches(send):
            selection, more = selections.step(selection, Heard(send, bench.apply(send.node, send.message)))
            sent += more
    return selection


def select(bench: Bench, *wanted: Wanted, reaches: Reaches = lambda _: True) -> tuple[Selection, list[Send]]:
    return run(bench, *begin(bench, *wanted), reaches)


def test_versions_and_times_are_shown_as_if_each_had_been_read_alone() -> None:  # PROTO-15
    bench = kept()
    selection, _ = select(bench, *WANTED)
    assert selection.outcome == SHOWN
    for wanted, shown in zip(WANTED, SHOWN, strict=True):
        alone = bench.run(*bench.read(wanted))
        assert isinstance(alone, Reading)
        assert alone.outcome == shown


def test_the_lineage_is_asked_of_each_node_once_whatever_is_picked_from_it() -> None:  # PROTO-15
    bench = kept()
    _, sent = select(bench, *WANTED)
    asked = [send.node for send in sent if isinstance(send.message, Query) and send.message.lineage]
    assert asked == ["n1", "n2"]


def test_a_version_that_there_is_not_fails_alone() -> None:  # SEM-14
    missing = Failed("version_not_found", names=(SECRET.name,))
    selection, _ = select(kept(), Wanted(version=7), Wanted(version=1), Wanted(at=99))
    assert selection.outcome == (missing, SHOWN[1], missing)
    selection, _ = select(kept(), Wanted(version=7), Wanted(at=99))
    assert selection.outcome == (missing, missing)


def test_what_ends_the_reading_of_the_history_ends_all() -> None:
    bench = kept()
    assert select(bench, *WANTED, reaches=to("n1"))[0].outcome == (Failed("unavailable", names=(SECRET.name,)),) * 5
    bench.run(*bench.propose(Intent("delete", 400)))
    assert select(bench, *WANTED)[0].outcome == (Failed("secret_not_found", names=(SECRET.name,)),) * 5


def test_a_corrupt_share_of_one_version_is_passed_over_for_a_sound_one() -> None:  # PROTO-17
    bench = kept()
    register = bench.register("n2")
    broken = msgspec.structs.replace(register.records[1], share=b"\0" * 33)
    bench.registers["n2", SECRET] = msgspec.structs.replace(register, records=(register.records[0], broken, register.records[2]))
    selection, sent = select(bench, *WANTED)
    assert selection.outcome == SHOWN
    elsewhere = {send.message.tag.counter for send in sent if isinstance(send.message, Query) and send.message.tag and send.node == "n3"}
    assert elsewhere == {register.records[1].header.tag.counter}


def test_each_pick_keeps_only_what_is_about_its_own_version() -> None:
    selection, _ = select(kept(), Wanted(version=1), Wanted(version=3))
    for pick in selection.picks:
        assert pick.target is not None
        assert {view.tag for snapshot in pick.answers.values() for view in snapshot.views} == {pick.target.tag}


def test_a_slow_node_is_replaced_for_the_history_and_for_each_version() -> None:
    bench = kept()
    quick = to("n1", "n3")
    selection, sends = begin(bench, Wanted(version=1), Wanted(version=2))
    while selection.outcome is None:
        selection = run_only(bench, selection, sends, quick)
        selection, sends = selections.step(selection, PatienceOver())
    assert selection.outcome == (SHOWN[1], SHOWN[0])


@pytest.mark.parametrize("steps", [1, 3])
def test_time_is_up_for_all_at_once_and_nothing_changes_afterwards(steps: int) -> None:
    bench = kept()
    selection, sends = begin(bench, Wanted(version=1), Wanted(version=2))
    for _ in range(steps):
        selection, more = selections.step(selection, Heard(sends[0], bench.apply(sends[0].node, sends[0].message)))
        sends = sends[1:] + more
    assert bool(selection.picks) == (steps == 3)
    selection, _ = selections.step(selection, TimeUp())
    assert selection.outcome is not None
    assert {outcome.code for outcome in selection.outcome if isinstance(outcome, Failed)} == {"unavailable"}
    assert selections.step(selection, Heard(sends[0], Unfit())) == (selection, [])


def test_a_late_answer_about_the_history_changes_nothing() -> None:
    bench = kept()
    selection, sends = begin(bench, Wanted(version=1), Wanted(version=2))
    first = sends[0]
    for _ in range(3):
        selection, more = selections.step(selection, Heard(sends[0], bench.apply(sends[0].node, sends[0].message)))
        sends = sends[1:] + more
    assert selection.picks
    assert selections.step(selection, Heard(first, bench.apply("n1", first.message))) == (selection, [])


def test_a_provisional_record_is_looked_up_and_never_decided_by_who_only_reads() -> None:  # PROTO-14
    bench = Bench()
    member = cut_of(header_of(1, group="g"))
    for node in bench.names:
        bench.registers[node, SECRET] = Register(ballot(1), records=(held(member, node),))
    decision = group_register("g")

    def settle(group: str) -> tuple[Proposal, list[Send]]:
        raise AssertionError(f"a reader must not decide {group}")

    def look(group: str) -> tuple[Reading, list[Send]]:
        return bench.read(Wanted(reveal=False, decision=True), secret=decision)

    session = Session(settle, look)
    task, posts = session.open(*begin(bench, Wanted(version=1), Wanted(at=1)))
    while posts:
        post = posts.pop(0)
        posts += session.step(post.task, Heard(post.send, bench.apply(post.send.node, post.send.message, post.send.secret)))
    assert session.machine(task).outcome == (Failed("secret_not_found", names=(SECRET.name,)),) * 2
