"""Could the answers about one secret have come from one vault that does one thing at a time? For histories of many thousand calls.

The search is Wing and Gong's ("Testing and Verifying Concurrent Objects", 1993) with Lowe's memory of what was tried ("Testing for
linearizability", 2017). What keeps it fast is that answers say much here:

- values are unique and times rise with every write (SEM-13), so the versions that anybody saw have one known order, the *slots*;
- whatever changes nothing is absorbed as soon as it fits: taking it earlier never spoils what follows;
- all attempts with one idempotency key are one write (SEM-21), which happened between the first question and the first success;
- unknown writes that nobody saw are alike, but for their kind; they are tried only where something else waits for them.

So little is left to try: where deletes go, and which unknown writes happened unseen. It errs on the side of the vault where the number of a
version that nobody saw would matter. ``linearizability`` is the slow twin, for several secrets at once.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from history_facts import FOREVER, Effect, Facts, Violation, tell, tell_write
from linearizability import Call

from model.operation import Create, Delete, Failed, Found, History, Read, Update, Version, Versions, Written
from model.secret import Write

MOST_STATES = 2_000_000


class Undecided(Exception):
    """The search was given up after ``MOST_STATES`` states."""


class State(NamedTuple):
    """``next`` slots have happened, the secret's oldest version is slot ``start``. ``unseen``: before which slots versions lie that
    nobody saw. ``skipped`` version numbers were left out so far. ``used`` are the effects without a slot that happened."""

    next: int = 0
    live: bool = False
    start: int = 0
    unseen: tuple[int, ...] = ()
    skipped: int = 0
    used: frozenset[int] = frozenset()


@dataclass(eq=False)
class Item:
    """What must find its place: a slot, a delete, or (``fits``) an answer that changes nothing. ``live``: what the secret must be."""

    call: str
    invoked: int
    returned: int
    live: bool
    fits: Callable[[State], bool] | None = None
    slot: int | None = None
    delete: Effect | None = None
    mismatch: int | None = None


Step = tuple[State, tuple[Item, ...], int]
"""What has happened, which of the items that began do not fit yet, and how many have begun."""


def check(calls: Sequence[Call]) -> int:
    """How many states were looked at. Raises Violation, Undecided; ValueError where values are not unique, or keys used wildly."""
    return Checker(calls).search()


class Checker:
    """One history: what is known before the search, then the search."""

    def __init__(self, calls: Sequence[Call]) -> None:
        facts = Facts(calls)
        self.slots, self.effects, self.doubtful = facts.slots, facts.effects, facts.doubtful
        self.items: list[Item] = []
        self.refusals: dict[Effect, list[Item]] = {}
        self.times = [slot.time for slot in self.slots]
        self.places: dict[int, list[int]] = {}
        for place, slot in enumerate(self.slots):
            if slot.version is not None:
                self.places.setdefault(slot.version, []).append(place)
        self.unseen = [effect for effect in self.effects if effect.written is None and not effect.sure and effect.first < FOREVER]
        self.spent = [0]
        for slot in self.slots:
            self.spent.append(self.spent[-1] + (slot.version != 1 and slot.effect is not None and not slot.effect.sure))
        self._items(facts)
        self.items.sort(key=lambda item: item.invoked)
        self.index = {item: number for number, item in enumerate(self.items)}

    # What must find its place

    def _items(self, facts: Facts) -> None:
        for place, slot in enumerate(self.slots):
            effect, create = slot.effect, slot.version == 1
            candidates = [effect.first] if effect is not None else [each.first for each in self.unseen if _kind(each, create)]
            if not candidates:
                raise Violation(f"version {slot.version} at {slot.time}: nobody wrote it")
            deadline = min(slot.shown, effect.last if effect is not None else FOREVER)
            what = f"slot {place}: version {slot.version} at {slot.time}"
            self.items.append(Item(what, min(candidates), deadline, not create, slot=place))
        for effect in self.effects:
            if effect.sure and isinstance(effect.write, Delete):
                self.items.append(Item(tell_write(effect.write), effect.first, effect.last, True, delete=effect))
            for call in effect.refusals:
                self._refused(effect, call)
        for effect, call in facts.reused:
            self._reused(effect, call)
        for call in facts.shows:
            self._read(call)

    def _add(
        self, call: Call, live: bool, fits: Callable[[State], bool], refused: Effect | None = None, mismatch: int | None = None
    ) -> None:
        assert call.returned is not None
        item = Item(tell(call), call.invoked, call.returned, live, fits, mismatch=mismatch)
        self.items.append(item)
        if refused is not None:
            self.refusals.setdefault(refused, []).append(item)

    def _refused(self, effect: Effect, call: Call) -> None:
        """A refusal says what the secret is, and that no attempt of this write has happened yet (SEM-5, SEM-21)."""
        code = call.result.code if isinstance(call.result, Failed) else ""
        expected = effect.expected
        match effect.write, code:
            case (Create(), "secret_exists"):
                self._add(call, True, lambda state: state.live, effect)
            case (Update() | Delete(), "secret_not_found"):
                self._add(call, False, lambda state: not state.live, effect)
            case (Update(), "version_mismatch") if expected is not None:
                self._add(call, True, lambda state: state.live and self._latest(state) != (expected, True), effect, expected)
            case _:
                raise Violation(f"{tell(call)}: impossible for this request")

    def _reused(self, effect: Effect, call: Call) -> None:
        """The key of a write that happened, with another request or value: refused, or, once the value is gone, the first outcome."""
        first, other = effect.write, call.operation
        assert isinstance(other, Write)
        assert first.retry is not None
        assert other.retry is not None
        alike = first.retry.request == other.retry.request
        if isinstance(call.result, Failed) and call.result.code == "idempotency_key_reused":
            if alike:
                self._add(call, True, lambda state: self._kept(effect, state))
        elif not (alike and call.result == Written((effect.written,) if effect.written is not None else ())):
            raise Violation(f"{tell(call)}: its key belongs to another request")
        else:
            self._add(call, False, lambda state: self._happened(effect, state) and not self._kept(effect, state))

    def _read(self, call: Call) -> None:
        asked, result = call.operation, call.result
        match asked, result:
            case (_, Failed(code="secret_not_found")):
                self._add(call, False, lambda state: not state.live)
            case (Read(version=int() as wanted), Failed(code="version_not_found")):
                self._add(call, True, lambda state: state.live and not self._has(state, wanted))
            case (Read(at=int() as at), Failed(code="version_not_found")):
                self._add(call, True, lambda state: state.live and (state.start in state.unseen or at < self.times[state.start]))
            case (Read(), Found(version=shown)):
                if asked.version not in (None, shown.version):
                    raise Violation(f"{tell(call)}: another version")
                if asked.at is not None and not shown.valid_from <= asked.at < (shown.valid_to or FOREVER):
                    raise Violation(f"{tell(call)}: not valid at that time")
                if asked.version is asked.at is None and shown.valid_to is not None:
                    raise Violation(f"{tell(call)}: the latest version has an end")
                place = self._places(call, (shown,))[0]
                last = shown.valid_to is None
                self._add(call, True, lambda state: self._shows(state, place, last=last))
            case (History(), Versions(versions=versions)) if versions and versions[-1].valid_to is None:
                places = self._places(call, versions)
                first, end = places[0], places[-1] + 1
                self._add(call, True, lambda state: state.live and (state.start, state.next, state.unseen) == (first, end, ()))
            case _:
                raise Violation(f"{tell(call)}: an answer to something else")

    def _places(self, call: Call, versions: Sequence[Version]) -> list[int]:
        """Their slots. Raises Violation where they, and the end of the last, do not follow one another."""
        places = [bisect.bisect_left(self.times, version.valid_from) for version in versions]
        ends = [None if version.valid_to is None else bisect.bisect_left(self.times, version.valid_to) for version in versions]
        if any(end not in (None, place + 1) for place, end in zip(places, ends, strict=True)) or ends[:-1] != places[1:]:
            raise Violation(f"{tell(call)}: there is a version between, by its time")
        return places

    # What holds in a state

    def _happened(self, effect: Effect, state: State) -> bool:
        return effect.written is not None and bisect.bisect_left(self.times, effect.written.valid_from) < state.next

    def _kept(self, effect: Effect, state: State) -> bool:
        """Whether the version that this wrote is there."""
        if not state.live or effect.written is None:
            return False
        return state.start <= bisect.bisect_left(self.times, effect.written.valid_from) < state.next

    def _has(self, state: State, version: int) -> bool:
        """Whether a live secret surely has this version; the first it always has (SEM-10)."""
        if version == 1:
            return True
        places = self.places.get(version, [])
        return bisect.bisect_left(places, state.start) < bisect.bisect_left(places, state.next)

    def _shows(self, state: State, place: int, *, last: bool) -> bool:
        if not state.live or not state.start <= place < state.next or place + 1 in state.unseen:
            return False
        return (place + 1 == state.next) == last

    def _low(self, state: State) -> tuple[int, bool]:
        """The least number that the latest version can have, and whether it has exactly that."""
        low, exact = 0, True
        for place in range(state.start, state.next + 1):
            extra = state.unseen.count(place)
            low, exact = low + extra, extra == (place == state.start) if extra else exact
            if place < state.next:
                version = self.slots[place].version
                low, exact = (low + 1, False) if version is None else (version, True)
        return low, exact

    def _latest(self, state: State) -> tuple[int, bool]:
        """As ``_low``, at once where the latest version was seen."""
        if state.next > state.start and state.next not in state.unseen:
            version = self.slots[state.next - 1].version
            if version is not None:
                return version, True
        return self._low(state)

    # The search

    def search(self) -> int:
        """How many states were looked at. Raises Violation, Undecided."""
        stack: list[Iterator[Step]] = [iter([(State(), (), 0)])]
        tried: set[Step] = set()
        furthest: tuple[int, State, tuple[Item, ...]] = (-1, State(), ())
        while stack:
            step = next(stack[-1], None)
            if step is None:
                stack.pop()
                continue
            state, waiting, begun = self._absorb(*step)
            if not waiting and begun == len(self.items):
                return len(tried)
            if (state, waiting, begun) in tried:
                continue
            tried.add((state, waiting, begun))
            if len(tried) > MOST_STATES:
                raise Undecided(f"{len(self.items)} answers, {len(self.unseen)} unknown outcomes")
            furthest = max(furthest, (begun - len(waiting), state, waiting), key=lambda each: each[0])
            stack.append(self._successors(state, waiting, begun))
        raise Violation(self._explain(*furthest))

    def _absorb(self, state: State, waiting: tuple[Item, ...], begun: int) -> Step:
        """Without whatever fits now and changes nothing; with all that began before anything that still waits had to end."""
        left = [item for item in waiting if item.fits is None or not item.fits(state)]
        horizon = min((item.returned for item in left), default=FOREVER)
        while begun < len(self.items) and self.items[begun].invoked <= horizon:
            item = self.items[begun]
            begun += 1
            if item.fits is None or not item.fits(state):
                left.append(item)
                horizon = min(horizon, item.returned)
        return state, tuple(left), begun

    def _successors(self, state: State, waiting: tuple[Item, ...], begun: int) -> Iterator[Step]:
        """Everything that may happen next: what somebody saw, deletes, and last what nobody saw."""
        for item in waiting:
            if item.slot is not None and item.slot == state.next and item.live == state.live:
                rest = tuple(each for each in waiting if each is not item)
                yield from ((after, rest, begun) for after in self._fill(state, item.slot, waiting, begun))
        for item in waiting:
            if item.delete is not None and state.live and self._free(item.delete, waiting, begun):
                rest = tuple(each for each in waiting if each is not item)
                yield State(state.next, False, state.next, (), state.skipped, state.used), rest, begun
        choices = list(self._choices(state, self.unseen, waiting, begun))
        wanted = {item.live for item in waiting}
        anew = any(isinstance(effect.write, Create) for effect in choices)
        another_number = state.live and self._number_wanted(state, waiting)
        for effect in choices:
            used = state.used | {effect.number}
            match effect.write:
                case Create() if not state.live and True in wanted:
                    yield State(state.next, True, state.next, (state.next,), state.skipped, used), waiting, begun
                case Delete() if state.live and (anew or False in wanted):
                    yield State(state.next, False, state.next, (), state.skipped, used), waiting, begun
                case Update() if another_number and effect.expected in (None, self._latest(state)[0]):
                    yield state._replace(unseen=(*state.unseen, state.next), used=used), waiting, begun

    def _number_wanted(self, state: State, waiting: tuple[Item, ...]) -> bool:
        """Whether something waits for another latest number. One unseen update is enough: others below it count as left out."""
        low, exact = self._latest(state)
        if not exact:
            return False
        for item in waiting:
            effect = self.slots[item.slot].effect if item.slot is not None and item.slot == state.next else None
            if item.mismatch == low or (effect is not None and effect.expected is not None and effect.expected > low):
                return True
        return False

    def _free(self, effect: Effect, waiting: tuple[Item, ...], begun: int) -> bool:
        """Whether every refusal of this write has found its place: only then may it happen."""
        return all(self.index[item] < begun and item not in waiting for item in self.refusals.get(effect, ()))

    def _choices(self, state: State, effects: Sequence[Effect], waiting: tuple[Item, ...], begun: int) -> Iterator[Effect]:
        """Of the unseen effects that may happen now, one of each kind."""
        kinds = set()
        horizon = min(item.returned for item in waiting)
        for effect in effects:
            kind = (type(effect.write), effect.expected)
            if effect.first <= horizon and kind not in kinds and effect.number not in state.used and self._free(effect, waiting, begun):
                kinds.add(kind)
                yield effect

    def _fill(self, state: State, place: int, waiting: tuple[Item, ...], begun: int) -> Iterator[State]:
        """The next slot happens."""
        slot = self.slots[place]
        if not state.live:
            state = state._replace(start=place, unseen=())
        low, exact = self._latest(state) if state.live else (0, True)
        gap = 0 if slot.version is None else slot.version - low - 1
        horizon = min(item.returned for item in waiting)
        budget = bisect.bisect_right(self.doubtful, horizon) - self.spent[place + 1] - self._unseen_updates(state)
        if gap < 0 or state.skipped + gap > max(budget, state.skipped):
            return
        after = state._replace(next=place + 1, live=True, skipped=state.skipped + gap)
        if slot.effect is not None:
            expected = slot.effect.expected
            if (expected is None or not exact or expected == low) and self._free(slot.effect, waiting, begun):
                yield after
            return
        candidates = [each for each in self.unseen if _kind(each, slot.version == 1)]
        for effect in self._choices(state, candidates, waiting, begun):
            if effect.expected is None or slot.version in (None, effect.expected + 1):
                yield after._replace(used=state.used | {effect.number})

    def _unseen_updates(self, state: State) -> int:
        return sum(1 for number in state.used if isinstance(self.effects[number].write, Update))

    def _explain(self, done: int, state: State, waiting: tuple[Item, ...]) -> str:
        latest = self._latest(state)[0] if state.live else "absent"
        lines = [f"{done} of {len(self.items)} answers can be explained; then the secret is {latest}, with {state}, and these cannot:"]
        lines += [f"{item.call} [{item.invoked}, {item.returned}]" for item in sorted(waiting, key=lambda item: item.returned)[:12]]
        return "\n- ".join(lines)


def _kind(effect: Effect, create: bool) -> bool:
    return isinstance(effect.write, Create if create else Update)
