"""What can happen in a small cluster of real machines: every step from one state to the next.

The machines are pure, so what becomes of one pair of machine and event is computed once and remembered; a state is a tuple of numbers.

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

import fencing
import msgspec
from exploration_actors import Actor, begun, group_of, names, outcome, shape, stepped, tasks, text
from exploration_parts import Case, Item, Job, Mend, Rejoin, Settle, State, Table, encode
from exploration_restoring import FLOOR, Restored

from model import participant
from model.machine import Event, Heard, PatienceOver
from model.message import Accepted, Confirm, Erase, Fence, Message, Noted, Query, Release, Repair, Reply, Void, Vote, Write
from model.operation import Create, Delete, History, Read, SecretId, Update
from model.participant import Seat
from model.record import Ballot, Header, Register, group_register
from model.session import Post

_replace = msgspec.structs.replace
ONE_WAY = (Confirm, Void)
ASKING = (Vote, Query)
NEVER_TOLD = 1
"""The result of a job whose client was never told one."""


class Moved(NamedTuple):
    """An actor after an event: its number, or minus its result; what it sends; how many rounds of votes it opened anew."""

    job: int
    items: tuple[int, ...]
    rounds: int


class Acceptance(NamedTuple):
    """That a node once accepted a record under a ballot."""

    secret: int
    header: Header
    ballot: Ballot
    node: str


class Label(NamedTuple):
    """A step, for people: what happens, to what."""

    what: str
    number: int = 0


Step = tuple[Label, State]


class World:
    """One case. ``steps`` are all the states that follow from one.

    ``one_by_one``: a message to which nobody listens is a step of its own. That gives the same in many more states, and is for the
    tests of this module.
    """

    def __init__(self, case: Case, *, one_by_one: bool = False) -> None:
        self.case = case
        self._one_by_one = one_by_one
        self.jobs = (*(Job(each.node, each.task) for each in case.past), *case.jobs)
        self.nodes = names(case)
        self.secrets = _secrets(self.jobs)
        self.registers: Table[Register] = Table()
        self.actors: Table[Actor] = Table()
        self.items: Table[Item] = Table()
        self.replies: Table[Reply] = Table()
        self.results: Table[msgspec.Struct | None] = Table()
        self.ledger: Table[Acceptance] = Table()
        self.results.number(None, None)
        self._taken: dict[tuple[int, int], tuple[int, int]] = {}
        self._moved: dict[tuple[int, int, int], Moved] = {}
        self._begun: dict[tuple[int, tuple[int, ...]], tuple[int, tuple[int, ...]]] = {}
        self._impatient: dict[int, tuple[Moved, ...]] = {}
        self._dead: dict[tuple[int, int], bool] = {}
        self._orphans: dict[int, int] = {}
        self._places: dict[int, int] = {}
        self._flushed: dict[tuple[int, tuple[int, ...], int], tuple[tuple[int, frozenset[int], int, int], ...]] = {}

    def first(self) -> State:
        """Empty registers, nothing begun, before the past."""
        empty = self.registers.number(encode(Register()), Register())
        none = (0,) * len(self.jobs)
        return State((empty,) * (len(self.nodes) * len(self.secrets)), none, none, (), 0, 0, self.case.faults)

    def steps(self, state: State) -> Iterator[Step]:
        """Every step from ``state`` that changes something."""
        left = state.left
        for number in state.road:
            item = self.items[number]
            road = frozenset(state.road) - {number}
            if item.job < 0:
                if self._one_by_one:
                    yield from self._takings("take", state, number)
                continue
            if item.back:
                yield from self._step("late", number, self.hear(state, number, item.reply, road))
                continue
            yield from self._takings("take", state, number)
            if left.lost:
                yield from self._step("lose", number, self.hear(_less(state, "lost"), number, None, road))
        for number, job in enumerate(self.jobs):
            if state.jobs[number] == 0:
                yield from self._beginnings(state, number)
            if state.jobs[number] > 0:
                for moved in self._impatience(number, state.jobs[number]):
                    yield from self._step("patience over", number, self._move(state, number, moved, frozenset(state.road)))
                if left.stopped:
                    moved = Moved(-NEVER_TOLD, (), 0)
                    yield from self._step("stop", number, self._move(_less(state, "stopped"), number, moved, frozenset(state.road)))
            if left.disks and isinstance(job.task, Rejoin) and state.jobs[number] == 0 and not self._is_blank(state, job.node):
                for ready in self._after_unheard(state, *self._own_places(job.node)):
                    yield Label("lose disk", number), self._lose_disk(_less(ready, "disks"), job.node)

    def afterwards(self, state: State) -> Iterator[State]:
        """The state, and all that can become of it by messages to which nobody listens."""
        places = {self.place(number) for number in state.road if self.items[number].job < 0}
        return self._after_unheard(state, *sorted(places))

    def begin(self, state: State, number: int) -> State:
        """Job ``number`` has begun; its first messages are on the road. Nothing of them was taken yet."""
        job = self.jobs[number]
        node = self.nodes.index(job.node)
        width = len(self.nodes)
        counters = {
            secret: self.registers[state.registers[place * width + node]].promised.counter for place, secret in enumerate(self.secrets)
        }
        key = number, tuple(counters.values())
        if key not in self._begun:
            actor, posts = begun(self.case, number + 1, job, counters)
            self._begun[key] = self._number(number, actor), self._posted(number, posts)
        actor_number, items = self._begun[key]
        ended = sum(1 << other for other, each in enumerate(state.jobs) if each < 0)
        return state._replace(
            jobs=_put(state.jobs, number, actor_number),
            before=_put(state.before, number, ended),
            road=tuple(sorted({*state.road, *items})),
        )

    def take(self, state: State, number: int, road: frozenset[int], *, late: bool = False) -> State | None:
        """A node takes a message; its sender hears the reply, unless that is late. None if nothing changes or may not."""
        item = self.items[number]
        place = self.place(number)
        after, reply_number = self._take(state.registers[place], number)
        reply = self.replies[reply_number]
        ledger = state.ledger | self._accepted(number, reply_number)
        taken = state._replace(registers=_put(state.registers, place, after), ledger=ledger)
        if item.job < 0:
            return self._settled(taken, road)
        if late:
            return self._settled(taken, road | {self._item(item._replace(back=True, reply=reply))})
        return self.hear(taken, number, reply, road)

    def hear(self, state: State, number: int, reply: Reply | None, road: frozenset[int]) -> State | None:
        """The sender of a message hears its reply, None: that none will come."""
        item = self.items[number]
        moved = self._hear(state.jobs[item.job], number, reply)
        return self._move(state, item.job, moved, road)

    def end(self, state: State, job: int, event: Event) -> State:
        """A job hears that its patience or its time is over; the state as it is if it must not go on."""
        moved = self._moves(job, state.jobs[job], 0, event)
        return self._move(state, job, moved, frozenset(state.road)) or state

    def place(self, number: int) -> int:
        """Where the register is that an item is for."""
        if number not in self._places:
            send = self.items[number].send
            self._places[number] = self.secrets.index(send.secret) * len(self.nodes) + self.nodes.index(send.node)
        return self._places[number]

    def told(self, label: Label) -> str:
        """A step in words."""
        if label.what in ("patience over", "stop", "lose disk"):
            return f"{label.what}: {self.jobs[label.number]}"
        item = self.items[label.number]
        whose = f"job {item.job + 1}" if item.job >= 0 else "nobody's"
        return f"{label.what}: {whose} {item.send.message} at {item.send.node}" + (f" -> {item.reply}" if item.back else "")

    # the inside

    def _step(self, what: str, number: int, after: State | None) -> Iterator[Step]:
        if after is not None:
            yield Label(what, number), after

    def _takings(self, what: str, state: State, number: int) -> Iterator[Step]:
        """A node takes a message, perhaps after others to which nobody listens."""
        item, left = self.items[number], state.left
        if self._is_blank(state, item.send.node):
            return
        for ready in self._after_unheard(state, self.place(number)):
            road = frozenset(ready.road) - {number}
            yield from self._step(what, number, self.take(ready, number, road))
            if ready.left.doubled and not isinstance(item.send.message, ASKING):
                yield from self._step(f"{what}, again to come", number, self.take(_less(ready, "doubled"), number, road | {number}))
            if left.late and item.job >= 0:
                yield from self._step(f"{what}, reply late", number, self.take(_less(ready, "late"), number, road, late=True))

    def _after_unheard(self, state: State, *places: int) -> Iterator[State]:
        """The state, and what it can become when the nodes at these places take messages to which nobody listens."""
        if not places or self._one_by_one:
            yield state
            return
        for after in self._after_unheard(state, *places[1:]):
            mine = tuple(number for number in after.road if self.items[number].job < 0 and self.place(number) == places[0])
            if not mine or self._is_blank(after, self.items[mine[0]].send.node):
                yield after
                continue
            for register, rest, ledger, doubled in self._unheard(after.registers[places[0]], mine, after.left.doubled):
                road = frozenset(after.road) - frozenset(mine) | rest
                taken = after._replace(registers=_put(after.registers, places[0], register), ledger=after.ledger | ledger)
                yield self._settled(taken._replace(left=after.left._replace(doubled=doubled)), road) if rest != frozenset(mine) else after

    def _unheard(self, register: int, mine: tuple[int, ...], doubled: int) -> tuple[tuple[int, frozenset[int], int, int], ...]:
        """What becomes of a register, of the messages for it, of the ledger and the faults left, when it takes any of them in any order."""
        key = register, mine, doubled
        if key not in self._flushed:
            found = {(register, frozenset(mine), 0, doubled): None}
            waiting = list(found)
            while waiting:
                now, rest, ledger, left = waiting.pop()
                for number in sorted(rest):
                    after, reply = self._take(now, number)
                    if after == now:
                        continue
                    more = ledger | self._accepted(number, reply)
                    for each in [(after, rest - {number}, more, left), *([(after, rest, more, left - 1)] if left else [])]:
                        if each not in found:
                            found[each] = None
                            waiting.append(each)
            self._flushed[key] = tuple(found)
        return self._flushed[key]

    def _accepted(self, number: int, reply: int) -> int:
        """The bit of the ledger for a reply to a message, 0 if it is no acceptance."""
        item = self.items[number]
        write = item.send.message
        if not isinstance(write, Write) or not isinstance(self.replies[reply], Accepted):
            return 0
        place = self.secrets.index(item.send.secret)
        key = place, encode(write.header), write.ballot, item.send.node
        return 1 << self.ledger.number(key, Acceptance(place, write.header, write.ballot, item.send.node))

    def _beginnings(self, state: State, number: int) -> Iterator[Step]:
        """A job begins, and its first message is taken or lost."""
        job = self.jobs[number]
        if isinstance(job.task, Rejoin) != self._is_blank(state, job.node):
            return
        if job.after is not None and state.jobs[len(self.case.past) + job.after] >= 0:
            return
        for ready in self._after_unheard(state, *self._own_places(job.node)):
            opened = self.begin(ready, number)
            for item in sorted(set(opened.road) - set(ready.road)):
                yield from self._takings("begin", opened, item)
                if state.left.lost:
                    road = frozenset(opened.road) - {item}
                    yield from self._step("begin", number, self.hear(_less(opened, "lost"), item, None, road))

    def _move(self, state: State, job: int, moved: Moved, road: frozenset[int]) -> State | None:
        if moved.rounds > state.left.rounds:
            return None
        left = state.left._replace(rounds=state.left.rounds - moved.rounds)
        state = state._replace(jobs=_put(state.jobs, job, moved.job), left=left)
        result = self.results[-moved.job] if moved.job < 0 else None
        if isinstance(result, Restored):
            state = self._install(state, self.jobs[job].node, result)
        return self._settled(state, road | set(moved.items))

    def _settled(self, state: State, road: frozenset[int]) -> State:
        """The state with nothing on the road that can make no difference."""
        kept = set()
        for number in road:
            job = self.items[number].job
            kind = number
            if job >= 0 and not self._is_awaited(state.jobs[job], number):
                kind = self._orphan(number)
            if kind and not (self.items[kind].job < 0 and self._is_dead(state.registers[self.place(kind)], kind)):
                kept.add(kind)
        return state._replace(road=tuple(sorted(kept)))

    def _is_awaited(self, actor: int, number: int) -> bool:
        if actor <= 0:
            return False
        item = self.items[number]
        return self._hear(actor, number, item.reply if item.back else None).job != actor

    def _orphan(self, number: int) -> int:
        """The same message with nobody who listens; 0 if it then does nothing."""
        if number not in self._orphans:
            item = self.items[number]
            useless = item.back or isinstance(item.send.message, ASKING)
            self._orphans[number] = 0 if useless else self._item(Item(-1, 0, item.send))
        return self._orphans[number]

    def _is_dead(self, register: int, number: int) -> bool:
        key = register, number
        if key not in self._dead:
            self._dead[key] = self._take(register, number)[0] == register and _is_past(
                self.registers[register], self.items[number].send.message
            )
        return self._dead[key]

    def _take(self, register: int, number: int) -> tuple[int, int]:
        key = register, number
        if key not in self._taken:
            send = self.items[number].send
            before = self.registers[register]
            reply: Reply
            if isinstance(send.message, Fence):
                after, reply = fencing.fenced(before, FLOOR), Noted(changed=True)
            else:
                after, reply = participant.step(Seat(send.secret, send.node), before, send.message, 0)
            after = _replace(after, lease=None)
            self._taken[key] = self.registers.number(encode(after), after), self.replies.number((type(reply), encode(reply)), reply)
        return self._taken[key]

    def _hear(self, actor: int, number: int, reply: Reply | None) -> Moved:
        key = actor, number, 0 if reply is None else self.replies.number((type(reply), encode(reply)), reply)
        if key not in self._moved:
            item = self.items[number]
            self._moved[key] = self._moves(item.job, actor, item.task, Heard(item.send, reply))
        return self._moved[key]

    def _moves(self, job: int, actor: int, task: int, event: Event) -> Moved:
        before = self.actors[actor]
        after, posts = stepped(before, self.jobs[job], task, event)
        anew = {post.task for post in posts if isinstance(post.send.message, Vote) and post.task < tasks(before)}
        return Moved(self._number(job, after), self._posted(job, posts), len(anew))

    def _impatience(self, job: int, actor: int) -> tuple[Moved, ...]:
        if actor not in self._impatient:
            before = self.actors[actor]
            found = []
            for task in range(tasks(before)):
                after, _ = stepped(before, self.jobs[job], task, PatienceOver())
                moved = self._moves(job, actor, task, PatienceOver())
                if moved.items or moved.job < 0 or shape(after) != shape(before):
                    found.append(moved)
            self._impatient[actor] = tuple(found)
        return self._impatient[actor]

    def _number(self, job: int, actor: Actor) -> int:
        """The number of an actor, or minus that of its result."""
        result = outcome(actor)
        if result is None:
            return self.actors.number((job, text(actor)), actor)
        return -self.results.number((type(result), encode(result)), result)

    def _posted(self, job: int, posts: list[Post]) -> tuple[int, ...]:
        sent = [post for post in posts if not isinstance(post.send.message, Release)]
        return tuple(self._item(Item(-1 if isinstance(post.send.message, ONE_WAY) else job, post.task, post.send)) for post in sent)

    def _item(self, item: Item) -> int:
        send, reply = item.send, item.reply
        if item.job < 0:
            item = item._replace(task=0)
        key = item.job, item.task, send.node, send.secret, type(send.message), encode(send.message), item.back, type(reply), encode(reply)
        return self.items.number(key, item)

    def _own_places(self, node: str) -> range:
        return range(self.nodes.index(node), len(self.nodes) * len(self.secrets), len(self.nodes))

    def _is_blank(self, state: State, node: str) -> bool:
        return bool(state.blank >> self.nodes.index(node) & 1)

    def _lose_disk(self, state: State, node: str) -> State:
        place = self.nodes.index(node)
        empty = self.registers.number(encode(Register()), Register())
        registers = tuple(empty if at % len(self.nodes) == place else register for at, register in enumerate(state.registers))
        jobs = tuple(-NEVER_TOLD if self.jobs[number].node == node and each > 0 else each for number, each in enumerate(state.jobs))
        road = frozenset(number for number in state.road if self.items[number].back or self.items[number].send.node != node)
        return self._settled(state._replace(registers=registers, jobs=jobs, blank=state.blank | 1 << place), road)

    def _install(self, state: State, node: str, restored: Restored) -> State:
        """What a node found on the others goes to its new store, in one transaction; then it serves."""
        node_place = self.nodes.index(node)
        register = Register()
        for message in restored.messages:
            register, _ = participant.step(Seat(self.secrets[0], node), register, message, 0)
        register = _replace(fencing.fenced(register, FLOOR), lease=None)
        number = self.registers.number(encode(register), register)
        return state._replace(registers=_put(state.registers, node_place, number), blank=state.blank & ~(1 << node_place))


def _secrets(jobs: tuple[Job, ...]) -> tuple[SecretId, ...]:
    found: dict[SecretId, None] = {}
    for number, job in enumerate(jobs, start=1):
        match job.task:
            case Create(secrets=news):
                found.update(dict.fromkeys(new.secret for new in news))
                if len(news) > 1:
                    found[group_register(group_of(number))] = None
            case Update(secret=new):
                found[new.secret] = None
            case Delete(secret=secret) | Read(secret=secret) | History(secret=secret) | Mend(secret=secret) | Settle(secret=secret):
                found[secret] = None
            case Rejoin(secret=secret):
                found[secret] = None
    return tuple(found)


def _put(row: tuple[int, ...], place: int, number: int) -> tuple[int, ...]:
    return row if row[place] == number else (*row[:place], number, *row[place + 1 :])


def _less(state: State, fault: str) -> State:
    return state._replace(left=state.left._replace(**{fault: getattr(state.left, fault) - 1}))


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
