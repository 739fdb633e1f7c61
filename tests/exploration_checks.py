"""What must hold in every state of an exploration. Each check is remembered by the parts of the state that it looks at.

- what ``inspection`` demands of the inside of a cluster;
- a definite failure wrote nothing (SEM-7);
- the answers so far have an order that explains them, whatever becomes of those still open (``linearizability``);
- whoever reads now, from any k nodes or from all, is shown the newest chosen record and its whole history, or nothing (SEM-16).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations
from typing import cast

import msgspec
from exploration_actors import author, machines, peers, seat
from exploration_history import OPERATIONS, calls
from exploration_parts import State, encode
from exploration_world import World
from histories import NOTHING
from inspection import chosen, inspect
from linearizability import linearizable

from model import proposal as proposals
from model import reading as readings
from model.intent import Intent, Wanted
from model.machine import Heard, PatienceOver
from model.message import Write
from model.operation import Failed, Found, Result, SecretId, Version, Versions
from model.participant import Seat, step
from model.quorum import Quorum
from model.reading import Reading
from model.record import ZERO, Ballot, Header, Kind, Register, group_register
from model.session import Session

REFUSED = NOTHING | {"secret_exists", "secret_not_found", "version_mismatch"}
"""Failures that promise that nothing of this attempt was written."""


@dataclass
class Insides:
    """The inside of a state, as ``inspection`` looks at it."""

    quorum: Quorum
    registers: dict[str, dict[SecretId, Register]]
    acceptances: dict[tuple[SecretId, Ballot, Ballot], set[str]]
    headers: dict[SecretId, dict[Ballot, Header]] = field(default_factory=dict)
    shares_lost: bool = False


class Checks:
    """Call it with a state: raises AssertionError with what does not hold."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._bare: dict[int, int] = {}
        self._seen: set[object] = set()
        self._shown: dict[object, tuple[Result | None, Result | None]] = {}
        self._written: dict[int, int] = {}

    def __call__(self, state: State) -> None:
        unheard = tuple(item for item in state.road if self.world.machines.items[item].job < 0)
        self._once(("inside", state.registers, unheard, state.ledger, state.blank, state.left.disks), lambda: self._look_inside(state))
        told = tuple(min(0, each) for each in state.jobs)
        begun = tuple(each != 0 for each in state.jobs)
        self._once(("history", told, begun, state.before), lambda: self._judge(state))
        self._nothing_written(state)
        self._once(("refused", told, state.ledger), lambda: self._nothing_accepted(state))

    def insides(self, state: State) -> list[object]:
        """What nodes can hold, promises aside, without another step of a job; and what was told. Equal for equal contents."""
        told = tuple(repr(self.world.machines.results[-each]) if each < 0 else "" for each in state.jobs)
        return [
            (tuple(encode(self.world.machines.registers[self._without_promise(each)]) for each in after.registers), told)
            for after in self.world.afterwards(state)
        ]

    def _once(self, key: object, check: Callable[[], None]) -> None:
        if key not in self._seen:
            check()
            self._seen.add(key)

    def _without_promise(self, register: int) -> int:
        if register not in self._bare:
            bare = msgspec.structs.replace(self.world.machines.registers[register], promised=ZERO)
            self._bare[register] = self.world.machines.registers.number(encode(bare), bare)
        return self._bare[register]

    def _judge(self, state: State) -> None:
        history = calls(self.world, state)
        assert linearizable(history), "no order of the calls explains their answers: " + "; ".join(map(str, history))

    def _nothing_written(self, state: State) -> None:
        for number, job in enumerate(self.world.machines.jobs):
            stands = state.jobs[number]
            if stands >= 0 or not isinstance(job.task, OPERATIONS):
                continue
            if self._is_refused(stands):
                assert not any(self._is_work_of(number, item) for item in state.road), f"job {number + 1} was refused, and writes"

    def _nothing_accepted(self, state: State) -> None:
        refused = {number + 1 for number, stands in enumerate(state.jobs) if stands < 0 and self._is_refused(stands)}
        for number in range(1, len(self.world.machines.ledger) + 1):
            tag = self.world.machines.ledger[number].header.tag
            written = state.ledger >> number & 1 and author(tag.boot) in refused
            assert not written, f"job {author(tag.boot)} was told that nothing was written, and {tag} was"

    def _is_refused(self, stands: int) -> bool:
        result = self.world.machines.results[-stands]
        return isinstance(result, Failed) and result.code in REFUSED

    def _is_work_of(self, number: int, item: int) -> bool:
        if item not in self._written:
            message = self.world.machines.items[item].send.message
            self._written[item] = author(message.header.tag.boot) if isinstance(message, Write) else 0
        return self._written[item] == number + 1

    def _look_inside(self, state: State) -> None:
        for after in self.world.afterwards(state):
            bare = tuple(self._without_promise(register) for register in after.registers)
            self._once(("bare", bare, after.ledger, after.blank, after.left.disks), lambda: self._inspect(after, bare))  # noqa: B023 - called at once

    def _inspect(self, state: State, bare: tuple[int, ...]) -> None:
        insides = self._insides(state)
        inspect(insides)
        for place, secret in enumerate(self.world.machines.secrets):
            if secret.namespace:
                self._read(insides, state, bare, place, secret)

    def _insides(self, state: State) -> Insides:
        world, width = self.world, len(self.world.machines.nodes)
        registers: dict[str, dict[SecretId, Register]] = {node: {} for node in world.machines.nodes}
        for at, register in enumerate(state.registers):
            registers[world.machines.nodes[at % width]][world.machines.secrets[at // width]] = world.machines.registers[register]
        insides = Insides(world.case.quorum, registers, {}, shares_lost=state.left.disks < world.case.faults.disks)
        for number in range(1, len(world.machines.ledger) + 1):
            if state.ledger >> number & 1:
                accepted = world.machines.ledger[number]
                secret = world.machines.secrets[accepted.secret]
                insides.headers.setdefault(secret, {})[accepted.header.tag] = accepted.header
                insides.acceptances.setdefault((secret, accepted.header.tag, accepted.ballot), set()).add(accepted.node)
        return insides

    def _read(self, insides: Insides, state: State, bare: tuple[int, ...], place: int, secret: SecretId) -> None:
        nodes, quorum = self.world.machines.nodes, self.world.case.quorum
        truth = list(chosen(insides, secret).values())
        latest = truth[-1] if truth else None
        up = [node for at, node in enumerate(nodes) if not state.blank >> at & 1]
        for some in [*combinations(up, quorum.read), tuple(up)]:
            key = (place, some, tuple(bare[at] for at in range(len(bare)) if nodes[at % len(nodes)] in some))
            if key not in self._shown:
                self._shown[key] = (
                    self._ask(insides, some, secret, Wanted()),
                    self._ask(insides, some, secret, Wanted(history=True, reveal=False)),
                )
            shown, history = self._shown[key]
            _is_newest(shown, latest, some)
            _is_whole(history, truth, latest, some)

    def _ask(self, insides: Insides, some: tuple[str, ...], secret: SecretId, wanted: Wanted) -> Result | None:
        """What a reader is shown by these nodes at this moment; None if it would have to write first."""
        case, me = self.world.case, some[0]
        session = Session(
            lambda group: proposals.begin(seat(case, me, 1), group_register(group), Intent("decide"), None, 0),
            lambda group: readings.begin(me, group_register(group), Wanted(reveal=False, decision=True), case.quorum, peers(case, me)),
        )
        _, posts = session.open(*readings.begin(me, secret, wanted, case.quorum, peers(case, me)))
        while posts or session.unfinished():
            if not posts:
                posts = [post for task in session.unfinished() for post in session.step(task, PatienceOver())]
                assert posts or not session.unfinished(), "a reader waits for nobody"
                continue
            task, send = posts.pop(0)
            if isinstance(send.message, Write):
                return None
            register = insides.registers[send.node].get(send.secret, Register())
            reply = step(Seat(send.secret, send.node), register, send.message, 0)[1] if send.node in some else None
            posts += session.step(task, Heard(send, reply))
        root = machines(session)[0]
        assert isinstance(root, Reading)
        return cast("Result | None", root.outcome)


def _is_newest(shown: Result | None, latest: Header | None, some: tuple[str, ...]) -> None:
    live = latest is not None and latest.kind is Kind.VALUE
    match shown:
        case None | Failed(code="unavailable"):
            return
        case Failed(code="secret_not_found"):
            assert not live, f"{some} show nothing, though {latest and latest.tag} was chosen"
        case Found(version=version):
            assert latest is not None, f"{some} show {version} of nothing"
            assert live, f"{some} show {version}, though nothing is there"
            assert version == Version(latest.version, latest.valid_from), f"{some} show {version}, though {latest.tag} was chosen"


def _is_whole(history: Result | None, truth: list[Header], latest: Header | None, some: tuple[str, ...]) -> None:
    if not isinstance(history, Versions):
        return
    assert latest is not None, f"{some} show a history of nothing"
    lineage = [
        (header.version, header.valid_from) for header in truth if header.incarnation == latest.incarnation and header.kind is Kind.VALUE
    ]
    assert [(each.version, each.valid_from) for each in history.versions] == lineage, f"{some} show {history}, though {lineage} was chosen"
