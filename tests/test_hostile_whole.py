"""The last of the suite: after everything hostile that was done to the cluster, it serves, holds all its secrets and has told nobody."""

from __future__ import annotations

import re

import pytest
from hostile_cluster import MARK, HostileVault
from real_cluster import eventually, files_with

pytest_plugins = ["hostile_fixtures"]
pytestmark = pytest.mark.slow

MET = (
    "the store cannot be read",
    "a transaction failed; nothing of it was kept",
    "the write-ahead log cannot be emptied yet",
    "node.schema.StoreError: ",
)
"""What a node says, with a traceback, of a disk that is full, broken or damaged."""


def test_the_cluster_still_serves_and_holds_all_its_secrets(healed: HostileVault) -> None:
    eventually(lambda: not healed.api.status().body["degraded"], "every node is reached")
    healed.holds_everything()
    healed.serves()
    for name in healed.sentinels:
        eventually(lambda name=name: all(len(nodes) == 5 for nodes in healed.cluster.holders(name)), f"all shards of {name}")


def test_after_a_full_stop_and_start_it_holds_them_still(healed: HostileVault) -> None:
    healed.cluster.stop()
    healed.cluster.start()
    healed.holds_everything()


def test_no_process_met_anything_that_it_was_not_made_for(healed: HostileVault) -> None:
    """A traceback stands only beside words that say what failed."""
    assert "Traceback" not in healed.cluster.log("gateway")
    for node in healed.cluster.nodes:
        log = healed.cluster.log(node)
        entries = re.split(r"(?m)^(?=\[?\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)", log)
        strange = [entry for entry in entries if "Traceback" in entry and not any(words in entry for words in MET)]
        assert strange == []


def test_no_file_but_the_token_holds_a_value_or_a_token(healed: HostileVault) -> None:
    files = [path for path in healed.cluster.directory.rglob("*") if path.is_file()]
    assert files_with(files, [MARK.encode()]) == []
    tokens = [healed.cluster.token.split("_", 2)[2], *healed.secrets]
    assert [path.name for path in files_with(files, [token.encode() for token in tokens])] == ["token"]


def test_the_audit_log_is_one_chain_still(healed: HostileVault) -> None:
    logs = sorted((healed.cluster.directory / "gateway").glob("audit*.jsonl"))
    assert logs
    healed.cluster.kofn("audit", "verify", *map(str, logs))
