"""What must hold inside a simulated cluster at every moment, whatever the faults: the protocol's invariants, checked by omniscience.

A client cannot see these; a breach shows here long before some read happens to show it.
"""

from __future__ import annotations

from itertools import pairwise

from simulation import Cluster

from model.operation import SecretId
from model.record import Ballot, Header, Kind, group_register


def chosen(cluster: Cluster, secret: SecretId) -> dict[Ballot, Header]:
    """Every record that W nodes ever accepted under one ballot and, if it belongs to a group, whose group was committed."""
    found = {}
    for (owner, tag, _), nodes in cluster.acceptances.items():
        if owner == secret and len(nodes) >= cluster.quorum.write:
            header = cluster.headers[secret][tag]
            if header.group is None or committed(cluster, header.group):
                found[tag] = header
    return dict(sorted(found.items()))


def committed(cluster: Cluster, group: str) -> bool:
    return any(header.kind is Kind.COMMIT for header in chosen(cluster, group_register(group)).values())


def inspect(cluster: Cluster) -> None:
    """Raises AssertionError that names the breach."""
    for secret, headers in cluster.headers.items():
        truth = chosen(cluster, secret)
        _one_chain(truth)
        _true_bases(headers, truth)
        _true_marks(cluster, secret, truth)
        _whole_groups(cluster, headers, truth)
        erased_is_gone(cluster, secret)


def _one_chain(truth: dict[Ballot, Header]) -> None:
    """Two chosen records are always one above the other."""
    tags = list(truth)
    for below, above in pairwise(tags):
        assert truth[above].names_ancestor(below), f"chosen {above} does not stand on chosen {below}"


def _true_bases(headers: dict[Ballot, Header], truth: dict[Ballot, Header]) -> None:
    for header in headers.values():
        assert header.base is None or header.base in truth, f"{header.tag} stands on {header.base}, which was not chosen"


def _true_marks(cluster: Cluster, secret: SecretId, truth: dict[Ballot, Header]) -> None:
    for node in cluster.nodes.values():
        register = node.registers.get(secret)
        if register is None:
            continue
        for held in register.records:
            assert held.header.tag >= register.erased, f"{node.name} holds {held.header.tag}, which it has erased"
            assert not held.chosen or held.header.tag in truth, f"{node.name} marks {held.header.tag}, which was not chosen"


def _whole_groups(cluster: Cluster, headers: dict[Ballot, Header], truth: dict[Ballot, Header]) -> None:
    for header in headers.values():
        if header.group is not None and committed(cluster, header.group):
            assert header.tag in truth, f"group {header.group} was committed without {header.tag}"


def erased_is_gone(cluster: Cluster, secret: SecretId) -> None:
    """Once W nodes have carried out a delete, fewer than k shares of each record below it are left (PROTO-8)."""
    erasures = sorted((node.registers[secret].erased for node in cluster.nodes.values() if secret in node.registers), reverse=True)
    if len(erasures) < cluster.quorum.write:
        return
    done = erasures[cluster.quorum.write - 1]
    left: dict[Ballot, int] = {}
    for node in cluster.nodes.values():
        for held in node.registers[secret].records if secret in node.registers else ():
            if held.header.tag < done and held.share is not None:
                left[held.header.tag] = left.get(held.header.tag, 0) + 1
    assert all(count < cluster.quorum.threshold for count in left.values()), f"k shares of something deleted are left: {left}"
