"""Could these answers have come from one vault that does one thing at a time? (Wing and Gong, "Testing and Verifying Concurrent
Objects", 1993, with the memory of Lowe, "Testing for linearizability", 2017.)

A *call* was invoked and, unless its outcome is unknown, answered at some step. A call with an unknown outcome may take effect
at any moment after its invocation, or never. Failures that promise to have had no effect are left out by the caller. Version
numbers and times of unknown writes are bound by whoever observes them first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from model.operation import (
    Create,
    Delete,
    Deleted,
    Failed,
    Found,
    History,
    Operation,
    Read,
    Result,
    SecretId,
    Update,
    Version,
    Versions,
    Written,
)


@dataclass
class Call:
    """One attempt of a client. ``returned`` and ``result`` are None where the outcome is unknown. Steps of one clock."""

    operation: Operation
    invoked: int
    returned: int | None = None
    result: Result | None = None


@dataclass(frozen=True)
class Entry:
    """One version that was written. ``version`` and ``since`` are None until somebody saw them."""

    secret: SecretId
    value: bytes
    version: int | None
    since: int | None
    unknown: bool


@dataclass(frozen=True)
class State:
    """Every write so far; per secret, which of them are its versions; per retry key, which were its outcome (None: a delete)."""

    entries: tuple[Entry, ...] = ()
    live: tuple[tuple[SecretId, tuple[int, ...]], ...] = ()
    keys: tuple[tuple[bytes, bytes, tuple[int, ...] | None], ...] = ()

    def versions(self, secret: SecretId) -> tuple[int, ...]:
        return dict(self.live).get(secret, ())

    def with_versions(self, secret: SecretId, versions: tuple[int, ...]) -> State:
        return replace(self, live=tuple(sorted({**dict(self.live), secret: versions}.items())))


def linearizable(calls: Sequence[Call]) -> bool:
    """Whether some order of the calls explains every answer."""
    calls = sorted(calls, key=lambda call: call.invoked)
    unknown = [number for number, call in enumerate(calls) if call.returned is None and isinstance(call.operation, Update)]
    required = frozenset(number for number, call in enumerate(calls) if call.returned is not None)
    seen: set[tuple[frozenset[int], State]] = set()
    stack: list[tuple[frozenset[int], State]] = [(frozenset(), State())]
    while stack:
        done, state = stack.pop()
        if required <= done:
            return True
        if (done, state) in seen:
            continue
        seen.add((done, state))
        horizon = min(call.returned for number in required - done if (call := calls[number]).returned is not None)
        gaps = sum(number not in done and calls[number].invoked <= horizon for number in unknown)
        for number, call in enumerate(calls):
            if number not in done and call.invoked <= horizon:
                stack += [(done | {number}, after) for after in apply(state, call, gaps)]
    return False


def apply(state: State, call: Call, gaps: int) -> Iterator[State]:
    """The states after ``call`` takes effect now with the answer that it gave; none if it could not have given that."""
    operation, result = call.operation, call.result
    match operation:
        case Create() | Update() | Delete():
            retry = operation.retry
            first = None if retry is None else next((entry for entry in state.keys if entry[0] == retry.key), None)
            if first is not None and retry is not None:
                yield from _recalled(state, first, retry.request, result)
                return
            yield from _written(state, call, operation, gaps)
        case Read(secret=secret):
            yield from _read(state, operation, state.versions(secret), result, gaps)
        case History(secret=secret):
            versions = state.versions(secret)
            if not versions:
                yield from _if(result, "secret_not_found", state)
            elif isinstance(result, Versions):
                yield from _observed(state, versions, result.versions, gaps)


def _if(result: Result | None, code: str, state: State) -> Iterator[State]:
    if result is None or (isinstance(result, Failed) and result.code == code):
        yield state


def _recalled(state: State, first: tuple[bytes, bytes, tuple[int, ...] | None], request: bytes, result: Result | None) -> Iterator[State]:
    _, asked, outcome = first
    if asked != request:
        yield from _if(result, "idempotency_key_reused", state)
    elif result is None or (outcome is None and isinstance(result, Deleted)):
        yield state
    elif outcome is not None and isinstance(result, Written):
        yield from _bound(state, outcome, result.versions)


def _written(state: State, call: Call, operation: Create | Update | Delete, gaps: int) -> Iterator[State]:
    retry, result = operation.retry, call.result
    keys = lambda outcome: state.keys if retry is None else (*state.keys, (retry.key, retry.request, outcome))  # noqa: E731
    match operation:
        case Create(secrets=news):
            if any(state.versions(new.secret) for new in news):
                yield from _if(result, "secret_exists", state)
                return
        case Update(secret=new):
            news = (new,)
            if not state.versions(new.secret):
                yield from _if(result, "secret_not_found", state)
                return
            if operation.expected_version is not None:
                latest = state.entries[state.versions(new.secret)[-1]]
                if latest.version is not None and latest.version != operation.expected_version:
                    yield from _if(result, "version_mismatch", state)
                    return
                if latest.version is None and isinstance(result, Failed) and result.code == "version_mismatch":
                    yield state
                    return
        case Delete(secret=secret):
            if not state.versions(secret):
                yield from _if(result, "secret_not_found", state)
            elif result is None or isinstance(result, Deleted):
                yield replace(state.with_versions(secret, ()), keys=keys(None))
            return
    if result is not None and not isinstance(result, Written):
        return
    shown: tuple[Version | None, ...] = result.versions if result is not None else (None,) * len(news)
    if any(version is not None and version.valid_from < operation.now for version in shown):
        return
    number = 1 if isinstance(operation, Create) else None
    if isinstance(operation, Update) and operation.expected_version is not None:
        number = operation.expected_version + 1  # SEM-9: with If-Match none stands upon a doubt
    if number is not None and any(version is not None and version.version != number for version in shown):
        return
    added = range(len(state.entries), len(state.entries) + len(news))
    entries = state.entries + tuple(
        Entry(new.secret, new.value, version.version if version is not None else number, version and version.valid_from, result is None)
        for new, version in zip(news, shown, strict=True)
    )
    after = replace(state, entries=entries, keys=keys(tuple(added)))
    for new, index in zip(news, added, strict=True):
        after = after.with_versions(new.secret, (*after.versions(new.secret), index))
    if all(_in_order(after, after.versions(new.secret), gaps) for new in news):
        yield after


def _read(state: State, read: Read, versions: tuple[int, ...], result: Result | None, gaps: int) -> Iterator[State]:
    if not versions:
        yield from _if(result, "secret_not_found", state)
        return
    if isinstance(result, Failed) and result.code == "version_not_found":
        if read.version is not None and all(state.entries[index].version != read.version for index in versions):
            yield state
        first = state.entries[versions[0]].since
        if read.at is not None and (first is None or read.at < first):
            yield state
        return
    if not isinstance(result, Found):
        return
    shown = result.version
    for place, index in enumerate(versions):
        last = place + 1 == len(versions)
        if result.value != state.entries[index].value or (read.version is read.at is None and not last):
            continue
        if read.version not in (None, shown.version) or (shown.valid_to is None) != (last or read.version is read.at is None):
            continue
        if read.at is not None and not shown.valid_from <= read.at < (shown.valid_to or read.at + 1):
            continue
        for bound in _bound(state, (index,), (shown,)):
            if shown.valid_to is None:
                yield from (each for each in [bound] if _in_order(each, versions, gaps))
            else:
                after = replace(bound.entries[versions[place + 1]], since=shown.valid_to)
                if bound.entries[versions[place + 1]].since in (None, shown.valid_to):
                    entries = list(bound.entries)
                    entries[versions[place + 1]] = after
                    both = replace(bound, entries=tuple(entries))
                    if _in_order(both, versions, gaps):
                        yield both


def _observed(state: State, versions: tuple[int, ...], shown: tuple[Version, ...], gaps: int) -> Iterator[State]:
    ends = [version.valid_from for version in shown[1:]]
    if len(versions) == len(shown) and [version.valid_to for version in shown] == [*ends, None]:
        yield from (each for each in _bound(state, versions, shown) if _in_order(each, versions, gaps))


def _bound(state: State, indices: tuple[int, ...], shown: tuple[Version, ...]) -> Iterator[State]:
    """The entries, now that their versions and times are known; nothing if they were known to be others."""
    entries = list(state.entries)
    for index, version in zip(indices, shown, strict=True):
        entry = entries[index]
        if entry.version not in (None, version.version) or entry.since not in (None, version.valid_from):
            return
        entries[index] = replace(entry, version=version.version, since=version.valid_from)
    if all(_rising(entries, entries[index].secret) for index in indices):
        yield replace(state, entries=tuple(entries))


def _rising(entries: Sequence[Entry], secret: SecretId) -> bool:
    """Whether the times that are known rise in the order of the writes, through deletes too (SEM-13)."""
    times = [entry.since for entry in entries if entry.secret == secret and entry.since is not None]
    return all(one < other for one, other in pairwise(times))


def _in_order(state: State, versions: tuple[int, ...], gaps: int) -> bool:
    """Versions count from 1; numbers are left out at most as often as an outcome stayed unknown; times rise."""
    number = 0
    if not _rising(state.entries, state.entries[versions[0]].secret):
        return False
    for index in versions:
        entry = state.entries[index]
        number += 1
        if entry.version is not None:
            if entry.version < number or (index == versions[0] and entry.version != 1):
                return False
            gaps -= entry.version - number
            number = entry.version
    return gaps >= 0
