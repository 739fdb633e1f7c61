"""How much is measured, and in which order, with progress shown."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import faults, operations, servers, usage
from benchmarks.bench import Bench
from benchmarks.points import SHAPES, Results
from benchmarks.servers import Vault

_SHAPE_SECRETS = 100


class Scale(NamedTuple):
    """How long it all takes: ``seconds`` for each run, ``rounds`` of all points, ``fault_rounds`` of all faults.

    ``stores`` are the sizes to compare, ``missed`` is how many secrets the node that catches up has missed.
    """

    seconds: float
    rounds: int
    fault_rounds: int
    stores: tuple[int, ...]
    missed: int


QUICK = Scale(0.2, 3, 1, (100, 1_000), 500)
DEFAULT = Scale(1.2, 3, 3, (100, 1_000, 10_000), 2_000)
FULL = DEFAULT._replace(seconds=0.6, stores=(*DEFAULT.stores, 100_000), missed=1_000)


def measure(scale: Scale, console: Console) -> Results:
    """Measure everything. Raises WrongAnswerError; whatever happens, no process is left."""
    results = Results(machine=usage.this_machine(), seconds=scale.seconds)
    with _progress(scale, console) as (tell, step), servers.floor() as floor:

        def bench(vault: Vault, secrets: int) -> Bench:
            made = Bench(floor, vault, results, scale.seconds, tell)
            made.fill(0, secrets)
            made.warm_up(secrets)
            return made

        step("starting five nodes")
        with servers.vault() as vault:
            _one_vault(bench(vault, operations.BASE), scale, step)
        step("starting five nodes to grow")
        with servers.vault() as vault:
            _growing(bench(vault, scale.stores[0]), scale, step)
        for shape in SHAPES:
            step(f"starting {shape.node_count} nodes, of which {shape.threshold} are needed")
            with servers.vault(*shape) as vault:
                measurement = partial(operations.at_shape, shape=shape, count=_SHAPE_SECRETS)
                _repeat(scale.rounds, bench(vault, _SHAPE_SECRETS), measurement)
        step("done")
    return results


def _one_vault(bench: Bench, scale: Scale, step: Callable[[str], None]) -> None:
    """All that is measured in one vault: first what leaves it whole, then the faults."""
    for number in range(scale.rounds):
        step(f"every operation, round {number + 1} of {scale.rounds}")
        operations.every_operation(bench)
    step("is the generator fast enough?")
    _repeat(scale.rounds, bench, Bench.two_generators)
    step("values of 64 bytes to 1 MiB")
    _repeat(scale.rounds, bench, operations.value_sizes)
    step("many versions of one secret")
    operations.grow_old(bench)
    _repeat(scale.rounds, bench, operations.many_versions)
    step("one node paused")
    _repeat(scale.fault_rounds, bench, faults.paused)
    step("two nodes down")
    _repeat(scale.fault_rounds, bench, faults.two_down)
    step("a node that catches up")
    _repeat(scale.fault_rounds, bench, partial(faults.catching_up, missed=scale.missed))


def _growing(bench: Bench, scale: Scale, step: Callable[[str], None]) -> None:
    """A store that grows."""
    present = scale.stores[0]
    for count in scale.stores:
        step(f"a store of {count:,} secrets")
        bench.fill(present, count)
        present = count
        operations.weigh(bench, count)
        _repeat(scale.rounds, bench, partial(operations.at_store_size, count=count))


def _repeat(rounds: int, bench: Bench, measurement: Callable[[Bench], None]) -> None:
    for _ in range(rounds):
        measurement(bench)


@contextmanager
def _progress(scale: Scale, console: Console) -> Iterator[tuple[Callable[[str], None], Callable[[str], None]]]:
    """A function that takes a line for each run, and one that takes the title of each step. No thread draws: only a call does."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    begun = time.monotonic()
    with Progress(*columns, console=console, auto_refresh=False) as bar:
        steps = bar.add_task("starting the floor", total=scale.rounds + 8 + len(scale.stores) + len(SHAPES), completed=-1)

        def tell(line: str) -> None:
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
            bar.refresh()

        def step(title: str) -> None:
            bar.update(steps, description=title, advance=1, refresh=True)
            if not console.is_terminal:
                console.print(f"{time.monotonic() - begun:4.0f} s  {title}", markup=False, highlight=False)

        yield tell, step
