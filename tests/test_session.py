"""Machines at work together, and the groups they wait for (PROTO-14)."""

from __future__ import annotations

from scenes import ONE_WAY, SECRET, Bench, Reaches, ballot, cut_of, header_of, held

from model.intent import RETRY_MS, Intent, Wanted
from model.machine import Heard, Resolved, Send, TimeUp
from model.message import Vote
from model.operation import Failed, Found, Version, Written
from model.proposal import Proposal
from model.reading import Reading
from model.record import Register, group_register
from model.session import Post, Session, Task

DECISION = group_register("g")


def session(bench: Bench) -> Session:
    """As a coordinator at n1 has it."""

    def settle(group: str) -> tuple[Proposal, list[Send]]:
        return bench.propose(Intent("decide"), secret=group_register(group))

    def look(group: str) -> tuple[Reading, list[Send]]:
        return bench.read(Wanted(reveal=False, decision=True), secret=group_register(group))

    return Session(settle, look)


def drive(bench: Bench, running: Session, posts: list[Post], reaches: Reaches = lambda _: True) -> None:
    waiting = list(posts)
    while waiting:
        post = waiting.pop(0)
        send = post.send
        reply = bench.apply(send.node, send.message, send.secret) if reaches(send) else None
        if not isinstance(send.message, ONE_WAY):
            waiting += running.step(post.task, Heard(send, reply))


def provisional(bench: Bench) -> None:
    member = cut_of(header_of(1, group="g"))
    for node in bench.names:
        bench.registers[node, SECRET] = Register(ballot(1), records=(held(member, node),))


def outcomes(running: Session, *tasks: Task) -> list[object]:
    return [running.machine(task).outcome for task in tasks]


def test_replies_go_to_the_machine_that_waits_for_them() -> None:
    bench = Bench()
    running = session(bench)
    first, posts = running.open(*bench.propose(Intent("create", 100, b"one")))
    second, more = running.open(*bench.read(secret=group_register("unused")))
    assert running.unfinished() == [first, second]
    drive(bench, running, posts + more)
    assert isinstance(running.machine(first).outcome, Written)
    assert running.unfinished() == []
    assert running.step(first, TimeUp()) == []


def test_a_writer_has_an_undecided_group_aborted_first() -> None:
    bench = Bench()
    provisional(bench)
    running = session(bench)
    task, posts = running.open(*bench.propose(Intent("create", 200, b"two")))
    drive(bench, running, posts)
    assert outcomes(running, task) == [Written((Version(1, 200),))]
    assert bench.register("n1", DECISION).records[-1].chosen


def test_a_reader_only_looks_and_takes_an_undecided_group_for_not_committed_yet() -> None:
    bench = Bench()
    provisional(bench)
    running = session(bench)
    task, posts = running.open(*bench.read())
    drive(bench, running, posts)
    assert outcomes(running, task) == [Failed("secret_not_found", names=(SECRET.name,))]
    assert bench.register("n1", DECISION).records == ()


def test_machines_that_wait_for_the_same_group_share_one_resolution() -> None:
    bench = Bench()
    provisional(bench)
    running = session(bench)
    tasks, posts = [], list[Post]()
    for _ in range(2):
        task, more = running.open(*bench.read())
        tasks.append(task)
        posts += more
    drive(bench, running, posts)
    assert outcomes(running, *tasks) == [Failed("secret_not_found", names=(SECRET.name,))] * 2
    assert isinstance(running.machine(2), Reading)
    assert running.unfinished() == []


def test_a_committed_group_is_read() -> None:
    bench = Bench()
    done = bench.run(*bench.group("db/password", "b"), lambda send: not isinstance(send.message, ONE_WAY))
    assert isinstance(done.outcome, Written)
    running = session(bench)
    task, posts = running.open(*bench.read())
    drive(bench, running, posts)
    assert outcomes(running, task) == [Found(Version(1, 5000), b"db/password", "utf-8")]


def test_a_group_that_others_are_at_work_on_makes_its_waiters_ask_again() -> None:
    bench = Bench()
    provisional(bench)
    for node in bench.names:
        bench.apply(node, Vote(ballot(9, "n3"), 1000), DECISION)
    running = session(bench)
    writer, posts = running.open(*bench.propose(Intent("create", 200, b"two")))
    drive(bench, running, posts)
    assert outcomes(running, writer) == [Failed("write_conflict", names=(SECRET.name,), retry_ms=RETRY_MS)]


def test_a_group_that_cannot_be_looked_up_leaves_its_waiters_without_an_answer() -> None:
    bench = Bench()
    provisional(bench)
    running = session(bench)
    writer, posts = running.open(*bench.propose(Intent("create", 200, b"two")))
    reader, more = running.open(*bench.read())
    drive(bench, running, posts + more, lambda send: send.secret != DECISION)
    assert [getattr(outcome, "code", None) for outcome in outcomes(running, writer, reader)] == ["voting_failed", "unavailable"]


def test_a_group_waits_for_the_groups_that_its_members_meet() -> None:
    bench = Bench()
    provisional(bench)
    running = session(bench)
    task, posts = running.open(*bench.group("db/password", "b", group="h"))
    drive(bench, running, posts)
    assert isinstance(running.machine(task).outcome, Written)
    assert running.step(task, Resolved("g", True)) == []
