"""From the CPU time of one operation to what many machines could carry: an upper bound, with every process on a core of its own.

Each gateway is one process on one core. Several gateways settle on nodes independently, so the coordinator's work spreads over all nodes;
a node then does, for each operation of the cluster, the n-th part of what coordinator and peers take together. Whatever is not CPU (disks,
the network, batches that become smaller when the load spreads over more roads) can only lower the bound.
"""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.points import SHAPES, Results, Shape

OPERATIONS = ("get", "create")


class Capacity(NamedTuple):
    """What an operation takes in a cluster of this ``shape``, in milliseconds of CPU at 32 clients, and what follows."""

    operation: str
    shape: Shape
    gateway_ms: float
    coordinator_ms: float
    peers_ms: float

    @property
    def peers_asked(self) -> int:
        """To how many nodes beside itself the coordinator sends: of a get k-1, of a create all (PROTO-1, PROTO-11)."""
        return self.shape.threshold - 1 if self.operation == "get" else self.shape.node_count - 1

    @property
    def peer_ms(self) -> float:
        """What one peer takes."""
        return self.peers_ms / self.peers_asked

    @property
    def gateway_rate(self) -> float:
        """Operations a second that one gateway can carry on one core."""
        return 1000 / self.gateway_ms

    @property
    def nodes_rate(self) -> float:
        """Operations a second that all nodes can carry together, each on one core."""
        return 1000 * self.shape.node_count / (self.coordinator_ms + self.peers_ms)

    @property
    def gateways(self) -> float:
        """How many gateways keep the nodes busy."""
        return self.nodes_rate / self.gateway_rate


def capacities(results: Results) -> list[Capacity]:
    """What follows from the medians of each shape. Raises KeyError where one was not measured."""
    return [
        Capacity(
            operation,
            shape,
            results.middle(shape.point(operation), lambda point: point.front_cpu_ms),
            results.middle(shape.point(operation), lambda point: point.coordinator_cpu_ms),
            results.middle(shape.point(operation), lambda point: point.peers_cpu_ms),
        )
        for operation in OPERATIONS
        for shape in SHAPES
    ]
