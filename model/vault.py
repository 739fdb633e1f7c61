"""The oracle: could these answers have come from one vault that does one thing at a time? (SEM-8, SEM-16, SEM-25)

``Vault.expect`` is told each operation and its answer, in the order they happened, and raises ``Contradiction`` for an answer that
nothing explains. It keeps every world (``model.world``) that explains all answers so far. Secrets are judged apart from each
other; a group of creates ties its secrets together for as long as its outcome is open.

The times of versions are checked, not predicted: an operation's ``now`` is only the earliest that its gateway's clock can have
been (0 where that is not known). A time that no answer has shown yet is a guess, the earliest possible one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from model.errors import BY_CODE, KofnError
from model.explaining import explanations, reachable
from model.operation import (
    Failed,
    Found,
    History,
    List,
    Names,
    Operation,
    Read,
    Result,
    SecretId,
    Status,
    Update,
    Version,
    Versions,
    Written,
)
from model.secret import Write, named
from model.world import Belief, Pending, World, apart, distinct, tied

JUDGED = frozenset({"secret_exists", "secret_not_found", "version_not_found", "version_mismatch", "idempotency_key_reused"})
"""The refusals that say something of the secrets. Every other 4xx is about the request alone, and changes nothing."""

SHOWN_WORLDS = 8
"""How many alternatives a contradiction spells out."""


class Contradiction(Exception):
    """An answer that no possible world explains. The text names what was possible and holds no value."""


@dataclass(frozen=True)
class Vault:
    """What may be true of a vault, given all answers so far. Immutable; the default is a vault never used.

    ``worlds`` maps each secret ever named to the alternatives it is part of; secrets that are tied together map to the same ones.
    """

    worlds: Mapping[SecretId, frozenset[World]] = field(default_factory=dict)
    serial: int = 0
    fence: int = 0

    def fenced(self) -> Vault:
        """The caller vouches that no operation asked so far is still on its way: each was dropped, or is written down somewhere.

        From here on, a write that takes effect rules out those from before the fence: they took effect below it, or never will
        (SEM-9). Without a fence they may be arbitrarily late, and in any order: then alternatives multiply with every unknown
        outcome, so a driver should fence wherever it can, at the latest when it has waited past every deadline.
        """
        return replace(self, fence=self.serial)

    def expect(self, operation: Operation, result: Result | None) -> Vault:
        """What may be true after this answer; None stands for an answer that was lost. Raises Contradiction.

        ``unavailable`` is always allowed as an answer to a read: whether it should have been answered is for others to judge.
        """
        meaning = _meaning(operation, result)
        if meaning == "nothing" or isinstance(operation, Status):
            return self
        if isinstance(operation, List):
            self._check_names(operation, result)
            return self
        worlds = tied({self.worlds.get(name, frozenset({World(((name, Belief()),))})) for name in named(operation)})
        if meaning == "unknown":
            assert isinstance(operation, Write)
            pending = Pending(self.serial, self.fence, operation)
            worlds = frozenset(replace(world, pending=world.pending | {pending}) for world in worlds)
        else:
            assert result is not None
            possible, worlds = worlds, distinct(explanations(worlds, operation, result, self.fence))
            if not worlds:
                raise Contradiction(_explain(operation, result, possible))
        parts = {name: part for part in apart(worlds) for name, _ in next(iter(part)).beliefs}
        return Vault({**self.worlds, **parts}, self.serial + 1, self.fence)

    def _check_names(self, asked: List, result: Result | None) -> None:
        """A page of names: those live in every world are in it, those live in none are not (SEM-18)."""
        always: set[str] = set()
        perhaps: set[str] = set()
        for name, worlds in self.worlds.items():
            if name.namespace == asked.namespace and name.name.startswith(asked.prefix) and name.name > asked.after:
                live = {dict(world.beliefs)[name].secret.live for world in reachable(worlds)}
                perhaps.update([name.name] if True in live else [])
                always.update([name.name] if live == {True} else [])
        if not isinstance(result, Names):
            raise Contradiction(f"{_tell(asked)} was answered with {_tell_result(result)}")
        page, last = result.names, result.names[-1] if result.names else ""
        complaints = {
            "are not in order": list(page) if list(page) != sorted(set(page)) else [],
            "are more than asked for": page[asked.limit :],
            "cannot be there": sorted(set(page) - perhaps),
            "must be there": sorted(name for name in always - set(page) if not result.more or name <= last),
            "would have to be there": ["some names"] if result.more and not page else [],
        }
        wrong = [f"{', '.join(names)} {complaint}" for complaint, names in complaints.items() if names]
        if wrong:
            raise Contradiction(f"{_tell(asked)} was answered with {_tell_result(result)}: {'; '.join(wrong)}")


def _meaning(operation: Operation, result: Result | None) -> Literal["nothing", "unknown", "something"]:
    """What an answer says of the secrets. A code that cannot be an answer to this operation counts as something, and fits nowhere."""
    write = isinstance(operation, Write)
    if result is None:
        return "unknown" if write else "nothing"
    if not isinstance(result, Failed) or result.code in JUDGED:
        return "something"
    kind = BY_CODE.get(result.code, KofnError)
    if write and kind.outcome == "unknown":
        return "unknown"
    if kind.code == "unavailable":
        return "something" if write else "nothing"
    harmless = kind.outcome == "not_applied" if kind.phase is not None else 400 <= kind.status < 500
    return "nothing" if harmless and (write or kind.phase is None) else "something"


def _explain(operation: Write | Read | History, result: Result, worlds: frozenset[World]) -> str:
    told = sorted(_tell_world(world, result) for world in worlds)
    more = [f"and {len(told) - SHOWN_WORLDS} more"] if len(told) > SHOWN_WORLDS else []
    return "\n- ".join([f"{_tell(operation)} was answered with {_tell_result(result)}, but possible is only:", *told[:SHOWN_WORLDS], *more])


def _tell(operation: Write | Read | History | List) -> str:
    """An operation in words, without values."""
    match operation:
        case List():
            return f"list of {operation.namespace}/{operation.prefix}* after {operation.after!r}, at most {operation.limit}"
        case Update(expected_version=int()):
            detail = f" if at version {operation.expected_version}"
        case Read(version=int()):
            detail = f" version {operation.version}"
        case Read(at=int()):
            detail = f" at time {operation.at}"
        case _:
            detail = ""
    retry = f" with key {operation.retry.key.hex()[:8]}" if isinstance(operation, Write) and operation.retry is not None else ""
    return f"{type(operation).__name__.lower()} of {', '.join(f'{each.namespace}/{each.name}' for each in named(operation))}{detail}{retry}"


def _tell_result(result: Result | None) -> str:
    """An answer in words, without its value."""
    match result:
        case Failed():
            return " ".join((result.code, *result.names))
        case Found(version=version):
            return f"version {_tell_versions((version,))}"
        case Written(versions=versions) | Versions(versions=versions):
            return f"{type(result).__name__.lower()} {_tell_versions(versions)}"
        case Names():
            return f"names {', '.join(result.names) or 'none'}{' and more' if result.more else ''}"
        case _:
            return type(result).__name__.lower()


def _tell_versions(versions: tuple[Version, ...]) -> str:
    return ", ".join(f"{each.version} [{each.valid_from}, {'' if each.valid_to is None else each.valid_to})" for each in versions) or "none"


def _tell_world(world: World, result: Result) -> str:
    """A world in words, and which of its versions hold the value of ``result``."""
    parts = []
    for name, belief in world.beliefs:
        shown = [
            f"version {kept.version} holds the value shown"
            for kept in belief.secret.versions
            if isinstance(result, Found) and kept.value == result.value
        ]
        versions = _tell_versions(belief.secret.intervals()) if belief.secret.live else "absent"
        guessed = f" (not before: {', '.join(map(str, sorted(belief.guessed)))})" if belief.guessed else ""
        parts.append("; ".join([f"{name.namespace}/{name.name}: {versions}{guessed}", *shown]))
    pending = [f"pending #{each.serial}: {_tell(each.operation)}" for each in sorted(world.pending, key=lambda each: each.serial)]
    return "; ".join(parts + pending)
