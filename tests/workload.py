"""A run of a simulated cluster from a seed: clients and faults, then calm, and whether all that was seen is right."""

from __future__ import annotations

import random

import simulation_upkeep as upkeep
from inspection import inspect
from linearizability import Call, linearizable
from simulation import Cluster
from workload_clients import NOTHING_HAPPENED, Client, Requests
from workload_shapes import Shape, shape_of

from model.operation import Failed, History, Operation, Read, Result, Versions


class Run:
    """One seed: clients and faults, then calm, then a last look at everything."""

    def __init__(self, seed: int, shape: Shape, kind: type[Cluster] = Cluster) -> None:
        self.random = random.Random(seed * 7919 + 1)
        self.shape = shape
        self.cluster = kind(seed, shape.share_count, shape.threshold, shape.faults, shape.lease_ms, shape.write_raised)
        self.calls: list[Call] = []
        self.active = 0
        self.faithful = shape.faults.harmless
        self.requests = Requests(self.random, shape)

    def go(self) -> None:
        cluster, network, shape = self.cluster, self.cluster.network, self.shape
        self.active = shape.clients
        for _ in range(shape.clients):
            share = shape.operations // shape.clients
            cluster.after(self.random.randrange(40), Client(self, share).next)
        while self.active:
            cluster.step()
            assert cluster.steps < 200_000, "the clients do not come to an end"
        inspect(cluster)
        late = self.random.sample(network.parcels, len(network.parcels) // 2)  # a part of what is under way comes after the last look
        network.parcels = [parcel for parcel in network.parcels if parcel not in late]
        cluster.calm()
        self.faithful = True
        self.look()
        network.parcels += late
        cluster.drain()
        assert all(node.serving for node in cluster.nodes.values()), "a node that lost its disk does not come back"
        self.look()
        self.upkeep()
        self.look()
        inspect(cluster)
        assert linearizable(self.calls), "no order of the calls explains their answers"

    def look(self) -> None:
        """Read everything, every version too; with all nodes up this must succeed, unless a disk took the shares with it."""
        for secret in self.requests.secrets:
            self.ask(Read(secret))
            found = self.ask(History(secret))
            for version in found.versions if isinstance(found, Versions) else ():
                self.ask(Read(secret, version=version.version))

    def upkeep(self) -> None:
        """What sweep and repair do once all nodes are back."""
        for secret in list(self.cluster.touched):
            upkeep.settle(self.cluster, self.cluster.any_up(), secret)
            self.cluster.drain()
            upkeep.mend(self.cluster, self.cluster.any_up(), secret)
            self.cluster.drain()

    def ask(self, operation: Operation) -> Result:
        """One operation, alone, until it is answered for good."""
        call = Call(operation, self.cluster.steps)
        for _ in range(20):
            results: list[Result] = []
            self.cluster.perform(self.cluster.any_up(), operation, results.append, lambda: None)
            while not results:
                assert self.cluster.step(), "nothing moves"
            if not isinstance(results[0], Failed) or results[0].code not in NOTHING_HAPPENED:
                self.cluster.steps += 1
                call.returned, call.result = self.cluster.steps, results[0]
                self.calls.append(call)
                return results[0]
            self.cluster.now_ms += 200  # leases of the dead run out
            self.sweep(operation)
        if self.cluster.shares_lost and isinstance(results[0], Failed) and results[0].code == "unavailable":
            return results[0]
        raise AssertionError(f"{operation} stays {results[0]} with every node up")

    def sweep(self, operation: Operation) -> None:
        """What a node does for a secret that stays in doubt: settle it."""
        if isinstance(operation, Read | History):
            upkeep.settle(self.cluster, self.cluster.any_up(), operation.secret)


def run(seed: int, shape: Shape | None = None) -> None:
    """Raises AssertionError with what went wrong."""
    Run(seed, shape if shape is not None else shape_of(seed)).go()
