"""The measurements of a vault in trouble: two nodes down, a node that catches up, a node that stands still."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from sqlite3 import connect

from benchmarks import load
from benchmarks.bench import CLIENTS, POLL_SECONDS, SETTLE_SECONDS, Bench, Load
from benchmarks.load import Answer, Event, Request, Sample, Shift
from benchmarks.operations import BASE
from benchmarks.points import CatchUp, Pause, at_clients

FAULT_CLIENTS = 8
WARM_SECONDS = 0.5
"""How long the load runs before it counts as healthy."""
SECOND = 1.0
PAUSE_AT = WARM_SECONDS + SECOND
WHOM: Mapping[str, int] = {"the coordinator": 0, "another": 1}
"""Which node is paused, as its place among the busiest: the first coordinates, the second is the peer that it asks most."""


def two_down(bench: Bench) -> None:
    """Gets and creates with two of five nodes killed: each time the one that coordinates."""
    creates = [bench.requests.creates(bench.new_names()) for _ in range(CLIENTS)]
    measurements: dict[str, Load] = {
        f"{at_clients('get', CLIENTS)}, two nodes down": bench.gets(CLIENTS, BASE),
        f"{at_clients('create', CLIENTS)}, two nodes down": creates,
    }
    bench.against_floor(CLIENTS, measurements, _two_killed(bench))


@contextmanager
def _two_killed(bench: Bench) -> Iterator[None]:
    for _ in range(2):
        bench.vault.kill(_places_by_work(bench)[0])
    bench.warm_up(BASE)
    yield
    bench.vault.start()
    bench.settle()


def catching_up(bench: Bench, missed: int) -> None:
    """Gets, then creates, while a node gets what it missed: ``missed`` creates."""
    for operation, of in _operations(bench).items():
        what = f"{at_clients(operation, FAULT_CLIENTS)}, a node catches up"
        bench.against_floor(CLIENTS, {what: [of() for _ in range(FAULT_CLIENTS)]}, _one_behind(bench, what, missed))


@contextmanager
def _one_behind(bench: Bench, what: str, missed: int) -> Iterator[None]:
    """A node that did not coordinate was away while ``missed`` secrets were created, was started again, and has the first of them."""
    vault = bench.vault
    place = _places_by_work(bench)[-1]
    names = list(itertools.islice(bench.new_names("missed"), missed))
    vault.kill(place)
    bench.create(names)
    vault.start()
    prefix = names[0].rpartition("/")[0]

    def missing() -> int:
        return missed - _count(vault.database(place), prefix)

    _await(lambda: missing() < missed, "begins to catch up")
    before = missing()
    yield
    bench.results.catch_ups.append(CatchUp(what=what, missed=missed, missing_before=before, missing_after=missing()))
    _await(lambda: not missing(), "catches up")
    bench.settle()


def paused(bench: Bench) -> None:
    """Gets and creates while one node stands still: the one that coordinates, then another."""
    for operation, of in _operations(bench).items():
        for whom, rank in WHOM.items():
            bench.results.pauses.append(_pause(bench, f"{operation}, {whom} paused", of, rank))


def _pause(bench: Bench, what: str, of: Callable[[], Iterator[Request]], rank: int) -> Pause:
    """A warm-up, a healthy second, the pause; a second later other clients come in place of the first, some of whom may still wait."""
    vault = bench.vault
    place = _places_by_work(bench)[rank]
    first, others = (load.connect(vault.target, [of() for _ in range(FAULT_CLIENTS)], refusals=True) for _ in range(2))
    change = PAUSE_AT + SECOND
    shifts = [Shift(first, end=change), Shift(others, change, change + max(bench.seconds, SECOND))]
    try:
        sample = load.drive(shifts, [Event(PAUSE_AT, lambda: vault.pause(place))])
    finally:
        vault.wake(place)
    bench.settle()
    found = to_pause(what, sample)
    bench.tell(
        f"{what:44} p99 {found.healthy_p99_ms:.1f} ms, in the first second {found.first_second_p99_ms:.1f} ms, "
        f"later {found.later_p99_ms:.1f} ms; longest {found.longest_ms:.0f} ms, {found.refused} refused"
    )
    return found


def to_pause(what: str, sample: Sample) -> Pause:
    """A run's figures, from answers before, across and after the pause."""
    healthy = [answer for answer in sample.answers if answer.sent >= WARM_SECONDS and answer.received <= PAUSE_AT]
    later = [answer for answer in sample.answers if answer.sent >= PAUSE_AT + SECOND]
    struck = [answer for answer in sample.answers if answer.received > PAUSE_AT and answer.sent < PAUSE_AT + SECOND]

    def p99_ms(answers: Sequence[Answer]) -> float:
        return load.quantile_ms(answers, 0.99)

    return Pause(
        what=what,
        requests=len(healthy) + len(struck) + len(later),
        refused=sum(answer.refused for answer in sample.answers),
        healthy_p99_ms=p99_ms(healthy),
        first_second_p99_ms=p99_ms(struck),
        later_p99_ms=p99_ms(later),
        longest_ms=load.quantile_ms([*struck, *later], 1.0),
    )


def _operations(bench: Bench) -> dict[str, Callable[[], Iterator[Request]]]:
    """The requests of one client, of each kind."""
    return {
        "get": lambda: bench.requests.gets(bench.any_base(BASE)),
        "create": lambda: bench.requests.creates(bench.new_names()),
    }


def _places_by_work(bench: Bench) -> list[int]:
    """The nodes that run, the one that coordinates first."""
    before = bench.vault.cpu()
    bench.warm_up(BASE)
    return [place for place in bench.vault.cpu().since(before).by_work if bench.vault.runs(place)]


def _await(holds: Callable[[], bool], what: str) -> None:
    """Wait until ``holds``. Raises TimeoutError."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"no node {what}")
        time.sleep(POLL_SECONDS)


def _count(database: Path, prefix: str) -> int:
    """How many secrets under ``prefix`` a node's database has."""
    with closing(connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
        return int(connection.execute("SELECT count(*) FROM register WHERE name GLOB ?", (f"{prefix}/*",)).fetchone()[0])
