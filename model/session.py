"""Machines at work together: routes events to them and resolves the groups they wait for (PROTO-14).

A session holds the machines of one batch of operations. A writer that meets a provisional record has its group aborted unless
it was decided; a reader only looks. Machines that wait for the same group share one resolution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from model import group as groups
from model import proposal as proposals
from model import reading as readings
from model import selection as selections
from model.group import Group
from model.intent import Decided
from model.machine import Event, Resolved, Send
from model.operation import Failed
from model.proposal import Proposal
from model.reading import Reading
from model.record import Kind
from model.selection import Selection

Machine = Proposal | Group | Reading | Selection
Task = int


class Post(NamedTuple):
    """A send and the task it belongs to; its reply goes back to that task."""

    task: Task
    send: Send


class Session:
    """``settle`` opens a proposal that aborts a group unless it is decided; ``look`` opens a reading of its decision."""

    def __init__(
        self,
        settle: Callable[[str], tuple[Proposal, list[Send]]],
        look: Callable[[str], tuple[Reading, list[Send]]],
    ) -> None:
        self._settle = settle
        self._look = look
        self._machines: dict[Task, Machine] = {}
        self._waiting: dict[tuple[bool, str], list[Task]] = {}
        self._resolving: dict[Task, tuple[bool, str]] = {}

    def open(self, machine: Machine, sends: list[Send]) -> tuple[Task, list[Post]]:
        """Take in a machine that was just begun, with its first sends."""
        task = len(self._machines)
        self._machines[task] = machine
        return task, [Post(task, send) for send in sends]

    def machine(self, task: Task) -> Machine:
        return self._machines[task]

    def unfinished(self) -> list[Task]:
        """Every task without an outcome, resolutions included."""
        return [task for task, machine in self._machines.items() if machine.outcome is None]

    def step(self, task: Task, event: Event) -> list[Post]:
        """Give ``event`` to a task; what follows from it in others is done too."""
        before = self._machines[task]
        if before.outcome is not None:
            return []
        machine, sends = _step(before, event)
        self._machines[task] = machine
        posts = [Post(task, send) for send in sends]
        if machine.outcome is not None:
            posts += self._conclude(task, machine)
        elif machine.needs - before.needs:
            for needed in sorted(machine.needs - before.needs):
                posts += self._resolve(task, machine, needed)
        return posts

    def _resolve(self, task: Task, machine: Machine, group: str) -> Iterator[Post]:
        reader = isinstance(machine, Reading | Selection)
        waiting = self._waiting.setdefault((reader, group), [])
        waiting.append(task)
        if len(waiting) == 1:
            child, posts = self.open(*(self._look(group) if reader else self._settle(group)))
            self._resolving[child] = (reader, group)
            yield from posts

    def _conclude(self, task: Task, machine: Machine) -> Iterator[Post]:
        resolved = self._resolving.pop(task, None)
        if resolved is None:
            return
        outcome = machine.outcome
        committed = outcome.kind is Kind.COMMIT if isinstance(outcome, Decided) else None
        busy = isinstance(outcome, Failed) and outcome.retry_ms is not None
        for waiter in self._waiting.pop(resolved):
            yield from self.step(waiter, Resolved(resolved[1], committed, busy))


def _step(machine: Machine, event: Event) -> tuple[Machine, list[Send]]:
    match machine:
        case Proposal():
            return proposals.step(machine, event)
        case Group():
            return groups.step(machine, event)
        case Selection():
            return selections.step(machine, event)
    return readings.step(machine, event)
