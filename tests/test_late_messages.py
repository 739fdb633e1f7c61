"""Scenarios of many steps in which something late, or somebody who was away, must change nothing that was shown or told before."""

from __future__ import annotations

from scenes import Bench, Machine, retry, step, to

from model.intent import Intent, Wanted
from model.machine import Heard, PatienceOver, Send, TimeUp
from model.message import Query, Void, Vote, Write
from model.operation import Versions, Written
from model.proposal import Proposal
from model.quorum import Quorum
from model.record import RETRY_KEPT_US

KEY = retry("key")
AFTER_LEASES_MS = 5000


class Late(Bench):
    """Six nodes, of which three are needed. Whoever is not named by its number is silent, and every Void is late."""

    def __init__(self) -> None:
        super().__init__(Quorum(6, 3))
        self.late: list[Send] = []

    def go(self, machine: Machine, sends: list[Send], *, votes: str = "123456", writes: str = "123456", marks: str = "123456") -> object:
        """A machine to its end; its outcome."""
        self.now_ms += AFTER_LEASES_MS
        while machine.outcome is None or sends:
            for send in [sends.pop(0) for _ in range(len(sends))]:
                message = send.message
                if isinstance(message, Void):
                    self.late.append(send)
                elif send.node[1:] in (votes if isinstance(message, Vote | Query) else writes if isinstance(message, Write) else marks):
                    machine, more = step(machine, Heard(send, self.apply(send.node, message)))
                    sends += more
            for event in (PatienceOver(), TimeUp()):
                if not sends and machine.outcome is None:
                    machine, sends = step(machine, event)
        return machine.outcome

    def keyed(self, me: str) -> tuple[Proposal, list[Send]]:
        return self.propose(Intent("update", 2000, b"x", retry=KEY), me)

    def history(self) -> object:
        self.go(*self.read(Wanted(history=True, reveal=False), "n6"))  # it may have to fence first
        return self.go(*self.read(Wanted(history=True, reveal=False), "n6"))


def test_a_late_void_takes_nothing_away_that_a_history_has_shown() -> None:  # PROTO-6, PROTO-9
    bench = Late()
    bench.go(*bench.propose(Intent("create", 1000, b"one")))
    bench.go(*bench.keyed("n1"), writes="123", marks="")  # three of the four that it needs
    bench.go(*bench.propose(Intent("settle"), "n4"))  # all six vote: it is void
    bench.go(*bench.propose(Intent("settle"), "n4"), votes="1234", writes="4", marks="")  # in doubt once more, and written again to one
    bench.go(*bench.propose(Intent("update", 2500, b"y"), "n6"), votes="3456", writes="3456", marks="3456")  # stands on it
    shown, told = bench.history(), bench.go(*bench.keyed("n6"), marks="")
    assert isinstance(shown, Versions)
    assert [each.version for each in shown.versions] == [1, 2, 3]
    assert isinstance(told, Written)
    for send in bench.late:
        bench.apply(send.node, send.message)
    assert bench.history() == shown
    assert bench.go(*bench.keyed("n6")) == told


def test_a_key_used_anew_after_it_was_forgotten_gets_its_newest_outcome() -> None:  # SEM-22
    bench = Bench(Quorum(4, 2))

    def do(intent: Intent, me: str = "n1", reached: tuple[str, ...] = ("n1", "n2", "n3", "n4")) -> object:
        bench.now_ms += AFTER_LEASES_MS
        return bench.run(*bench.propose(intent, me), to(*reached)).outcome

    do(Intent("create", 1000, b"one", retry=KEY))
    do(Intent("delete", 2000))
    do(Intent("create", 3000, b"two"))
    do(Intent("delete", RETRY_KEPT_US + 5000), reached=("n1", "n2", "n3"))  # n4 does not hear that the key is forgotten
    first = do(Intent("create", RETRY_KEPT_US + 6000, b"three", retry=KEY), reached=("n1", "n2", "n3"))
    assert isinstance(first, Written)
    assert first.versions[0].valid_from == RETRY_KEPT_US + 6000
    assert do(Intent("create", RETRY_KEPT_US + 7000, b"three", retry=KEY), "n2", ("n2", "n3", "n4")) == first
