"""Thousands of small clusters under faults, each judged from outside (linearizability) and from inside (``inspection``).

A failing seed is a run that can be had again: ``KOFN_FUZZ_FIRST=4711 KOFN_FUZZ_SEEDS=1``. More seeds: ``KOFN_FUZZ_SEEDS=100000``.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import workload
from broken_machines import Patch, buries_only_the_sure, unfenced_believed
from workload_shapes import eventful, shape_of

FIRST = int(os.environ.get("KOFN_FUZZ_FIRST", "0"))
SEEDS = int(os.environ.get("KOFN_FUZZ_SEEDS", "4000"))
BLOCK = 500
FOUND = {
    "a retry, of what was deleted while in doubt": (34, buries_only_the_sure),
    "a slow write, to a node that one without a disk could not fence": (4330, unfenced_believed),
}
"""Schedules that show a fault which the machines once had: the seed, and the fault."""


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, BLOCK))
def test_no_fault_breaks_a_rule_or_an_answer(first: int) -> None:
    for seed in range(first, min(first + BLOCK, FIRST + SEEDS)):
        try:
            workload.run(seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}, {shape_of(seed)}: {error}") from error


@pytest.mark.parametrize(("seed", "fault"), FOUND.values(), ids=FOUND)
def test_a_schedule_that_showed_a_fault_shows_it_only_where_it_is(seed: int, fault: Callable[[Patch], None], monkeypatch: Patch) -> None:
    workload.run(seed)
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        workload.run(seed)


def test_a_seed_is_the_same_run_every_time() -> None:
    runs = [workload.Run(7, eventful(7)) for _ in range(2)]
    for each in runs:
        each.go()
    assert [call.result for call in runs[0].calls] == [call.result for call in runs[1].calls]
    assert runs[0].cluster.steps == runs[1].cluster.steps
