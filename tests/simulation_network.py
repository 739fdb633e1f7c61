"""The network of a simulated cluster: it loses, delays, reorders and doubles; every message and every reply travels by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import simulation_misfortunes as misfortunes
import simulation_stores as stores
from simulation_parts import Node, Parcel

from model.message import Accepted, Repair, Write
from model.session import Post

if TYPE_CHECKING:
    from simulation import Cluster

HELD_MS = 500
"""For how long a held write is on its way, at most."""


class Network:
    """What is under way, in no order. It takes chance, faults and nodes from its cluster, and hands it what arrives."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.random = cluster.random
        self.parcels: list[Parcel] = []
        self.held = 0

    def send(self, node: Node, post: Post) -> None:
        """A message sets out, or is lost at once: then its sender will be told that no reply comes."""
        faults, message = self.cluster.faults, post.send.message
        lost = faults.lose + (faults.torn if isinstance(message, Write) else 0)
        store = node.stores.get(post.send.node)
        if self.random.random() < lost:
            self.parcels.append(Parcel(node, node.boot, post, back=True))
            return
        late = self.random.random() < faults.late * (4 if isinstance(message, Repair) else 1)
        if late:
            self.parcels.append(Parcel(node, node.boot, post, back=True))
        slow = faults.slow > 0 and self.random.random() < faults.slow
        parcel = Parcel(node, node.boot, post, heard=late, store=store, slow=slow)
        if faults.held and isinstance(message, Write) and self.random.random() < faults.held:
            self.held += 1
            self.cluster.after(self.random.randrange(HELD_MS), lambda: self._let_go(parcel))
        else:
            self.parcels.append(parcel)
        if self.random.random() < faults.double:
            self.parcels.append(Parcel(node, node.boot, post, heard=self.random.random() < 0.5, store=store))

    def deliver(self) -> None:
        """One thing arrives; a message may be put off instead."""
        parcel, faults = self._picked(), self.cluster.faults
        sender, post = parcel.sender, parcel.post
        node = self.cluster.nodes[post.send.node]
        parted = node is not sender and (node.cut or sender.cut)
        if parcel.back:
            if sender.boot == parcel.boot and sender.up:
                self.cluster.hear(replace(parcel, reply=None, store=None) if parted else parcel)
                if faults.cut_writer and isinstance(parcel.reply, Accepted) and self.random.random() < faults.cut_writer:
                    misfortunes.part(self.cluster, sender)
            return
        deferred = (parcel.heard or parcel.slow) and not faults.harmless and len(self.parcels) > 3
        if deferred and self.random.random() < 0.9:  # later than most
            self.parcels.append(parcel)
            return
        back = Parcel(sender, parcel.boot, post, heard=parcel.heard, back=True)
        if not node.up or parted:
            self.parcels.append(back)
        elif not stores.takes(node, post.send.message, parcel.store):
            self.parcels.append(replace(back, store=node.store))
        else:
            reply = self.cluster.apply(node, post.send.secret, post.send.message)
            lost = self.random.random() < faults.lose
            self.parcels.append(back if lost else replace(back, reply=reply, store=node.store))
            if faults.rob_writer and isinstance(reply, Accepted) and self.random.random() < faults.rob_writer:
                misfortunes.rob(self.cluster, node)

    def _let_go(self, parcel: Parcel) -> None:
        self.held -= 1
        self.parcels.append(parcel)

    def _picked(self) -> Parcel:
        """Any parcel; where all goes well, the first of those on the same road, as roads between healthy nodes keep the order."""
        place = self.random.randrange(len(self.parcels))
        if self.cluster.faults.harmless:
            picked = self.parcels[place]
            return self.parcels.pop(next(i for i, parcel in enumerate(self.parcels) if parcel.road == picked.road))
        self.parcels[place], self.parcels[-1] = self.parcels[-1], self.parcels[place]
        return self.parcels.pop()
