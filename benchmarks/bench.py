"""One run of one measurement, and the floor before and after it.

A machine that others use is faster in one minute than in the next. So the floor is measured anew before and after every block of points,
and each figure is set against the floor of its own block.
"""

from __future__ import annotations

import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from multiprocessing import get_context

import msgspec

from benchmarks import load
from benchmarks.load import Client, Request, Sample, Shift, Target
from benchmarks.points import Point, Results, at_clients
from benchmarks.servers import Floor, Vault
from benchmarks.usage import Cpu
from benchmarks.workload import Requests, floor_get

CLIENTS = 32
WARM_SECONDS = 0.5
_SPAWN_SECONDS = 2.0
POLL_SECONDS, SETTLE_SECONDS = 0.1, 60.0
"""How often to look whether the vault is whole again, and for how long."""

Load = Sequence[Iterator[Request]]
"""The requests of each client."""


class Bench:
    """A floor and a vault under measurement. ``seconds`` is the length of a run, ``tell`` takes a line for each."""

    def __init__(self, floor: Floor, vault: Vault, results: Results, seconds: float, tell: Callable[[str], None]) -> None:
        self._floor = floor
        self.vault = vault
        self.results = results
        self.seconds = seconds
        self.tell = tell
        self.requests = Requests(vault.target, vault.token)
        self._random = random.Random(1)
        self._serial = itertools.count()

    def new_names(self, kind: str = "new") -> Iterator[str]:
        """Names that nobody had before, for ever."""
        serial = next(self._serial)
        return (f"bench/{kind}/{serial}/{number}" for number in itertools.count())

    def fill(self, start: int, end: int) -> None:
        """Create the base secrets numbered from ``start`` up to, not including, ``end``."""
        self.create([base_name(number) for number in range(start, end)])

    def create(self, names: Sequence[str]) -> None:
        """Create all of ``names``, with values of 1 KiB."""
        self.create_with(self.requests, names)

    def create_with(self, requests: Requests, names: Sequence[str]) -> None:
        """Create all of ``names`` by ``requests``."""
        load.run(self.vault.target, [requests.creates(names[client::CLIENTS]) for client in range(min(CLIENTS, len(names)))])

    def update(self, names: Sequence[str]) -> None:
        """Update ``names``, one after the other."""
        load.run(self.vault.target, [self.requests.updates(names)])

    def gets(self, clients: int, count: int) -> Load:
        """Gets at random among the first ``count`` base secrets."""
        return [self.requests.gets(self.any_base(count)) for _ in range(clients)]

    def any_base(self, count: int) -> Iterator[str]:
        """Names of base secrets, chosen at random, for ever."""
        while True:
            yield base_name(self._random.randrange(count))

    def warm_up(self, count: int) -> None:
        """Let every thread and connection come up, by gets among ``count`` base secrets."""
        load.run(self._floor.target, [floor_get() for _ in range(CLIENTS)], WARM_SECONDS)
        load.run(self.vault.target, self.gets(CLIENTS, count), WARM_SECONDS)

    def settle(self) -> None:
        """Wait until the gateway sees every node serve. Raises TimeoutError."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            seen: list[bool] = []
            load.run(self.vault.target, [self.requests.status(seen)])
            if not any(seen):
                return
            if time.monotonic() > deadline:
                raise TimeoutError("the vault stays degraded")
            time.sleep(POLL_SECONDS)

    def against_floor(self, clients: int, measurements: Mapping[str, Load], trouble: AbstractContextManager[None] | None = None) -> None:
        """The floor with so many clients, then each of ``measurements``, then the floor again.

        In ``trouble``, which begins and ends between the floors, a refusal is an answer.
        """
        base = at_clients("floor", clients)
        floors = [self._floor_point(base, clients)]
        with trouble or nullcontext():
            points = [self._vault_point(what, base, requests, refusals=trouble is not None) for what, requests in measurements.items()]
        floors.append(self._floor_point(base, clients))
        self._add(floors, points)

    def two_generators(self) -> None:
        """The floor driven by one generator, by two at once with half the clients each, and by one again."""
        base = at_clients("floor", CLIENTS)
        floors = [self._floor_point(base, CLIENTS)]
        before, begin = self._floor.cpu(), time.monotonic() + _SPAWN_SECONDS
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            halves = [pool.submit(_drive_floor, self._floor.target, CLIENTS // 2, self.seconds, begin) for _ in range(2)]
            first, second = (half.result() for half in halves)
        seconds, generator_seconds = max(first.seconds, second.seconds), first.generator_seconds + second.generator_seconds
        both = Sample([*first.answers, *second.answers], seconds, generator_seconds)
        point = self._told(to_point(f"{base}, two generators", base, CLIENTS, both, self._floor.cpu().since(before)))
        floors.append(self._floor_point(base, CLIENTS))
        self._add(floors, [point])

    def _add(self, floors: Sequence[Point], points: Sequence[Point]) -> None:
        self.results.points.extend([*floors, *(with_ratio(point, floors) for point in points)])

    def _floor_point(self, what: str, clients: int) -> Point:
        connected, before = load.connect(self._floor.target, [floor_get() for _ in range(clients)]), self._floor.cpu()
        return self._told(to_point(what, what, clients, self._driven(connected), self._floor.cpu().since(before)))

    def _vault_point(self, what: str, base: str, requests: Load, *, refusals: bool) -> Point:
        connected, before = load.connect(self.vault.target, requests, refusals=refusals), self.vault.cpu()
        return self._told(to_point(what, base, len(requests), self._driven(connected), self.vault.cpu().since(before)))

    def _driven(self, clients: Sequence[Client]) -> Sample:
        return load.drive([Shift(clients, end=self.seconds)])

    def _told(self, point: Point) -> Point:
        latency = f"p50 {point.p50_ms:8.2f} ms  p99 {point.p99_ms:8.2f} ms"
        self.tell(f"{point.what:44} {point.rate:8.0f}/s  {latency}  CPU {point.cpu_ms:6.2f} ms")
        return point


def base_name(number: int) -> str:
    """The name of a base secret."""
    return f"bench/base/{number}"


def with_ratio(point: Point, floors: Sequence[Point]) -> Point:
    """``point`` with its ratio to the mean of ``floors``: of p50 for one client, else of the rate."""
    if point.clients == 1:
        ratio = point.p50_ms / statistics.mean(floor.p50_ms for floor in floors)
    else:
        ratio = point.rate / statistics.mean(floor.rate for floor in floors)
    return msgspec.structs.replace(point, ratio=ratio)


def to_point(what: str, base: str, clients: int, sample: Sample, spent: Cpu) -> Point:
    """A run's figures. The busiest node is the one that coordinates."""
    each_ms = 1000 / len(sample.answers)
    nodes = [spent.nodes[place] for place in spent.by_work]
    return Point(
        what=what,
        clients=clients,
        requests=len(sample.answers),
        refused=sum(answer.refused for answer in sample.answers),
        rate=sample.rate,
        p50_ms=load.quantile_ms(sample.answers, 0.5),
        p99_ms=load.quantile_ms(sample.answers, 0.99),
        base=base,
        generator_cpu_ms=sample.generator_seconds * each_ms,
        generator_share=sample.generator_seconds / sample.seconds,
        front_cpu_ms=spent.front * each_ms,
        coordinator_cpu_ms=sum(nodes[:1]) * each_ms,
        peers_cpu_ms=sum(nodes[1:]) * each_ms,
    )


def _drive_floor(target: Target, clients: int, seconds: float, begin: float) -> Sample:
    """In a process of its own: drive the floor from ``begin`` (monotonic seconds) on."""
    connected = load.connect(target, [floor_get() for _ in range(clients)])
    time.sleep(max(0.0, begin - time.monotonic()))
    return load.drive([Shift(connected, end=seconds)])
