"""Readings of what was written on a bench, and the ways in which they fail."""

from __future__ import annotations

from scenes import SECRET, Bench, Reaches

from model import reading as readings
from model.intent import RETRY_MS, Intent, Wanted
from model.machine import Heard, Send
from model.operation import Failed
from model.proposal import Proposal
from model.quorum import Quorum
from model.reading import Reading

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


def heard(machine: Reading, bench: Bench, *sends: Send) -> tuple[Reading, list[Send]]:
    """These messages arrive and are answered; what follows from them is sent nowhere yet."""
    following: list[Send] = []
    for send in sends:
        machine, more = readings.step(machine, Heard(send, bench.apply(send.node, send.message)))
        following += more
    return machine, following
