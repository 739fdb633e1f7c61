"""Disks that are full, refuse to write, are damaged, or come from yesterday: nothing false is ever said, nothing acknowledged is lost."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

import pytest
from hostile_cluster import MARK, HostileVault
from hostile_disks import flip, no_growth, small_disk
from hostile_inside import value_at
from real_cluster import eventually

from cli.local_plan import Layout

pytest_plugins = ["hostile_fixtures"]
pytestmark = pytest.mark.slow


def test_a_full_disk_acknowledges_nothing_and_the_node_goes_on_when_there_is_room(healed: HostileVault) -> None:
    cluster, api = healed.cluster, healed.api
    coordinator = healed.favourite()
    full, *down = [node for node in cluster.nodes if node != coordinator][:3]
    name, one, two = f"full/{secrets.token_hex(4)}", f"{MARK} {'x' * 60_000}", f"{MARK} {'y' * 60_000}"
    cluster.kill(full)
    with small_disk(cluster, full) as disk:
        cluster.restart(full)
        eventually(lambda: not api.status().body["degraded"], "every node is reached")
        disk.fill()
        assert api.create(name, one).status == 201, "four others hold it"
        cluster.kill(*down)
        made = 1
        while (told := api.update(name, f"{two} {made}", key=f"full {made}").told) == (200, "", None, None):
            made += 1  # its log still had room for that one
            assert made < 100, "a full disk takes everything"
        assert told in {(503, "voting_failed", "voting", "not_applied"), (503, "writing_failed", "writing", "unknown")}, told
        assert api.get("sentinel/00").body["value"] == healed.sentinels["sentinel/00"][0]
        disk.make_room()
        assert api.create(f"{name}/room", one).status == 201
        cluster.heal()
        eventually(lambda: api.update(name, f"{two} {made}", key=f"full {made}").body.get("version") == made + 1, "it is made, and once")
        assert api.get(name).body["value"] == f"{two} {made}"
        assert len(api.history(name).body["versions"]) == made + 1
    cluster.restart(full)
    healed.holds_everything()


def test_a_read_only_disk_lets_no_node_start_that_could_promise_nothing(healed: HostileVault) -> None:
    cluster = healed.cluster
    cluster.kill("node-5")
    with small_disk(cluster, "node-5") as disk:
        disk.make_read_only()
        assert cluster.kofn("local", "restart", "node-5", succeeds=False).returncode != 0
        healed.serves()
        healed.holds_everything()
        disk.make_writable()
    cluster.restart("node-5")


def test_a_disk_that_refuses_to_write_acknowledges_nothing_and_reads_go_on(healed: HostileVault) -> None:
    cluster, api = healed.cluster, healed.api
    coordinator = healed.favourite()
    broken, *down = [node for node in cluster.nodes if node != coordinator][:3]
    name = f"refusing/{secrets.token_hex(4)}"
    assert api.create(name, f"{MARK} one").status == 201
    with no_growth(Layout(cluster.directory).node(broken)):
        assert api.update(name, f"{MARK} two").status == 200, "four others hold it"
        cluster.kill(*down)
        refused = api.update(name, f"{MARK} three")
        assert refused.told == (503, "voting_failed", "voting", "not_applied")
        assert api.get("sentinel/00").body["value"] == healed.sentinels["sentinel/00"][0]
    cluster.heal()
    seen = api.get(name).body
    assert (seen["version"], seen["value"]) == (2, f"{MARK} two")
    healed.serves()


def test_a_disk_that_refuses_to_write_stops_no_write_even_where_it_is_the_coordinators_own(healed: HostileVault) -> None:
    broken = healed.favourite()
    with no_growth(Layout(healed.cluster.directory).node(broken)):
        told = [healed.api.create(f"refusing/{secrets.token_hex(4)}", f"{MARK} one").told for _ in range(5)]
    assert {status for status, *_ in told[1:]} == {201}, told


def test_a_gateway_that_cannot_record_a_request_refuses_it_and_nothing_is_done(healed: HostileVault) -> None:
    name = f"unrecorded/{secrets.token_hex(4)}"
    with no_growth(Layout(healed.cluster.directory).gateway):
        for answer_ in (healed.api.create(name, f"{MARK} unrecorded"), healed.api.get("sentinel/00"), healed.api.delete("sentinel/00")):
            assert answer_.told == (503, "audit_unavailable", None, "not_applied")
            assert MARK not in str(answer_.body)
    eventually(lambda: healed.api.get(name).code == "secret_not_found", "it records again, and nothing was written")
    healed.holds_everything()


def test_a_database_that_is_damaged_while_its_node_runs_spoils_no_answer(healed: HostileVault) -> None:
    """Pages of a running node's file are overwritten; then it starts anew, or it refuses to and gets everything back from the others."""
    cluster = healed.cluster
    pages = cluster.database("node-4").stat().st_size // 4_096
    assert pages > 8
    for page in range(2, pages):
        flip(cluster.database("node-4"), page * 4_096 + 2_048, 512)
    healed.holds_everything()
    for name, values in healed.sentinels.items():
        assert value_at(cluster, "node-4", name) in {values[-1].encode(), "unavailable"}
    healed.serves()
    recovers(healed, "node-4")


@pytest.mark.parametrize("where", ["the first page", "the middle", "the whole of a page", "the log"])
def test_a_database_that_is_damaged_while_its_node_is_down_spoils_no_answer(healed: HostileVault, where: str) -> None:
    cluster = healed.cluster
    healed.serves()
    cluster.kill("node-4")
    database = cluster.database("node-4")
    log = database.with_name(f"{database.name}-wal")
    if where == "the log":
        if log.exists() and log.stat().st_size:
            flip(log, log.stat().st_size // 2)
    else:
        size = database.stat().st_size
        offset, count = {"the first page": (24, 64), "the middle": (size // 2, 64), "the whole of a page": (size // 8_192 * 4_096, 4_096)}[
            where
        ]
        flip(database, offset, count)
    before = cluster.log("node-4")
    started = cluster.kofn("local", "restart", "node-4", succeeds=False).returncode == 0
    assert started or "StoreError" in cluster.log("node-4")[len(before) :], cluster.log("node-4")[len(before) :]
    healed.holds_everything()
    for name, values in healed.sentinels.items() if started else ():
        assert value_at(cluster, "node-4", name) in {values[-1].encode(), "unavailable"}
    healed.serves()
    recovers(healed, "node-4")


def recovers(vault: HostileVault, node: str) -> None:
    """What an operator does with a damaged store: moves it away. The node gets everything back from the others and serves."""
    cluster = vault.cluster
    cluster.kill(node)
    cluster.forget_disk(node)
    before = len(cluster.log(node))
    cluster.restart(node)
    eventually(lambda: "recovered: serving again" in cluster.log(node)[before:], f"{node} serves")
    for name, values in vault.sentinels.items():
        assert value_at(cluster, node, name) == values[-1].encode()


def test_an_old_copy_of_a_database_brings_nothing_deleted_back_and_is_caught_up(healed: HostileVault, tmp_path: Path) -> None:
    """STORE-9. At rest; what else an old copy has forgotten is outside what the protocol covers (README)."""
    cluster, api = healed.cluster, healed.api
    kept, gone = (f"old-copy/{secrets.token_hex(4)}" for _ in range(2))
    for name in (kept, gone):
        assert api.create(name, f"{MARK} one").status == 201
        eventually(lambda name=name: [len(nodes) for nodes in cluster.holders(name)] == [5], "every shard in its place")
    cluster.kill("node-2")
    for path in cluster.store_files("node-2"):
        shutil.copy(path, tmp_path)
    cluster.restart("node-2")
    assert api.update(kept, f"{MARK} two").status == 200
    assert api.delete(gone).status == 204
    eventually(lambda: not cluster.holders(gone) and [len(nodes) for nodes in cluster.holders(kept)] == [5, 5], "at rest")
    cluster.kill("node-2")
    cluster.forget_disk("node-2")
    for path in tmp_path.iterdir():
        shutil.copy(path, cluster.database("node-2").parent)
    cluster.restart("node-2")
    assert value_at(cluster, "node-2", gone) == "secret_not_found"
    assert value_at(cluster, "node-2", kept) == f"{MARK} two".encode()
    assert api.get(gone).code == "secret_not_found"
    eventually(lambda: [len(nodes) for nodes in cluster.holders(kept)] == [5, 5], "it has caught up")
    eventually(lambda: not cluster.holders(gone), "what it should have forgotten is erased")
    cluster.kill("node-1", "node-3")
    assert api.get(gone).code == "secret_not_found"
    assert api.get(kept).body["value"] == f"{MARK} two"
