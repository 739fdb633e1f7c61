"""Thousands of small clusters under faults, each judged from outside (linearizability) and from inside (``inspection``).

A failing seed is a run that can be had again: ``KOFN_FUZZ_FIRST=4711 KOFN_FUZZ_SEEDS=1``. More seeds: ``KOFN_FUZZ_SEEDS=100000``.
"""

from __future__ import annotations

import os

import pytest
import workload

FIRST = int(os.environ.get("KOFN_FUZZ_FIRST", "0"))
SEEDS = int(os.environ.get("KOFN_FUZZ_SEEDS", "4000"))
BLOCK = 500


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, BLOCK))
def test_no_fault_breaks_a_rule_or_an_answer(first: int) -> None:
    for seed in range(first, min(first + BLOCK, FIRST + SEEDS)):
        try:
            workload.run(seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}, {workload.shape_of(seed)}: {error}") from error


def test_a_seed_is_the_same_run_every_time() -> None:
    runs = [workload.Run(7, workload.eventful(7)) for _ in range(2)]
    for each in runs:
        each.go()
    assert [call.result for call in runs[0].calls] == [call.result for call in runs[1].calls]
    assert runs[0].cluster.steps == runs[1].cluster.steps
