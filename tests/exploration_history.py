"""The past of a case, played before its exploration, and what its clients were told, as a history that can be judged."""

from __future__ import annotations

from typing import cast

from exploration_parts import Faults, Past, State
from exploration_world import World
from histories import NOTHING, UNKNOWN
from linearizability import Call

from model.machine import PatienceOver, TimeUp
from model.message import Query, Vote, Write
from model.operation import Create, Delete, Failed, History, Operation, Read, Result, Update

WRITES = (Create, Update, Delete)
MANY = 99
OPERATIONS = (*WRITES, Read, History)


def after_past(world: World) -> State:
    """The state in which the exploration begins: every job of the past is over, in order."""
    state = world.first()._replace(left=Faults(rounds=MANY))
    for number, past in enumerate(world.case.past):
        state = _played(world, state, number, past)
    return state._replace(left=world.case.faults)


def _played(world: World, state: State, number: int, past: Past) -> State:
    earlier = frozenset(state.road)
    state = world.begin(state, number)
    while state.jobs[number] > 0:
        ready = [item for item in state.road if world.machines.items[item].job == number and _reaches(world, past, item)]
        if ready:
            state = _sure(world.take(state, ready[0], frozenset(state.road) - {ready[0]}))
        else:
            later = world.end(state, number, PatienceOver())
            state = later if later != state else world.end(state, number, TimeUp())
    for item in sorted(set(state.road) - earlier):
        if item in state.road and _reaches(world, past, item):
            state = world.take(state, item, frozenset(state.road) - {item}) or state
    return state if past.late else state._replace(road=tuple(item for item in state.road if item in earlier))


def _reaches(world: World, past: Past, item: int) -> bool:
    send = world.machines.items[item].send
    allowed = past.votes if isinstance(send.message, Vote | Query) else past.writes if isinstance(send.message, Write) else past.marks
    return send.node[1:] in allowed


def _sure(state: State | None) -> State:
    assert state is not None, "nothing forbids a step of the past"
    return state


def calls(world: World, state: State) -> list[Call]:
    """What the clients asked, when as far as it matters, and what they were told. What promises that nothing happened is left out."""
    past = len(world.case.past)
    eras = sorted({mask.bit_count() for mask in state.before})
    found = []
    for number, job in enumerate(world.machines.jobs):
        stands = state.jobs[number]
        if stands == 0 or not isinstance(job.task, OPERATIONS):
            continue
        invoked = 2 * eras.index(state.before[number].bit_count()) + 1 if number >= past else 2 * (number - past)
        returned = invoked + 1 if number < past else _returned(state, number, eras)
        call = _call(job.task, invoked, returned, _told(world, stands))
        if call is not None:
            found.append(call)
    return found


def _returned(state: State, number: int, eras: list[int]) -> int:
    """Between the beginnings of those that began before it had ended and those that began after."""
    later = [mask.bit_count() for mask in state.before if mask >> number & 1]
    return 2 * (eras.index(min(later)) if later else len(eras))


def _told(world: World, stands: int) -> Result | None:
    return cast("Result | None", world.machines.results[-stands]) if stands < 0 else None


def _call(operation: Operation, invoked: int, returned: int, result: Result | None) -> Call | None:
    if isinstance(result, Failed) and result.code in NOTHING:
        return None
    if result is None or (isinstance(result, Failed) and result.code in UNKNOWN):
        return Call(operation, invoked) if isinstance(operation, WRITES) else None
    return Call(operation, invoked, returned, result)
