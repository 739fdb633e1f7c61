"""What a run found, as Markdown for people: tables, what follows for many machines, and the aims."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks.aims import judge, verdict
from benchmarks.capacity import capacities
from benchmarks.points import CatchUp, Pause, Point, Results, Store, spread

BEGIN, END = "<!-- figures -->", "<!-- end -->"


class MarkersError(Exception):
    """A document has no place for the figures."""


def markdown(results: Results) -> str:
    """Everything, as one block. Figures are median (minimum - maximum) of the runs. Raises KeyError where something was not measured."""
    return "\n".join([
        _machine(results),
        "",
        *_points(results),
        "",
        "With one node paused, 8 clients; p99 in ms:",
        "",
        *_pauses(results.pauses),
        "",
        *_catch_ups(results.catch_ups),
        "",
        *_stores(results.stores),
        "",
        "What follows from the CPU column at 32 clients, if every process had a core of its own (an upper bound):",
        "",
        *_capacities(results),
        "",
        "Aims:",
        "",
        *(f"- {aim}" for aim in judge(results)),
        "",
    ])  # fmt: skip


def update(document: Path, block: str) -> None:
    """Put ``block`` between the markers of ``document``. Raises MarkersError where it has not exactly one pair, OSError."""
    text = document.read_text("utf-8")
    before, begin, rest = text.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise MarkersError(f"{document} must have {BEGIN} and {END} once, each on a line of its own")
    document.write_text(f"{before}{BEGIN}\n{block}{END}{after}", "utf-8")


def _machine(results: Results) -> str:
    machine = results.machine
    return (
        f"{machine.cores} cores ({machine.processor}), {machine.memory_gib:.0f} GiB, {machine.system}, Python {machine.python}, "
        f"SQLite {machine.sqlite}; load before it began {machine.load:.1f}. Median (minimum - maximum) of runs of {results.seconds:g} s."
    )


def _points(results: Results) -> Iterator[str]:
    yield from _header([
        "what", "runs", "a second", "p50, ms", "p99, ms", "ratio to the floor", "aim",
        "CPU, ms: gateway + coordinator + peers", "generator, ms", "generator, % of a core",
    ])  # fmt: skip
    for what in dict.fromkeys(point.what for point in results.points):
        yield _row(_point(results, what))


def _point(results: Results, what: str) -> list[str]:
    points = results.of(what)

    def of(figure: Callable[[Point], float], digits: int) -> str:
        return spread(map(figure, points), digits)

    def middle(figure: Callable[[Point], float]) -> float:
        return results.middle(what, figure)

    cpu = [
        middle(lambda point: point.front_cpu_ms),
        middle(lambda point: point.coordinator_cpu_ms),
        middle(lambda point: point.peers_cpu_ms),
    ]
    refused = sum(point.refused for point in points)
    return [
        what + (f" ({refused:,} of {sum(point.requests for point in points):,} refused)" if refused else ""),
        str(len(points)),
        of(lambda point: point.rate, 0),
        of(lambda point: point.p50_ms, 2),
        of(lambda point: point.p99_ms, 1),
        "1" if what == points[0].base else of(lambda point: point.ratio, 2),
        verdict(what, middle(lambda point: point.ratio)),
        f"{cpu[0]:.2f}" if what.startswith("floor") else " + ".join(f"{each:.2f}" for each in cpu),
        f"{middle(lambda point: point.generator_cpu_ms):.2f}",
        f"{100 * middle(lambda point: point.generator_share):.0f}",
    ]


def _pauses(pauses: Sequence[Pause]) -> Iterator[str]:
    yield from _header([
        "what", "runs", "the second before", "the first second", "after it", "after it / before", "longest answer, ms", "refused",
    ])  # fmt: skip
    for what in dict.fromkeys(pause.what for pause in pauses):
        own = [pause for pause in pauses if pause.what == what]
        yield _row([
            what,
            str(len(own)),
            spread((pause.healthy_p99_ms for pause in own), 1),
            spread((pause.first_second_p99_ms for pause in own), 1),
            spread((pause.later_p99_ms for pause in own), 1),
            spread((pause.ratio for pause in own), 2),
            spread((pause.longest_ms for pause in own), 0),
            f"{sum(pause.refused for pause in own):,} of {sum(pause.requests for pause in own):,}",
        ])  # fmt: skip


def _catch_ups(catch_ups: Sequence[CatchUp]) -> Iterator[str]:
    yield from _header(["what", "secrets it missed", "still missing as it began", "and as it ended"])
    for what in dict.fromkeys(each.what for each in catch_ups):
        own = [each for each in catch_ups if each.what == what]
        yield _row([
            what,
            spread((each.missed for each in own), 0),
            spread((each.missing_before for each in own), 0),
            spread((each.missing_after for each in own), 0),
        ])  # fmt: skip


def _stores(stores: Sequence[Store]) -> Iterator[str]:
    yield from _header(
        ["secrets", "versions of 1 KiB", "memory of a node, MB", "of the gateway, MB", "disk of a node, MB", "bytes a version"]
    )
    for store in stores:
        bytes_of_node = statistics.median(store.node_disk_bytes)
        yield _row([
            f"{store.secrets:,}",
            f"{store.versions:,}",
            spread(store.node_megabytes, 0),
            f"{store.gateway_megabytes:.0f}",
            f"{bytes_of_node / 1e6:,.1f}",
            f"{bytes_of_node / store.versions:,.0f}",
        ])  # fmt: skip


def _capacities(results: Results) -> Iterator[str]:
    yield from _header([
        "operation", "CPU, ms: gateway", "coordinator", "each peer asked", "one gateway carries, a second", "all nodes carry, a second",
        "gateways that keep them busy",
    ])  # fmt: skip
    for each in capacities(results):
        yield _row([
            each.shape.point(each.operation),
            f"{each.gateway_ms:.2f}",
            f"{each.coordinator_ms:.2f}",
            f"{each.peers_asked} x {each.peer_ms:.2f}",
            f"{each.gateway_rate:,.0f}",
            f"{each.nodes_rate:,.0f}",
            f"{each.gateways:.1f}",
        ])  # fmt: skip


def _header(columns: Sequence[str]) -> Iterable[str]:
    return (_row(columns), "|---" * len(columns) + "|")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
