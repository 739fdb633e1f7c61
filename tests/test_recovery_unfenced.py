"""A node loses its disk and recovers while a write that it had accepted is still on its way to one that no fence reaches (PROTO-12)."""

from __future__ import annotations

import pytest
from local_cluster import LocalCluster

from model.message import Fence, Write, decode_exchange
from model.operation import Create, Failed, History, NewValue, Result, SecretId, Update, Versions, Written

SECRET = SecretId("default", "app/db")


class OneUnfenced(LocalCluster):
    """node-2 writes; node-1 takes it, then loses its disk and recovers; only then node-4, which no fence reaches; the others never do."""

    writing = False

    def receive(self, sender: str, node: str, body: bytes) -> bytes | None:
        kinds = {type(addressed.message) for addressed in decode_exchange(body).messages}
        if node == "node-4" and Fence in kinds:
            return None
        if self.writing and sender == "node-2" and Write in kinds and node != "node-1":
            if node != "node-4":
                return None
            if not self.disk_was_lost:
                self.lose_disk("node-1")
                self.restart("node-1")
                self.turn("node-1")
                assert self.processes["node-1"].store.serving
        return super().receive(sender, node, body)

    def insist(self, node: str, operation: Update) -> Result:
        """Ask until no lease is in the way."""
        while isinstance(result := self.perform_at(node, operation), Failed) and result.retry_ms:
            self.network.let_pass(result.retry_ms / 1000)
        return result


@pytest.mark.parametrize(("share_count", "threshold", "away"), [(4, 2, ["node-2"]), (5, 3, ["node-2", "node-4"])])
def test_what_is_acknowledged_while_a_lost_disk_recovers_is_not_forgotten(share_count: int, threshold: int, away: list[str]) -> None:
    cluster = OneUnfenced(share_count, threshold)
    try:
        assert isinstance(cluster.perform_at("node-2", Create((NewValue(SECRET, b"one"),), 1)), Written)
        cluster.settle()
        cluster.writing = True
        assert isinstance(cluster.perform_at("node-2", Update(NewValue(SECRET, b"two"), 2)), Written)
        for one in away:
            for other in cluster.nodes:
                cluster.cut_off(one, other)
                cluster.cut_off(other, one)
        assert isinstance(cluster.insist("node-3", Update(NewValue(SECRET, b"three"), 3)), Written)
        cluster.network.cut.clear()
        history = cluster.perform_at("node-3", History(SECRET))
        assert isinstance(history, Versions)
        assert [version.version for version in history.versions] == [1, 2, 3]
    finally:
        cluster.close()
