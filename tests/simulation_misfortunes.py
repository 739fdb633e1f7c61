"""What goes wrong in a simulated cluster beside its network: processes die, disks are lost or full, clocks leap, waiting ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rejoining import Recovery
from simulation_parts import Node

from model.machine import Event, PatienceOver, TimeUp

if TYPE_CHECKING:
    from simulation import Cluster


def strike(cluster: Cluster) -> None:
    """Whatever the cluster's faults make happen in this step."""
    faults, chance, choice = cluster.faults, cluster.random.random, cluster.random.choice
    if chance() < faults.crash:
        _crash_or_return(cluster)
    if chance() < faults.impatient:
        _tell_somebody(cluster, PatienceOver())
    if chance() < faults.time_up:
        _tell_somebody(cluster, TimeUp())
    if faults.rob and chance() < faults.rob:
        rob(cluster, cluster.nodes[choice(cluster.names)])
    if faults.full and chance() < faults.full:
        node = cluster.nodes[choice(cluster.names)]
        node.full = not node.full
    if faults.jump and chance() < faults.jump:
        cluster.nodes[choice(cluster.names)].ahead_ms += cluster.random.randrange(2 * cluster.lease_ms)
    if faults.cut and chance() < faults.cut:
        if any(node.cut for node in cluster.nodes.values()):
            reunite(cluster)
        else:
            part(cluster, cluster.nodes[choice(cluster.names)])


def rob(cluster: Cluster, node: Node) -> None:
    """A node dies and its disk is gone; never two at once (PROTO-12)."""
    if all(other.serving for other in cluster.nodes.values()):
        node.registers, node.floor, node.serving = {}, 0, False
        node.store += 1
        cluster.robberies += 1
        _crash(cluster, node)


def come_up(cluster: Cluster, node: Node) -> None:
    """A process begins; if its disk was lost it recovers before it serves."""
    node.up = True
    if not node.serving:
        Recovery(cluster, node).begin()


def part(cluster: Cluster, node: Node) -> None:
    """A node is cut off from all others; never two at once."""
    if not any(other.cut for other in cluster.nodes.values()):
        node.cut = True


def reunite(cluster: Cluster) -> None:
    """All nodes reach each other again."""
    for node in cluster.nodes.values():
        node.cut = False


def _crash_or_return(cluster: Cluster) -> None:
    node = cluster.nodes[cluster.random.choice(cluster.names)]
    if node.up:
        _crash(cluster, node)
    else:
        come_up(cluster, node)


def _crash(cluster: Cluster, node: Node) -> None:
    """A process dies; at times it is back at once."""
    jobs = list(node.jobs.values())
    cluster.boot(node)
    node.up = cluster.random.random() < 0.5 or sum(other.up for other in cluster.nodes.values()) == 1
    if node.up:
        come_up(cluster, node)
    for job in jobs:
        job.lost()


def _tell_somebody(cluster: Cluster, event: Event) -> None:
    waiting = cluster.waiting()
    if waiting:
        cluster.tell(*cluster.random.choice(waiting), event)
