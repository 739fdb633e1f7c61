"""A pytest plugin: one real cluster for the whole hostile-input suite. A test module gets it by naming this in ``pytest_plugins``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hostile_cluster import HostileVault
from real_cluster import RealCluster


@pytest.fixture(scope="session")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostileVault]:
    with RealCluster(tmp_path_factory.mktemp("hostile") / "cluster") as cluster:
        vault = HostileVault(cluster)
        vault.plant()
        yield vault


@pytest.fixture
def healed(vault: HostileVault) -> Iterator[HostileVault]:
    """The cluster, for a test that breaks some of it; afterwards every process runs again."""
    yield vault
    vault.cluster.heal()
