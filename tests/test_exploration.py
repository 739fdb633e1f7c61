"""Small cases of the real machines, explored completely; and the explorer itself: it notices each broken rule and leaves nothing out."""

from __future__ import annotations

from collections.abc import Callable

import broken_machines as broken
import pytest
from exploration import Breach, explore, reached
from exploration_cases import CASES
from exploration_parts import Case, Faults

BY_NAME = {case.name: case for case in CASES}
MOST = 50_000
"""Each mutation is noticed within so many states."""

MUTATIONS = (
    (broken.no_fencing, "updates"),
    (broken.mixed_ballots, "ballots"),
    (broken.older_version_served, "creates"),
    (broken.repair_accepts, "repaired"),
    (broken.repair_ignores_erasure, "erased"),
    (broken.erase_on_write, "delete"),
    (broken.blind_retry, "retries"),
    (broken.resplit_repair, "mends"),
    (broken.quorum_one_short, "creates"),
    (broken.tombstone_forgotten, "erased"),
    (broken.no_fence, "rejoin"),
    (broken.unfenced_believed, "rejoin_unfenced"),
    (broken.buries_only_the_sure, "buried"),
    (broken.rival_asks_nobody, "group_pair"),
    (broken.provisional_shown, "group_pair"),
)


@pytest.mark.parametrize("case", [case for case in CASES if not case.large], ids=lambda case: case.name)
def test_no_interleaving_of_a_small_case_breaks_a_rule(case: Case) -> None:
    assert explore(case).complete


@pytest.mark.parametrize(("mutate", "name"), MUTATIONS, ids=[mutate.__name__.replace("_", " ") for mutate, _ in MUTATIONS])
def test_a_broken_rule_is_found_by_exploration(mutate: Callable[[broken.Patch], None], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch)
    with pytest.raises(Breach, match=r"\n  1 (begin|lose disk): "):
        explore(BY_NAME[name], most=MOST)


@pytest.mark.parametrize(
    "case",
    [BY_NAME["creates"]._replace(faults=Faults()), BY_NAME["doubt"], BY_NAME["retries"], BY_NAME["erased"]],
    ids=lambda case: case.name,
)
def test_grouping_messages_to_which_nobody_listens_leaves_no_state_of_the_nodes_out(case: Case) -> None:
    assert reached(case, one_by_one=True) == reached(case)


def test_a_breach_tells_the_way_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    broken.mixed_ballots(monkeypatch)
    with pytest.raises(Breach, match=r"(?s)ballots: .*\n  1 begin: .*Vote.*\n  4 take: .*Write"):
        explore(BY_NAME["ballots"])


def test_a_case_that_was_cut_off_is_not_called_complete() -> None:
    assert not explore(BY_NAME["updates"], most=100).complete
