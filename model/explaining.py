"""How a world can answer an operation, and what is known after the answer (SEM-8 to SEM-10).

Pure functions over ``model.world``: every way an operation may go, everything that pending writes may bring about, and the
worlds that are left once a result was seen. Nothing is guessed here that a result does not need.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from model.operation import Create, Deleted, Failed, Found, History, Read, Result, SecretId, Update, Version, Versions, Written
from model.secret import Secret, Write, named, perform, read
from model.world import World


class Way(NamedTuple):
    """One way in which an operation may go: the world afterwards, the answer, and whether anything was written."""

    world: World
    answer: Result
    wrote: bool


def ways(world: World, operation: Write | Read | History, fence: int) -> Iterator[Way]:
    """Every way in which the operation may go, if it takes effect in this very world.

    They differ in whether an old key is still remembered (SEM-22), and in how many version numbers are left out (SEM-10).
    """
    for start in _memories(world, operation):
        before = start.secrets()
        for skipped in range(1 + _spare(start, operation)):
            after, answer = perform(before, operation, skipped)
            if after == before:
                yield Way(start, answer, False)
                break
            yield Way(_wrote(start, operation, after, skipped, fence), answer, True)


def reachable(worlds: Iterable[World]) -> frozenset[World]:
    """These worlds and all that they can become by themselves, as pending writes take effect."""
    seen = set(worlds)
    ahead = list(seen)
    while ahead:
        new = _futures(ahead.pop()) - seen
        seen |= new
        ahead += new
    return frozenset(seen)


def explanations(worlds: Iterable[World], operation: Write | Read | History, result: Result, fence: int) -> Iterator[World]:
    """The worlds after the operation, for every way in which pending writes and then the operation lead to this result.

    Where the operation changes nothing and the result fits at once, a pending write may as well take effect afterwards.
    """
    seen = set(worlds)
    ahead = list(seen)
    while ahead:
        world = ahead.pop()
        fits = list(_fits(world, operation, result, fence))
        yield from fits
        if not fits or isinstance(result, Written | Deleted):
            new = _futures(world) - seen
            seen |= new
            ahead += new


def _futures(world: World) -> set[World]:
    """The worlds right after one pending write has taken effect."""
    return {
        way.world
        for pending in world.pending
        for way in ways(replace(world, pending=world.pending - {pending}), pending.operation, pending.fence)
        if way.wrote
    }


def _memories(world: World, operation: Write | Read | History) -> Iterator[World]:
    """The world, and what it is if some of the secrets that may have forgotten the operation's key have."""
    if isinstance(operation, Read | History) or operation.retry is None:
        yield world
        return
    faded = {name: each.forget(operation.retry) for name, each in world.beliefs if each.secret.may_forget(operation.retry, operation.now)}
    for count in range(1 + len(faded)):
        for names in itertools.combinations(faded, count):
            yield world.having({name: faded[name] for name in names})


def _spare(world: World, operation: Write | Read | History) -> int:
    """How many version numbers the operation may leave out: one for each other update whose outcome is unknown, once."""
    if not isinstance(operation, Update):
        return 0
    name = operation.secret.secret
    return world.updates(name) - dict(world.beliefs)[name].skipped


def _wrote(world: World, operation: Write | Read | History, after: Mapping[SecretId, Secret], skipped: int, fence: int) -> World:
    names = named(operation)
    changed = {name: belief.wrote(after[name], skipped) for name, belief in world.beliefs if name in names}
    new = world.having(changed)
    return new.without(
        {each for each in new.pending if each.serial < fence and set(names).intersection(named(each.operation))} | new.idle()
    )


def _fits(world: World, operation: Write | Read | History, result: Result, fence: int) -> Iterator[World]:
    """The worlds after the operation, if it takes effect in this very world and is answered with ``result``."""
    placed = _placed(world, operation, result) if isinstance(operation, Read) and operation.at is not None else world
    if placed is not None:
        for way in ways(placed, operation, fence):
            learnt = _learnt(way.world, operation, way.answer, result)
            if learnt is not None:
                yield learnt


def _placed(world: World, operation: Read, result: Result) -> World | None:
    """For a read at a time: the world with its guessed times moved to where they give this result, None if that cannot be."""
    belief = dict(world.beliefs)[operation.secret]
    if isinstance(result, Found):
        by_number = Read(operation.secret, version=result.version.version, reveal=operation.reveal)
        return _learnt(world, by_number, read(belief.secret, by_number), result)
    if isinstance(result, Failed) and result.code == "version_not_found" and belief.secret.live and operation.at is not None:
        moved = belief.not_before(belief.secret.versions[0].valid_from, operation.at + 1)
        return None if moved is None else world.having({operation.secret: moved})
    return world


def _learnt(world: World, operation: Write | Read | History, answer: Result, result: Result) -> World | None:
    """The world with the times that ``result`` shows, or None where that differs from ``answer`` in anything but guessed times."""
    expected, shown = _versions(answer), _versions(result)
    if _rest(answer, operation) != _rest(result, operation) or len(expected) != len(shown):
        return None
    names = named(operation)
    owners = names if isinstance(operation, Create) else names * len(expected)
    seen: dict[SecretId, dict[int, int]] = {}
    for owner, believed, true in zip(owners, expected, shown, strict=False):
        if believed.version != true.version or (believed.valid_to is None) != (true.valid_to is None):
            return None
        times = seen.setdefault(owner, {})
        for guess, time in ((believed.valid_from, true.valid_from), (believed.valid_to, true.valid_to)):
            if guess is not None and time is not None and times.setdefault(guess, time) != time:
                return None
    learnt = {name: belief.learn(seen[name]) for name, belief in world.beliefs if name in seen}
    known = {name: belief for name, belief in learnt.items() if belief is not None}
    return world.having(known) if len(known) == len(learnt) else None


def _versions(result: Result) -> tuple[Version, ...]:
    match result:
        case Written(versions=versions) | Versions(versions=versions):
            return versions
        case Found(version=version):
            return (version,)
        case _:
            return ()


def _rest(result: Result, operation: Write | Read | History) -> tuple[object, ...]:
    """Everything in a result but the versions. Names count where there is a choice of them."""
    match result:
        case Found():
            return (Found, result.value, result.encoding)
        case Failed():
            names = set(result.names) if result.code == "secret_exists" and len(named(operation)) > 1 else ()
            return (Failed, result.code, frozenset(names))
        case _:
            return (type(result),)
