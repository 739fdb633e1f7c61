"""Groups of creates that are run on a bench, and what came of them."""

from __future__ import annotations

from scenes import Bench, Reaches

from model.group import Group
from model.machine import Send
from model.message import Write
from model.operation import Failed, SecretId
from model.record import Kind, group_register

A, B = SecretId("default", "a"), SecretId("default", "b")
DECISION = group_register("g")


def done(bench: Bench, machine: Group, sends: list[Send], reaches: Reaches = lambda _: True) -> Group:
    after = bench.run(machine, sends, reaches)
    assert isinstance(after, Group)
    return after


def code(machine: Group) -> tuple[str, tuple[str, ...]]:
    assert isinstance(machine.outcome, Failed)
    return machine.outcome.code, machine.outcome.names


def lost_writes(*secrets: SecretId) -> Reaches:
    return lambda send: not (isinstance(send.message, Write) and send.secret in secrets)


def decision_at(bench: Bench, node: str = "n1") -> Kind | None:
    records = bench.register(node, DECISION).records
    return records[-1].header.kind if records else None
