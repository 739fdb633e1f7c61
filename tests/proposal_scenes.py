"""Proposals that are run on a bench, and what came of them."""

from __future__ import annotations

from scenes import SECRET, Bench, Reaches, without

from model import proposal as proposals
from model.intent import Intent
from model.machine import Heard, Send
from model.message import Write
from model.operation import Failed, Written
from model.proposal import Proposal
from model.quorum import Quorum


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


def heard(machine: Proposal, bench: Bench, *sends: Send) -> tuple[Proposal, list[Send]]:
    """These messages arrive and are answered; what follows from them is sent nowhere yet."""
    following: list[Send] = []
    for send in sends:
        machine, more = proposals.step(machine, Heard(send, bench.apply(send.node, send.message, send.secret)))
        following += more
    return machine, following
