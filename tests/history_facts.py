"""What a history of one secret says before any search: which writes there were, what became of them, and which versions were seen.

All attempts with one idempotency key are one write (SEM-21); values are unique, and times rise with every write (SEM-13), so the versions
that anybody saw have one known order. What contradicts itself already here is a ``Violation``; the rest is for ``history_checker``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from linearizability import Call

from model.operation import Create, Delete, Deleted, Failed, Found, History, Read, Result, Update, Version, Versions, Written
from model.secret import Write

FOREVER = 2**63


class Violation(Exception):
    """No order of the calls explains their answers. The text holds no value."""


@dataclass(eq=False)
class Effect:
    """One write, whatever the number of attempts. It happened after ``first``; where an attempt succeeded it is ``sure``, and was
    before ``last``. ``written`` is the version that it made, as far as anybody saw it. ``refusals`` are attempts that were refused."""

    number: int
    write: Write
    first: int = FOREVER
    last: int = FOREVER
    written: Version | None = None
    sure: bool = False
    refusals: list[Call] = field(default_factory=list)

    @property
    def value(self) -> bytes | None:
        match self.write:
            case Create(secrets=(new,)) | Update(secret=new):
                return new.value
            case _:
                return None

    @property
    def expected(self) -> int | None:
        return self.write.expected_version if isinstance(self.write, Update) else None


@dataclass(eq=False)
class Slot:
    """A version that somebody saw, at its place among all of them. ``effect`` is None where nobody saw its value."""

    time: int
    version: int | None = None
    effect: Effect | None = None
    shown: int = FOREVER


class Facts:
    """``effects`` are the writes; ``slots`` the versions seen, by time; ``reused`` the calls with the key of a write that had happened, for
    something else; ``shows`` the reads and histories; ``doubtful`` when each update with an unknown outcome was asked for, in order."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self.effects: list[Effect] = []
        self.reused: list[tuple[Effect, Call]] = []
        self.doubtful: list[int] = []
        self._gather([call for call in calls if isinstance(call.operation, Write)])
        self.shows = [call for call in calls if isinstance(call.operation, Read | History) and call.result is not None]
        self.slots = self._order()

    def _gather(self, writes: Sequence[Call]) -> None:
        """Attempts become effects."""
        by_key: dict[bytes, Effect] = {}
        values: set[bytes] = set()
        for call in sorted(writes, key=lambda call: call.invoked):
            write = call.operation
            assert isinstance(write, Write)
            key = write.retry.key if write.retry is not None else None
            effect = by_key.get(key) if key is not None else None
            if effect is not None and not _same(effect.write, write):
                if effect.last > call.invoked:
                    raise ValueError("a key was used for something else before its first outcome was known")
                if call.result is not None:
                    self.reused.append((effect, call))
                continue
            if effect is None:
                effect = Effect(len(self.effects), write)
                self.effects.append(effect)
                if effect.value is not None and effect.value in values:
                    raise ValueError("two writes of the same value")
                values.update([] if effect.value is None else [effect.value])
                if key is not None:
                    by_key[key] = effect
            self._attempt(effect, call)
        self.doubtful.sort()

    def _attempt(self, effect: Effect, call: Call) -> None:
        result = call.result
        if call.returned is None or result is None:
            if isinstance(effect.write, Update):
                self.doubtful.append(call.invoked)
            effect.first = min(effect.first, call.invoked)
            return
        match result:
            case Failed():
                effect.refusals.append(call)
                return
            case Written(versions=(version,)) if not isinstance(effect.write, Delete):
                if effect.written not in (None, version):
                    raise Violation(f"{tell(call)}: another outcome than the first one of its key")
                effect.written = version
                if version.valid_to is not None or (version.version == 1) != isinstance(effect.write, Create):
                    raise Violation(f"{tell(call)}: impossible for this request")
                if effect.expected is not None and version.version != effect.expected + 1:
                    raise Violation(f"{tell(call)}: not the number after that of If-Match")
            case Deleted() if isinstance(effect.write, Delete):
                pass
            case _:
                raise Violation(f"{tell(call)}: an answer to something else")
        effect.sure = True
        effect.first = min(effect.first, call.invoked)
        effect.last = min(effect.last, call.returned)

    def _order(self) -> list[Slot]:
        """Every version that an answer showed, by its time."""
        slots: dict[int, Slot] = {}
        owners = {effect.value: effect for effect in self.effects if effect.value is not None}

        def show(call: str, returned: int, time: int, version: int | None, effect: Effect | None) -> None:
            slot = slots.setdefault(time, Slot(time))
            if version is not None:
                if slot.version not in (None, version):
                    raise Violation(f"{call}: another version has the same time")
                slot.version = version
            if effect is not None:
                known = effect.written or Version(version or 0, time)
                if slot.effect not in (None, effect) or (known.version, known.valid_from) != (version, time):
                    raise Violation(f"{call}: the version, time and value do not belong together")
                if (version == 1) != isinstance(effect.write, Create) or (effect.expected is not None and version != effect.expected + 1):
                    raise Violation(f"{call}: a number that this write cannot have got")
                slot.effect, effect.written = effect, known
            slot.shown = min(slot.shown, returned)

        for effect in self.effects:
            if effect.written is not None:
                show(tell_write(effect.write), effect.last, effect.written.valid_from, effect.written.version, effect)
        for call in self.shows:
            assert call.returned is not None
            for version in _shown(call.result):
                owner = None
                if isinstance(call.result, Found) and call.result.value is not None:
                    owner = owners.get(call.result.value)
                    if owner is None:
                        raise Violation(f"{tell(call)}: a value that nobody wrote")
                show(tell(call), call.returned, version.valid_from, version.version, owner)
                if version.valid_to is not None:
                    show(tell(call), call.returned, version.valid_to, None, None)
        return [slots[time] for time in sorted(slots)]


def _same(first: Write, other: Write) -> bool:
    """Whether two attempts with one key ask for the same."""
    match first, other:
        case Create(secrets=(one,)), Create(secrets=(two,)):
            return one == two
        case Update(), Update():
            return (first.secret, first.expected_version) == (other.secret, other.expected_version)
        case _:
            return isinstance(first, Delete) and isinstance(other, Delete)


def _shown(result: Result | None) -> tuple[Version, ...]:
    match result:
        case Found(version=version):
            return (version,)
        case Versions(versions=versions):
            return versions
        case _:
            return ()


def tell(call: Call) -> str:
    """A call in words, without values."""
    match call.result:
        case Failed(code=code):
            answer = code
        case Written(versions=versions):
            answer = f"written {[(each.version, each.valid_from) for each in versions]}"
        case Found() | Versions():
            answer = f"{[(each.version, each.valid_from, each.valid_to) for each in _shown(call.result)][-3:]}"
        case other:
            answer = type(other).__name__.lower()
    operation = call.operation
    if isinstance(operation, Read):
        return f"read (version {operation.version}, at {operation.at}) -> {answer}"
    return f"{tell_write(operation) if isinstance(operation, Write) else 'history'} -> {answer}"


def tell_write(write: Write) -> str:
    key = write.retry.key.hex()[:8] if write.retry is not None else "none"
    expected = f" if {write.expected_version}" if isinstance(write, Update) and write.expected_version is not None else ""
    return f"{type(write).__name__.lower()}{expected} (key {key})"
