"""What a run found: as a table for people, as JSON for programs."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from benchmarks.measuring import Point

AIMS: dict[str, tuple[str, float]] = {
    "get, 32 clients": (">=", 0.5),
    "create, 32 clients": (">=", 0.25),
    "get": ("<=", 8.0),
    ".env of 100": ("<=", 30.0),
}
"""What each ratio to the floor should be."""
COLUMNS = (
    "what",
    "runs",
    "a second",
    "p50, ms",
    "p99, ms",
    "ratio to the floor",
    "aim",
    "CPU, ms: gateway + coordinator + peers",
    "generator, ms",
)


class Machine(msgspec.Struct, frozen=True):
    """Where it was measured; nothing that identifies the machine."""

    cores: int
    memory_gib: float
    system: str
    python: str
    sqlite: str


class Report(msgspec.Struct, frozen=True):
    """All of a run. Memory is each node's resident set in MB: at the start, and at the end of it all."""

    machine: Machine
    points: Sequence[Point]
    node_megabytes_before: Sequence[float]
    node_megabytes_after: Sequence[float]

    def json(self) -> bytes:
        """Every run of every point, indented JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    def table(self) -> str:
        """Every point in one line of a Markdown table; figures are median (minimum - maximum) of its runs."""
        machine = self.machine
        about = f"{machine.cores} cores, {machine.memory_gib:.0f} GiB, {machine.system}, Python {machine.python}, SQLite {machine.sqlite}"
        lines = [
            f"{about}; figures are median (minimum - maximum)",
            "",
            f"| {' | '.join(COLUMNS)} |",
            "|---" * len(COLUMNS) + "|",
            *(self._line(what) for what in dict.fromkeys(point.what for point in self.points)),
            "",
            f"memory of a node, MB: {_spread(self.node_megabytes_before, 0)} before, {_spread(self.node_megabytes_after, 0)} after",
        ]
        return "\n".join(lines) + "\n"

    def _line(self, what: str) -> str:
        points = [point for point in self.points if point.what == what]

        def spread(of: Callable[[Point], float], digits: int) -> str:
            return _spread([of(point) for point in points], digits)

        def middle(of: Callable[[Point], float]) -> float:
            return statistics.median(map(of, points))

        cpu = [
            middle(lambda point: point.front_cpu_ms),
            middle(lambda point: point.coordinator_cpu_ms),
            middle(lambda point: point.peers_cpu_ms),
        ]
        columns = [
            what,
            str(len(points)),
            spread(lambda point: point.rate, 0),
            spread(lambda point: point.p50_ms, 2),
            spread(lambda point: point.p99_ms, 1),
            "1" if what.startswith("floor") else spread(lambda point: point.ratio, 2),
            _verdict(what, middle(lambda point: point.ratio)),
            f"{cpu[0]:.2f}" if what.startswith("floor") else " + ".join(f"{each:.2f}" for each in cpu),
            f"{middle(lambda point: point.generator_cpu_ms):.2f}",
        ]
        return f"| {' | '.join(columns)} |"


def this_machine() -> Machine:
    """The machine that this runs on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return Machine(len(os.sched_getaffinity(0)), memory, platform.system(), platform.python_version(), sqlite3.sqlite_version)


def write(report: Report, output: Path) -> None:
    """Write ``report`` as JSON."""
    output.write_bytes(report.json())


def _verdict(what: str, ratio: float) -> str:
    if what not in AIMS:
        return ""
    sign, bound = AIMS[what]
    met = ratio >= bound if sign == ">=" else ratio <= bound
    return f"{sign} {bound:g}: {'met' if met else 'not met'}"


def _spread(values: Sequence[float], digits: int) -> str:
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} - {max(values):,.{digits}f})"
