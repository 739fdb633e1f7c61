"""The tests are tested: break one rule of the protocol, and the simulated clusters must notice within a bounded number of seeds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import workload
from broken_machines import (
    Patch,
    blind_retry,
    erase_on_write,
    mixed_ballots,
    no_fencing,
    no_recovery,
    older_version_served,
    quorum_one_short,
    repair_accepts,
    repair_ignores_erasure,
    resplit_repair,
    tombstone_forgotten,
)

SEEDS = 4000

MUTATIONS = (
    no_fencing,
    mixed_ballots,
    older_version_served,
    pytest.param(repair_accepts, marks=pytest.mark.slow),
    repair_ignores_erasure,
    erase_on_write,
    quorum_one_short,
    blind_retry,
    tombstone_forgotten,
    resplit_repair,
    no_recovery,
)


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutate: mutate.__name__.replace("_", " "))
def test_a_broken_rule_is_noticed(mutate: Callable[[Patch], None], monkeypatch: Patch) -> None:
    mutate(monkeypatch)
    for seed in range(SEEDS):
        try:
            workload.run(seed, workload.robbed(seed) if mutate is no_recovery else workload.eventful(seed))
        except AssertionError:
            return
    pytest.fail(f"{SEEDS} seeds did not notice: {mutate.__doc__}")
