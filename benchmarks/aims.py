"""What the figures should be, and whether they are."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from benchmarks.points import Point, Results, Store, at_size

RATIOS: dict[str, tuple[str, float]] = {
    "get, 32 clients": (">=", 0.5),
    "create, 32 clients": (">=", 0.25),
    "get, 1 client": ("<=", 8.0),
    ".env of 100": ("<=", 30.0),
}
"""What the ratio to the floor should be."""
PAUSED = 2.0
"""How many times the healthy p99 the p99 may be from the second second of a pause on."""
FLAT = 1.5
"""What is called flat: at most so many times as much in the largest case as in the smallest."""


class Aim(NamedTuple):
    """One aim and the median that was found."""

    what: str
    sign: str
    bound: float
    found: float

    @property
    def met(self) -> bool:
        return self.found >= self.bound if self.sign == ">=" else self.found <= self.bound

    def __str__(self) -> str:
        return f"{self.what}: {self.found:.2f}, {self.sign} {self.bound:g} wanted: {'met' if self.met else 'not met'}"


def judge(results: Results) -> list[Aim]:
    """Every aim. Raises KeyError where a point that has one was not measured."""
    ratios = [Aim(f"{what}, to the floor", sign, bound, results.middle(what, _ratio)) for what, (sign, bound) in RATIOS.items()]
    return [*ratios, *_pauses(results), *_flat(results)]


def verdict(what: str, ratio: float) -> str:
    """What the table says of a point's ratio; nothing where it has no aim."""
    if what not in RATIOS:
        return ""
    sign, bound = RATIOS[what]
    return f"{sign} {bound:g}: {'met' if Aim(what, sign, bound, ratio).met else 'not met'}"


def _pauses(results: Results) -> Iterator[Aim]:
    for what in dict.fromkeys(pause.what for pause in results.pauses):
        ratio = statistics.median(pause.ratio for pause in results.pauses if pause.what == what)
        yield Aim(f"{what}, p99 after the first second to the healthy p99", "<=", PAUSED, ratio)


def _flat(results: Results) -> Iterator[Aim]:
    """CPU time per operation and memory against the number of secrets, CPU time against the number of versions."""
    small, large = _ends(results.stores)
    span = f"{large:,} secrets to {small:,}"
    for operation in ("get", "update"):
        growth = results.middle(at_size(operation, large), _cpu) / results.middle(at_size(operation, small), _cpu)
        yield Aim(f"{operation}, CPU with {span}", "<=", FLAT, growth)
        aged = results.middle(f"{operation}, 100 versions", _cpu) / results.middle(f"{operation}, 1 version", _cpu)
        yield Aim(f"{operation}, CPU with 100 versions to 1", "<=", FLAT, aged)
    yield Aim(f"memory of a node with {span}", "<=", FLAT, _megabytes(results, large) / _megabytes(results, small))


def _ends(stores: Sequence[Store]) -> tuple[int, int]:
    """The smallest and the largest store. Raises KeyError where there is none."""
    if not stores:
        raise KeyError("no store was measured")
    counts = [store.secrets for store in stores]
    return min(counts), max(counts)


def _megabytes(results: Results, secrets: int) -> float:
    return statistics.median(each for store in results.stores if store.secrets == secrets for each in store.node_megabytes)


def _ratio(point: Point) -> float:
    return point.ratio


def _cpu(point: Point) -> float:
    return point.cpu_ms
