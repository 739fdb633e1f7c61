"""What can happen in a small cluster of real machines: every step from one state to the next.

A state is a tuple of numbers; what becomes of the single machine is told by ``exploration_machines``, what is still on its way by
``exploration_road``.

What is left out, and why nothing worse is left out with it:

- *A node takes a message and its sender hears the reply* is one step. What the sender would send later it sends earlier, but that can
  be taken later; an answer given earlier demands more of the history. What this cannot show, replies that come in another order
  than they were given, are the ``late`` faults.
- *A job begins when its first message is taken*: an earlier beginning demands less of the history.
- *Anything may stay on the road for ever*, so silent losses, and coordinators that stop anywhere, are in every exploration. A ``lost``
  message is one whose sender is told, a ``stopped`` job one whose client goes on to its next.
- *Messages to which nobody listens* (marks, erasures, repairs, what an ended job sent) are taken right before something else happens at
  the same node, or not yet: they touch that node alone, so they commute with whatever happens elsewhere. What nodes can hold by
  them at any moment is checked all the same (``afterwards``), and a test compares with taking them one by one.
- *A delivery that changes neither the register nor a machine* is left out: the message could as well stay on the road.
- *What can make no difference any more is dropped*: a vote or query for which nobody waits (a promise that nobody counts only makes a
  node refuse more), and what lies below a node's promise or erasure, which only rise, if taking it would change nothing.
- *Leases last no time*: nothing rests on them, they only refuse. Without them a restart with the disk changes nothing but
  the machines of that node, which are stopped one by one, and a ``Release`` has no effect.
- *Patience ends* only where that makes a machine go on.
- *A node that recovers is silent*; messages for its lost store are refused, so they are dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from exploration_machines import Machines, Moved
from exploration_parts import Case, Rejoin, State, put
from exploration_restoring import Restored
from exploration_road import ASKING, Road

from model.machine import Event
from model.message import Reply
from model.record import Register

NEVER_TOLD = 1
"""The result of a job whose client was never told one."""


class Label(NamedTuple):
    """A step, for people: what happens, to what."""

    what: str
    number: int = 0


Step = tuple[Label, State]


class World:
    """One case. ``steps`` are all the states that follow from one.

    ``one_by_one``: a message to which nobody listens is a step of its own. That gives the same in many more states, and is for the
    tests of ``exploration_road``.
    """

    def __init__(self, case: Case, *, one_by_one: bool = False) -> None:
        self.case = case
        self.machines = Machines(case)
        self.road = Road(self.machines, one_by_one=one_by_one)

    def first(self) -> State:
        """Empty registers, nothing begun, before the past."""
        machines = self.machines
        empty, none = machines.register(Register()), (0,) * len(machines.jobs)
        return State((empty,) * (len(machines.nodes) * len(machines.secrets)), none, none, (), 0, 0, self.case.faults)

    def steps(self, state: State) -> Iterator[Step]:
        """Every step from ``state`` that changes something."""
        for number in state.road:
            yield from self._arrivals(state, number)
        for number in range(len(self.machines.jobs)):
            yield from self._turns(state, number)

    def afterwards(self, state: State) -> Iterator[State]:
        """The state, and all that can become of it by messages to which nobody listens."""
        places = {self.machines.place(number) for number in state.road if self.road.is_unheard(number)}
        return self.road.after_unheard(state, *sorted(places))

    def begin(self, state: State, number: int) -> State:
        """Job ``number`` has begun; its first messages are on the road. Nothing of them was taken yet."""
        actor, items = self.machines.begin(number, state.registers)
        ended = sum(1 << other for other, each in enumerate(state.jobs) if each < 0)
        return state._replace(
            jobs=put(state.jobs, number, actor),
            before=put(state.before, number, ended),
            road=tuple(sorted({*state.road, *items})),
        )

    def take(self, state: State, number: int, road: frozenset[int], *, late: bool = False) -> State | None:
        """A node takes a message; its sender hears the reply, unless that is late. None if nothing changes or may not."""
        machines = self.machines
        item, place = machines.items[number], machines.place(number)
        after, reply_number = machines.take(state.registers[place], number)
        reply = machines.replies[reply_number]
        ledger = state.ledger | machines.accepted(number, reply_number)
        taken = state._replace(registers=put(state.registers, place, after), ledger=ledger)
        if item.job < 0:
            return self.road.settled(taken, road)
        if late:
            return self.road.settled(taken, road | {machines.item(item._replace(back=True, reply=reply))})
        return self.hear(taken, number, reply, road)

    def hear(self, state: State, number: int, reply: Reply | None, road: frozenset[int]) -> State | None:
        """The sender of a message hears its reply, None: that none will come."""
        job = self.machines.items[number].job
        return self._move(state, job, self.machines.hear(state.jobs[job], number, reply), road)

    def end(self, state: State, job: int, event: Event) -> State:
        """A job hears that its patience or its time is over; the state as it is if it must not go on."""
        moved = self.machines.move(job, state.jobs[job], 0, event)
        return self._move(state, job, moved, frozenset(state.road)) or state

    def told(self, label: Label) -> str:
        """A step in words."""
        if label.what in ("patience over", "stop", "lose disk"):
            return f"{label.what}: {self.machines.jobs[label.number]}"
        item = self.machines.items[label.number]
        whose = f"job {item.job + 1}" if item.job >= 0 else "nobody's"
        return f"{label.what}: {whose} {item.send.message} at {item.send.node}" + (f" -> {item.reply}" if item.back else "")

    # the inside

    def _arrivals(self, state: State, number: int) -> Iterator[Step]:
        """What is on the road arrives, or is lost with notice."""
        item, road = self.machines.items[number], frozenset(state.road) - {number}
        if item.job < 0:
            if self.road.one_by_one:
                yield from self._takings("take", state, number)
        elif item.back:
            yield from _step("late", number, self.hear(state, number, item.reply, road))
        else:
            yield from self._takings("take", state, number)
            if state.left.lost:
                yield from _step("lose", number, self.hear(state.less("lost"), number, None, road))

    def _turns(self, state: State, number: int) -> Iterator[Step]:
        """A job begins, loses patience or is stopped, or its node's disk is lost."""
        job, left, road = self.machines.jobs[number], state.left, frozenset(state.road)
        if state.jobs[number] == 0:
            yield from self._beginnings(state, number)
        if state.jobs[number] > 0:
            for moved in self.machines.impatience(number, state.jobs[number]):
                yield from _step("patience over", number, self._move(state, number, moved, road))
            if left.stopped:
                yield from _step("stop", number, self._move(state.less("stopped"), number, Moved(-NEVER_TOLD, (), 0), road))
        node = self.machines.nodes.index(job.node)
        if left.disks and isinstance(job.task, Rejoin) and state.jobs[number] == 0 and not state.is_blank(node):
            for ready in self.road.after_unheard(state, *self._places(node)):
                yield Label("lose disk", number), self._lose_disk(ready.less("disks"), node)

    def _takings(self, what: str, state: State, number: int) -> Iterator[Step]:
        """A node takes a message, perhaps after others to which nobody listens."""
        item = self.machines.items[number]
        if state.is_blank(self.machines.node(number)):
            return
        for ready in self.road.after_unheard(state, self.machines.place(number)):
            road = frozenset(ready.road) - {number}
            yield from _step(what, number, self.take(ready, number, road))
            if ready.left.doubled and not isinstance(item.send.message, ASKING):
                yield from _step(f"{what}, again to come", number, self.take(ready.less("doubled"), number, road | {number}))
            if state.left.late and item.job >= 0:
                yield from _step(f"{what}, reply late", number, self.take(ready.less("late"), number, road, late=True))

    def _beginnings(self, state: State, number: int) -> Iterator[Step]:
        """A job begins, and its first message is taken or lost."""
        job = self.machines.jobs[number]
        node = self.machines.nodes.index(job.node)
        if isinstance(job.task, Rejoin) != state.is_blank(node):
            return
        if job.after is not None and state.jobs[len(self.case.past) + job.after] >= 0:
            return
        for ready in self.road.after_unheard(state, *self._places(node)):
            opened = self.begin(ready, number)
            for item in sorted(set(opened.road) - set(ready.road)):
                yield from self._takings("begin", opened, item)
                if state.left.lost:
                    road = frozenset(opened.road) - {item}
                    yield from _step("begin", number, self.hear(opened.less("lost"), item, None, road))

    def _move(self, state: State, job: int, moved: Moved, road: frozenset[int]) -> State | None:
        if moved.rounds > state.left.rounds:
            return None
        left = state.left._replace(rounds=state.left.rounds - moved.rounds)
        state = state._replace(jobs=put(state.jobs, job, moved.job), left=left)
        result = self.machines.results[-moved.job] if moved.job < 0 else None
        if isinstance(result, Restored):
            state = self._install(state, self.machines.jobs[job].node, result)
        return self.road.settled(state, road | set(moved.items))

    def _places(self, node: int) -> range:
        """Where the registers of a node are."""
        return range(node, len(self.machines.nodes) * len(self.machines.secrets), len(self.machines.nodes))

    def _lose_disk(self, state: State, node: int) -> State:
        machines = self.machines
        registers = list(state.registers)
        for place in self._places(node):
            registers[place] = machines.register(Register())
        mine = {number for number, job in enumerate(machines.jobs) if job.node == machines.nodes[node]}
        jobs = tuple(-NEVER_TOLD if number in mine and each > 0 else each for number, each in enumerate(state.jobs))
        road = frozenset(number for number in state.road if machines.items[number].back or machines.node(number) != node)
        return self.road.settled(state._replace(registers=tuple(registers), jobs=jobs, blank=state.blank | 1 << node), road)

    def _install(self, state: State, name: str, restored: Restored) -> State:
        """What a node found on the others goes to its new store, in one transaction; then it serves."""
        node = self.machines.nodes.index(name)
        register = self.machines.install(name, restored)
        return state._replace(registers=put(state.registers, node, register), blank=state.blank & ~(1 << node))


def _step(what: str, number: int, after: State | None) -> Iterator[Step]:
    if after is not None:
        yield Label(what, number), after
