"""What is on the road: what of it is dropped, and what nodes can come to hold by messages to which nobody listens.

Both are reductions; ``exploration_world`` says why nothing is left out with them.
"""

from __future__ import annotations

from collections.abc import Iterator

from exploration_machines import Machines
from exploration_parts import Item, State, put

from model.message import Confirm, Erase, Message, Query, Repair, Void, Vote, Write
from model.record import Register

ASKING = (Vote, Query)


class Road:
    """The road of one case. ``one_by_one``: messages to which nobody listens are not grouped."""

    def __init__(self, machines: Machines, *, one_by_one: bool) -> None:
        self.machines = machines
        self.one_by_one = one_by_one
        self._dead: dict[tuple[int, int], bool] = {}
        self._orphans: dict[int, int] = {}
        self._flushed: dict[tuple[int, tuple[int, ...], int], tuple[tuple[int, frozenset[int], int, int], ...]] = {}

    def settled(self, state: State, road: frozenset[int]) -> State:
        """The state with ``road``, less what can make no difference."""
        kept = set()
        for number in road:
            job = self.machines.items[number].job
            kind = number
            if job >= 0 and not self._is_awaited(state.jobs[job], number):
                kind = self._orphan(number)
            if kind and not (self.is_unheard(kind) and self._is_dead(state.registers[self.machines.place(kind)], kind)):
                kept.add(kind)
        return state._replace(road=tuple(sorted(kept)))

    def is_unheard(self, number: int) -> bool:
        """Whether nobody listens for a reply to an item."""
        return self.machines.items[number].job < 0

    def after_unheard(self, state: State, *places: int) -> Iterator[State]:
        """The state, and what it can become when the nodes at these places take messages to which nobody listens."""
        if not places or self.one_by_one:
            yield state
            return
        for after in self.after_unheard(state, *places[1:]):
            mine = tuple(number for number in after.road if self.is_unheard(number) and self.machines.place(number) == places[0])
            if not mine or after.is_blank(places[0] % len(self.machines.nodes)):
                yield after
                continue
            for register, rest, ledger, doubled in self._unheard(after.registers[places[0]], mine, after.left.doubled):
                road = frozenset(after.road) - frozenset(mine) | rest
                taken = after._replace(registers=put(after.registers, places[0], register), ledger=after.ledger | ledger)
                yield self.settled(taken._replace(left=after.left._replace(doubled=doubled)), road) if rest != frozenset(mine) else after

    def _unheard(self, register: int, mine: tuple[int, ...], doubled: int) -> tuple[tuple[int, frozenset[int], int, int], ...]:
        """What becomes of a register, of the messages for it, of the ledger and the faults left, when it takes any of them in any order."""
        key = register, mine, doubled
        if key not in self._flushed:
            found = {(register, frozenset(mine), 0, doubled): None}
            waiting = list(found)
            while waiting:
                now, rest, ledger, left = waiting.pop()
                for number in sorted(rest):
                    after, reply = self.machines.take(now, number)
                    if after == now:
                        continue
                    more = ledger | self.machines.accepted(number, reply)
                    for each in [(after, rest - {number}, more, left), *([(after, rest, more, left - 1)] if left else [])]:
                        if each not in found:
                            found[each] = None
                            waiting.append(each)
            self._flushed[key] = tuple(found)
        return self._flushed[key]

    def _is_awaited(self, actor: int, number: int) -> bool:
        if actor <= 0:
            return False
        item = self.machines.items[number]
        return self.machines.hear(actor, number, item.reply if item.back else None).job != actor

    def _orphan(self, number: int) -> int:
        """The same message with nobody who listens; 0 if it then does nothing."""
        if number not in self._orphans:
            item = self.machines.items[number]
            useless = item.back or isinstance(item.send.message, ASKING)
            self._orphans[number] = 0 if useless else self.machines.item(Item(-1, 0, item.send))
        return self._orphans[number]

    def _is_dead(self, register: int, number: int) -> bool:
        key = register, number
        if key not in self._dead:
            unchanged = self.machines.take(register, number)[0] == register
            self._dead[key] = unchanged and _is_past(self.machines.registers[register], self.machines.items[number].send.message)
        return self._dead[key]


def _is_past(register: Register, message: Message) -> bool:
    """Whether what a node has promised, erased or marked, all of which only rise, stands against a message for good."""
    match message:
        case Write():
            return message.ballot < register.promised or message.header.tag < register.erased
        case Confirm():
            held = register.held(message.tag)
            return message.tag < register.erased or (held is not None and held.chosen)
        case Void():
            return message.ballot <= register.promised
        case Repair():
            return message.header.tag < register.erased
        case Erase():
            return message.header.tag <= register.erased
    return False
