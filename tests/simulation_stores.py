"""What the store of a simulated node does with a message: load as far as it reaches, step, write back. ``node.store`` in short."""

from __future__ import annotations

import fencing
from simulation_parts import Node

from model import participant
from model.message import Change, ChangePage, ChangesAfter, Fence, Message, Noted, Query, Reply
from model.operation import SecretId
from model.record import ZERO, Header, Register


def takes(node: Node, message: Message, store: int | None) -> bool:
    """Whether a node does what a message asks: not for another store, not while it recovers, not what its disk refuses."""
    if not node.serving or store not in (None, node.store):
        return False
    return not node.full or isinstance(message, Query | ChangesAfter)


def apply(node: Node, secret: SecretId, message: Message, now_ms: int) -> Reply:
    """Carry out a message and keep what becomes of the register. ``now_ms``: the true time, from which the node's clock may differ."""
    match message:
        case Fence():
            node.floor = max(node.floor, message.counter)
            return Noted(True)
        case ChangesAfter():
            counters = [register.promised.counter for register in node.registers.values()]
            changes = tuple(Change(each, ZERO) for each, register in node.registers.items() if register.records)
            return ChangePage(changes, 1, max([node.floor, *counters]), more=False)
    register = node.registers.get(secret, Register())
    if node.floor:
        register = fencing.fenced(register, node.floor)
    part = _loaded(register, message)
    after, reply = participant.step(participant.Seat(secret, node.name), part, message, now_ms + node.ahead_ms)
    untouched = [held for held in register.records if held not in part.records]
    records = tuple(sorted([*untouched, *after.records], key=lambda held: (held.header.sequence, held.header.tag)))
    node.registers[secret] = Register(after.promised, after.erased, records, after.lease)
    return reply


def _loaded(register: Register, message: Message) -> Register:
    """As much of a register as ``participant.reach`` demands, and no more."""
    wanted = participant.reach(message)
    first = participant.newest_chosen(register.records)
    records = tuple(
        held
        for index, held in enumerate(register.records)
        if index >= first or wanted.everything or held.header.tag == wanted.tag or _carries(held.header, wanted.retry_key)
    )
    return Register(register.promised, register.erased, records, register.lease)


def _carries(header: Header, retry_key: bytes | None) -> bool:
    own = [header.retry.key] if header.retry is not None else []
    return retry_key in [*own, *(entry.retry.key for entry in header.buried)]
