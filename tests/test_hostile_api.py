"""Requests made from the contract, valid and not, sent to the gateway of a real cluster; the contract judges every answer.

``KOFN_FUZZ_EXAMPLES`` says how many are made of each kind; ``tox -e fuzz`` makes many, ``test_real_machine.py`` some in every run.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest
import schemathesis
from hostile_cluster import HostileVault
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import ignored_auth
from test_openapi import CHECKS, contract, kinds_of_requests

pytest_plugins = ["hostile_fixtures"]
pytestmark = pytest.mark.slow

EXAMPLES = int(os.environ.get("KOFN_FUZZ_EXAMPLES", "3"))
PATIENT = [check for check in CHECKS if check is not ignored_auth]
"""All but the one that tries bad credentials: so many of them are a guesser's, who is rightly locked out."""
counts: Counter[int] = Counter()


@pytest.fixture(scope="module", autouse=True)
def _told() -> Iterator[None]:
    yield
    print(f"fuzzed API: {counts.total()} requests, by status {dict(sorted(counts.items()))}")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("path", "method", "mode"), list(kinds_of_requests()), ids=lambda part: getattr(part, "value", part))
def test_every_answer_is_one_that_the_contract_allows(
    vault: HostileVault, path: str, method: str, mode: schemathesis.GenerationMode
) -> None:
    operation = contract()[path][method]
    headers = {"Authorization": f"Bearer {vault.cluster.token}"}

    @settings(max_examples=EXAMPLES, database=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def conversation(case: schemathesis.Case) -> None:
        response = case.call(base_url=vault.cluster.url, headers=headers, verify=str(vault.cluster.ca_file))
        case.validate_response(response, checks=PATIENT)
        counts[response.status_code] += 1

    conversation()
    vault.holds_nothing_new()
