"""What a proposal makes of an earlier attempt under the same idempotency key (SEM-20 to SEM-22)."""

from __future__ import annotations

from proposal_scenes import code, created, done, heard, torn
from scenes import SECRET, Bench, retry, to, without

from model import proposal as proposals
from model.intent import RETRY_MS, Intent
from model.machine import Heard, PatienceOver, Send
from model.message import Confirm, Erase, Locked
from model.operation import Deleted, Failed, Result, Version, Written
from model.proposal import Phase, Proposal
from model.quorum import Quorum


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


def test_a_retried_delete_lets_go_of_the_secret_when_it_has_ended() -> None:  # PROTO-4
    bench = created()
    intent = Intent("delete", 200, retry=retry("key"))
    done(bench, intent, reaches=without(Erase))
    done(bench, intent, "n2")
    assert [bench.register(node).lease for node in bench.names] == [None] * 3


def test_an_own_attempt_in_doubt_is_waited_for_and_then_reported_as_unknown() -> None:  # SEM-21
    bench = Bench()
    intent = Intent("create", 100, b"one", retry=retry("key"))
    torn(bench, intent, "n1")
    assert done(bench, intent, reaches=to("n1", "n2")).outcome == Failed("writing_failed", names=(SECRET.name,))


def test_while_others_hold_the_secret_what_cannot_be_compared_may_be_asked_again() -> None:  # SEM-20
    bench = Bench(Quorum(5, 3))
    intent = Intent("create", 100, b"one", retry=retry("key"))
    assert isinstance(done(bench, intent, reaches=to("n1", "n2", "n4")).outcome, Written)
    bench.now_ms += 5000
    machine, votes = bench.propose(intent)
    machine, _ = heard(machine, bench, *votes[:2])
    for busy in votes[3:]:
        machine, _ = proposals.step(machine, Heard(busy, Locked(5)))
    machine, _ = heard(machine, bench, votes[2])
    assert machine.outcome == Failed("voting_failed", names=(SECRET.name,), retry_ms=RETRY_MS)


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
    assert machine.outcome == Failed("writing_failed", names=(SECRET.name,), retry_ms=RETRY_MS)


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


def deleted_in_doubt() -> Bench:
    """The tombstone of what was ``buried`` says that an attempt may have been made or not."""
    bench, machine, _ = buried()
    machine, sends = proposals.step(machine, PatienceOver())
    assert isinstance(bench.run(machine, sends).outcome, Deleted)
    return bench


def test_a_retry_of_an_attempt_that_was_deleted_in_doubt_stays_in_doubt() -> None:  # SEM-22
    bench = deleted_in_doubt()
    assert code(done(bench, Intent("update", 500, b"two", retry=retry("key")), "n2").outcome) == "writing_failed"
    assert done(bench, Intent("create", 600, b"new")).outcome == Written((Version(1, 600),))
    assert code(done(bench, Intent("update", 700, b"two", retry=retry("key")), "n2").outcome) == "writing_failed"


def test_an_attempt_that_was_deleted_in_doubt_delays_no_create() -> None:  # SEM-22
    bench = deleted_in_doubt()
    machine, votes = bench.propose(Intent("create", 600, b"new"))
    machine, writes = heard(machine, bench, *votes[:2])
    assert (machine.phase, len(writes)) == (Phase.WRITING, 3)


def test_a_delete_that_has_heard_everybody_waits_no_longer_and_keeps_the_doubt() -> None:  # SEM-22
    bench = deleted_in_doubt()
    done(bench, Intent("create", 600, b"new"))
    machine, votes = bench.propose(Intent("delete", 700))
    machine, writes = heard(machine, bench, *votes)
    assert isinstance(bench.run(machine, writes).outcome, Deleted)
    assert code(done(bench, Intent("update", 800, b"two", retry=retry("key")), "n2").outcome) == "writing_failed"


def test_a_key_used_for_something_else_is_told_at_once_whoever_is_slow() -> None:  # SEM-20
    bench = Bench()
    done(bench, Intent("create", 100, b"one", retry=retry("key")))
    machine, votes = bench.propose(Intent("create", 200, b"two", retry=retry("key")))
    machine, _ = heard(machine, bench, *votes[:2])
    assert machine.outcome == Failed("idempotency_key_reused", names=(SECRET.name,))
