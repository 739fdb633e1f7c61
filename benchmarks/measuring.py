"""The measurements: which points, in which order, how often, and the floor between them.

A machine that others use is faster in one minute than in the next. So every round measures the floor anew, before, between and after
its points, and each figure is set against the floor of its own round.
"""

from __future__ import annotations

import itertools
import random
import statistics
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from benchmarks import load
from benchmarks.load import Request, Sample
from benchmarks.servers import Cpu, Server
from benchmarks.workload import Requests, floor_get

CLIENTS = 32
BASE = 100
"""How many secrets there are at the start, and in a .env file or a batch."""
VERSIONS = 100
OLD = "bench/old"
YOUNG = 20


class Scale(NamedTuple):
    """How long it all takes: ``seconds`` for each point, ``rounds`` of all points, sizes of the store to compare."""

    seconds: float
    rounds: int
    large: tuple[int, ...]


QUICK = Scale(0.5, 3, (1_000,))
DEFAULT = Scale(3.0, 3, (10_000,))
FULL = Scale(3.0, 3, (10_000, 100_000))


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one measurement. CPU is milliseconds for each request; its front is the floor's own process, or the gateway.
    ``ratio`` is to the floor of the same round.

    A rate is set against the floor's rate at 32 clients; what one client measures, p50 against the floor's p50 at one client.
    """

    what: str
    clients: int
    requests: int
    rate: float
    p50_ms: float
    p99_ms: float
    ratio: float = 1.0
    generator_cpu_ms: float
    front_cpu_ms: float
    coordinator_cpu_ms: float
    peers_cpu_ms: float


class Bench:
    """A floor and a vault under measurement."""

    def __init__(self, floor: Server, vault: Server, scale: Scale) -> None:
        self._floor = floor
        self._vault = vault
        self._scale = scale
        self._requests = Requests(vault.target, vault.token)
        self._random = random.Random(1)
        self._serial = itertools.count()
        self.points: list[Point] = []

    def warm_up(self) -> None:
        """Create the base secrets, and let every thread and connection come up."""
        self.fill(0, BASE)
        load.run(self._floor.target, [floor_get() for _ in range(CLIENTS)], 0.5)
        load.run(self._vault.target, [self._requests.gets(_any(self._random, BASE)) for _ in range(CLIENTS)], 0.5)

    def fill(self, start: int, end: int) -> None:
        """Create the secrets numbered from ``start`` up to, not including, ``end``."""
        names = [_base(number) for number in range(start, end)]
        load.run(self._vault.target, [self._requests.creates(names[client::CLIENTS]) for client in range(CLIENTS)])

    def round(self) -> None:
        """Every point once."""
        requests, names = self._requests, [_base(number) for number in range(BASE)]
        created: list[str] = []
        points = [
            self._against_floor(1, {
                "get": [requests.gets(_any(self._random, BASE))],
                "create": [requests.creates(self._new(), created)],
                ".env of 100": [requests.env(names)],
                "batch read of 100": [requests.batch(names)],
            }),
            self._against_floor(CLIENTS, {
                "get, 8 clients": self._gets(8),
                "get, 32 clients": self._gets(CLIENTS),
            }),
            self._against_floor(CLIENTS, {
                "create, 8 clients": [requests.creates(self._new(), created) for _ in range(8)],
                "create, 32 clients": [requests.creates(self._new(), created) for _ in range(CLIENTS)],
            }),
        ]  # fmt: skip
        points.append(self._against_floor(CLIENTS, {
            "update, 32 clients": [requests.updates(itertools.cycle(created[client::CLIENTS])) for client in range(CLIENTS)],
        }))  # fmt: skip
        points.append(self._against_floor(CLIENTS, {
            "delete, 32 clients": [requests.deletes(created[client::CLIENTS]) for client in range(CLIENTS)],
        }))  # fmt: skip
        self.points += itertools.chain.from_iterable(points)

    def at_size(self, count: int) -> None:
        """Gets and updates all over a store of ``count`` secrets."""
        names = [_base(number) for number in range(count)]
        updates = [self._requests.updates(itertools.cycle(names[client::CLIENTS])) for client in range(CLIENTS)]
        self.points += self._against_floor(CLIENTS, {
            f"get, 32 clients, {count:,} secrets": self._gets(CLIENTS, count),
            f"update, 32 clients, {count:,} secrets": updates,
        })  # fmt: skip

    def grow_old(self) -> None:
        """Give one secret a hundred versions."""
        for requests in (self._requests.creates([OLD]), self._requests.updates([OLD] * (VERSIONS - 1))):
            load.run(self._vault.target, [requests])

    def at_versions(self) -> None:
        """Gets and updates of young secrets, and of one with a hundred versions."""
        young = [f"bench/young/{next(self._serial)}" for _ in range(YOUNG)]
        load.run(self._vault.target, [self._requests.creates(young)])
        self.points += self._against_floor(1, {
            "get, 1 version": [self._requests.gets(itertools.cycle(young))],
            "get, 100 versions": [self._requests.gets(itertools.repeat(OLD))],
            "update, 1 version": [self._requests.updates(young)],
            "update, 100 versions": [self._requests.updates([OLD] * YOUNG)],
        })  # fmt: skip

    def _gets(self, clients: int, count: int = BASE) -> list[Iterator[Request]]:
        return [self._requests.gets(_any(self._random, count)) for _ in range(clients)]

    def _new(self) -> Iterator[str]:
        serial = next(self._serial)
        return (f"bench/new/{serial}/{number}" for number in itertools.count())

    def _against_floor(self, clients: int, measurements: dict[str, Sequence[Iterator[Request]]]) -> list[Point]:
        """The floor, then each of ``measurements``, then the floor again."""
        what = "floor, 1 client" if clients == 1 else f"floor, {clients} clients"
        floors = [self._run(what, self._floor, [floor_get() for _ in range(clients)])]
        points = [self._run(what, self._vault, requests) for what, requests in measurements.items()]
        floors.append(self._run(what, self._floor, [floor_get() for _ in range(clients)]))
        rate, p50_ms = statistics.mean(point.rate for point in floors), statistics.mean(point.p50_ms for point in floors)
        ratios = [point.p50_ms / p50_ms if clients == 1 else point.rate / rate for point in points]
        return [*floors, *(msgspec.structs.replace(point, ratio=ratio) for point, ratio in zip(points, ratios, strict=True))]

    def _run(self, what: str, server: Server, requests: Sequence[Iterator[Request]]) -> Point:
        clients = load.connect(server.target, requests)
        before = server.cpu()
        sample = load.drive(clients, self._scale.seconds)
        point = _point(what, len(requests), sample, server.cpu().since(before))
        sys.stderr.write(f"  {what:34} {point.rate:8.0f}/s  p50 {point.p50_ms:8.2f} ms  p99 {point.p99_ms:8.2f} ms\n")
        return point


def _point(what: str, clients: int, sample: Sample, spent: Cpu) -> Point:
    each_ms = 1000 / len(sample.latencies)
    return Point(
        what=what,
        clients=clients,
        requests=len(sample.latencies),
        rate=sample.rate,
        p50_ms=sample.quantile_ms(0.5),
        p99_ms=sample.quantile_ms(0.99),
        generator_cpu_ms=sample.generator_seconds * each_ms,
        front_cpu_ms=spent.front * each_ms,
        coordinator_cpu_ms=sum(spent.nodes[:1]) * each_ms,
        peers_cpu_ms=sum(spent.nodes[1:]) * each_ms,
    )


def _base(number: int) -> str:
    return f"bench/base/{number}"


def _any(source: random.Random, count: int) -> Iterator[str]:
    """Names of base secrets, chosen at random, for ever."""
    while True:
        yield _base(source.randrange(count))
