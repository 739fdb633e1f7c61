"""A simulated node that lost its disk recovers, as ``node.recovery`` has it do: one turn after the other until it serves (PROTO-12).

Ask everyone how high ballots have gone, fence that off, let the fenced list what they hold, survey each history, settle what is in
doubt and survey again, gather shares, and install it all at once. The decisions are those of ``model.restoring``; each wait is a callback.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import simulation_upkeep as upkeep
from fencing import FENCE_COUNTERS

from model.machine import Send
from model.message import ChangePage, ChangesAfter, Fence, Message, Noted, Query, Reply, Snapshot
from model.operation import SecretId
from model.reading import Reading
from model.record import Ballot, Header
from model.restoring import chosen, doubtful, fenced_only, remembered, restored, shards_wanted, whole

if TYPE_CHECKING:
    from simulation import Cluster
    from simulation_parts import Node

REST_MS = 50
EVERYTHING = ChangesAfter(0, 1000)
NOWHERE = SecretId("", "")
Heard = list[tuple[Send, Reply | None]]


class Recovery:
    """One node's recovery. It ends with its process: a new process begins anew."""

    def __init__(self, cluster: Cluster, node: Node) -> None:
        self.cluster = cluster
        self.node = node
        self.boot = node.boot
        self.peers = [name for name in cluster.names if name != node.name]
        self.needed = cluster.quorum.share_count - cluster.quorum.write + 1
        self.fence = 0
        self.fenced: frozenset[str] = frozenset()
        self.keys: dict[SecretId, None] = {}
        self.surveyed: dict[SecretId, Reading] = {}

    def begin(self) -> None:
        if self.node.boot == self.boot and self.node.up and not self.node.serving:
            self._exchange([Send(peer, NOWHERE, EVERYTHING) for peer in self.peers], self._counted)

    def _again(self) -> None:
        self.cluster.after(REST_MS, self.begin)

    def _exchange(self, sends: Iterable[Send], done: Callable[[Heard], None]) -> None:
        self.cluster.exchange(self.node, list(sends), done)

    def _counted(self, heard: Heard) -> None:
        counters = [reply.counter for _, reply in heard if isinstance(reply, ChangePage)]
        if len(counters) < self.needed:
            self._again()
            return
        self.fence = max(counters) + FENCE_COUNTERS
        self._exchange([Send(peer, NOWHERE, Fence(self.fence)) for peer in self.peers], self._fenced)

    def _fenced(self, heard: Heard) -> None:
        fenced = [send.node for send, reply in heard if isinstance(reply, Noted)]
        self._exchange([Send(peer, NOWHERE, EVERYTHING) for peer in fenced], self._listed)

    def _listed(self, heard: Heard) -> None:
        pages = {send.node: reply for send, reply in heard if isinstance(reply, ChangePage)}
        if len(pages) < self.needed:
            self._again()
            return
        self.fenced = frozenset(pages)
        self.surveyed = {}
        self.keys = {change.secret: None for page in pages.values() for change in page.changes}
        self._survey(list(self.keys), self._settle)

    def _survey(self, secrets: list[SecretId], done: Callable[[], None]) -> None:
        def surveyed(found: dict[SecretId, Reading]) -> None:
            self.surveyed.update(found)
            done()

        upkeep.survey(self.cluster, self.node, secrets, surveyed)

    def _settle(self) -> None:
        in_doubt = [secret for secret in self.keys if doubtful(self._judged(secret))]
        upkeep.settle_all(self.cluster, self.node, in_doubt, lambda: self._survey(in_doubt, self._gather))

    def _gather(self) -> None:
        quorum = self.cluster.quorum
        for reading in self.surveyed.values():
            if len(reading.answers) < quorum.read or len(self.fenced & reading.answers.keys()) < self.needed:
                self._again()
                return
        asked = [
            send for secret, reading in self.surveyed.items() for header in self._lacking(secret) for send in shards_wanted(reading, header)
        ]
        self._exchange(asked, self._install)

    def _judged(self, secret: SecretId) -> Reading:
        return fenced_only(self.surveyed[secret], self.fenced)

    def _lacking(self, secret: SecretId) -> list[Header]:
        own = self.cluster.apply(self.node, secret, Query(shares=True, sealed=True, lineage=True))
        assert isinstance(own, Snapshot)
        return [header for header in chosen(self._judged(secret)) if header.tag not in whole(own)]

    def _install(self, heard: Heard) -> None:
        shards: dict[tuple[SecretId, Ballot], dict[str, Snapshot]] = {}
        for send, reply in heard:
            if isinstance(reply, Snapshot) and isinstance(send.message, Query) and send.message.tag is not None:
                shards.setdefault((send.secret, send.message.tag), {})[send.node] = reply
        messages: list[tuple[SecretId, Message]] = []
        for secret in self.surveyed:
            messages += [(secret, write) for write in remembered(self._judged(secret), self.node.name)]
        for secret in self.surveyed:
            for header in self._lacking(secret):
                parts = restored(secret, header, shards.get((secret, header.tag), {}), self.node.name)
                messages += [(secret, part) for part in parts]
        for secret, message in messages:
            self.cluster.apply(self.node, secret, message, counts=False)
        self.node.floor = max(self.node.floor, self.fence)
        self.node.serving = True
