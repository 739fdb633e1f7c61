"""What a run finds, as values: one struct for each kind of measurement, and the statistics over them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

from benchmarks.usage import Machine


class Shape(NamedTuple):
    """How many nodes a cluster has, and how many of them rebuild a secret."""

    node_count: int
    threshold: int

    def point(self, operation: str) -> str:
        """What the point of ``operation`` by 32 clients in such a cluster is called."""
        return f"{operation}, n={self.node_count}, k={self.threshold}"


SHAPES = (Shape(3, 2), Shape(5, 3), Shape(7, 4))
"""The clusters that are compared."""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one measurement. CPU is milliseconds for each request; its front is the floor's own process, or the gateway.

    ``ratio`` is to the point named ``base`` in the same block: of the rates, or, where one client measures, of the p50s.
    ``generator_share`` is the part of one core that the load generator took. ``refused`` counts answers 503, which only faults allow.
    """

    what: str
    clients: int
    requests: int
    refused: int = 0
    rate: float
    p50_ms: float
    p99_ms: float
    base: str
    ratio: float = 1.0
    generator_cpu_ms: float
    generator_share: float
    front_cpu_ms: float
    coordinator_cpu_ms: float = 0.0
    peers_cpu_ms: float = 0.0

    @property
    def cpu_ms(self) -> float:
        """CPU of all processes of the vault, or of the floor, for one request."""
        return self.front_cpu_ms + self.coordinator_cpu_ms + self.peers_cpu_ms


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """One run with a node paused: p99 in the second before, of what was under way then or sent in the second after, and of what came later.

    ``longest_ms`` is the longest that anybody waited for an answer, and ``refused`` how many answers were 503.
    """

    what: str
    requests: int
    refused: int
    healthy_p99_ms: float
    first_second_p99_ms: float
    later_p99_ms: float
    longest_ms: float

    @property
    def ratio(self) -> float:
        """How many times the healthy p99 the p99 is from the second second on."""
        return self.later_p99_ms / self.healthy_p99_ms


class CatchUp(msgspec.Struct, frozen=True, kw_only=True):
    """How far a restarted node was with the secrets created in its absence, when a measurement beside it began and ended."""

    what: str
    missed: int
    missing_before: int
    missing_after: int


class Store(msgspec.Struct, frozen=True, kw_only=True):
    """What a store of so many ``versions`` of ``secrets`` takes. Each list has one item for each node."""

    secrets: int
    versions: int
    node_megabytes: Sequence[float]
    gateway_megabytes: float
    node_disk_bytes: Sequence[int]


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """All that was found, filled as it goes on. ``seconds`` is how long each run of a point was."""

    machine: Machine
    seconds: float
    points: list[Point] = []
    pauses: list[Pause] = []
    catch_ups: list[CatchUp] = []
    stores: list[Store] = []

    def json(self) -> bytes:
        """Every run of everything, indented JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    def of(self, what: str) -> list[Point]:
        """The runs of one point. Raises KeyError where there is none."""
        found = [point for point in self.points if point.what == what]
        if not found:
            raise KeyError(what)
        return found

    def middle(self, what: str, of: Callable[[Point], float]) -> float:
        """The median over the runs of one point. Raises KeyError where there is none."""
        return statistics.median(map(of, self.of(what)))


def spread(values: Iterable[float], digits: int) -> str:
    """Median, and where there is more than one value (minimum - maximum)."""
    found = list(values)
    middle = f"{statistics.median(found):,.{digits}f}"
    return middle if len(found) == 1 else f"{middle} ({min(found):,.{digits}f} - {max(found):,.{digits}f})"


def at_clients(operation: str, clients: int) -> str:
    """What the point of ``operation`` with so many clients is called."""
    return f"{operation}, {clients} {'client' if clients == 1 else 'clients'}"


def at_size(operation: str, secrets: int) -> str:
    """What the point of ``operation`` by 32 clients in a store of so many secrets is called."""
    return f"{at_clients(operation, 32)}, {secrets:,} secrets"
