"""The tests are tested: break one rule of the protocol, and the simulated clusters must notice within a bounded number of seeds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import workload
from broken_machines import (
    Patch,
    blind_retry,
    buries_only_the_sure,
    erase_on_write,
    mixed_ballots,
    no_fence,
    no_fencing,
    no_recovery,
    older_version_served,
    provisional_shown,
    quorum_one_short,
    repair_accepts,
    repair_ignores_erasure,
    resplit_repair,
    rival_asks_nobody,
    tombstone_forgotten,
)
from workload_shapes import Shape, eventful, held, parted, robbed, various

SEEDS = 4000

MUTATIONS = (
    (no_fencing, eventful),
    (mixed_ballots, eventful),
    (older_version_served, eventful),
    pytest.param(repair_accepts, eventful, marks=pytest.mark.slow),
    (repair_ignores_erasure, eventful),
    (erase_on_write, eventful),
    (quorum_one_short, eventful),
    (blind_retry, eventful),
    (buries_only_the_sure, parted),
    (tombstone_forgotten, eventful),
    (resplit_repair, eventful),
    (no_recovery, robbed),
    (no_fence, held),
    (rival_asks_nobody, various),
    (provisional_shown, various),
)


@pytest.mark.parametrize(("mutate", "shape"), MUTATIONS, ids=lambda each: each.__name__.replace("_", " "))
def test_a_broken_rule_is_noticed(mutate: Callable[[Patch], None], shape: Callable[[int], Shape], monkeypatch: Patch) -> None:
    mutate(monkeypatch)
    for seed in range(SEEDS):
        try:
            workload.run(seed, shape(seed))
        except AssertionError:
            return
    pytest.fail(f"{SEEDS} seeds did not notice: {mutate.__doc__}")
