"""What must hold inside a simulated cluster at every moment, whatever the faults: the protocol's invariants, checked by omniscience.

A client cannot see these; a breach shows here long before some read happens to show it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Protocol

from model.operation import SecretId
from model.participant import Seat, is_sound
from model.quorum import Quorum
from model.record import Ballot, Header, Kind, Register, group_register


class Inside(Protocol):
    """A cluster seen from within: what each node keeps, and every acceptance and header that there ever was.

    ``shares_lost``: a disk was lost, so that shares of what was acknowledged in that moment may be too few.
    """

    @property
    def quorum(self) -> Quorum: ...
    @property
    def registers(self) -> Mapping[str, Mapping[SecretId, Register]]: ...
    @property
    def headers(self) -> Mapping[SecretId, Mapping[Ballot, Header]]: ...
    @property
    def acceptances(self) -> Mapping[tuple[SecretId, Ballot, Ballot], set[str]]: ...
    @property
    def shares_lost(self) -> bool: ...


def chosen(cluster: Inside, secret: SecretId) -> dict[Ballot, Header]:
    """Every record that W nodes ever accepted under one ballot and, if it belongs to a group, whose group was committed."""
    found = {}
    for (owner, tag, _), nodes in cluster.acceptances.items():
        if owner == secret and len(nodes) >= cluster.quorum.write:
            header = cluster.headers[secret][tag]
            if header.group is None or committed(cluster, header.group):
                found[tag] = header
    return dict(sorted(found.items()))


def committed(cluster: Inside, group: str) -> bool:
    return any(header.kind is Kind.COMMIT for header in chosen(cluster, group_register(group)).values())


def inspect(cluster: Inside) -> None:
    """Raises AssertionError that names the breach."""
    for secret, headers in cluster.headers.items():
        truth = chosen(cluster, secret)
        _one_chain(truth)
        _true_bases(headers, truth)
        _true_marks(cluster, secret, truth)
        _one_split(cluster, secret)
        _kept(cluster, secret, truth)
        _whole_groups(cluster, headers, truth)
        erased_is_gone(cluster, secret)


def _one_chain(truth: dict[Ballot, Header]) -> None:
    """Two chosen records are always one above the other."""
    tags = list(truth)
    for below, above in pairwise(tags):
        assert truth[above].names_ancestor(below), f"chosen {above} does not stand on chosen {below}"


def _true_bases(headers: Mapping[Ballot, Header], truth: dict[Ballot, Header]) -> None:
    for header in headers.values():
        assert header.base is None or header.base in truth, f"{header.tag} stands on {header.base}, which was not chosen"


def _true_marks(cluster: Inside, secret: SecretId, truth: dict[Ballot, Header]) -> None:
    for node, register in _of(cluster, secret).items():
        for held in register.records:
            assert held.header.tag >= register.erased, f"{node} holds {held.header.tag}, which it has erased"
            assert not held.chosen or held.header.tag in truth, f"{node} marks {held.header.tag}, which was not chosen"


def _one_split(cluster: Inside, secret: SecretId) -> None:
    """A record is the same on all nodes, and every share held is the one that it commits to: no two polynomials are mixed (PROTO-7)."""
    known: dict[Ballot, Header] = {}
    for node, register in _of(cluster, secret).items():
        for held in register.records:
            assert known.setdefault(held.header.tag, held.header) == held.header, f"{node} holds another {held.header.tag} than the others"
            assert held.share is None or is_sound(Seat(secret, node), held), (
                f"{node} holds a share of {held.header.tag} that is not its own"
            )


def _kept(cluster: Inside, secret: SecretId, truth: dict[Ballot, Header]) -> None:
    """A chosen record is never lost: k shares of it are there until a chosen tombstone buries it."""
    if cluster.shares_lost:
        return
    buried = max((tag for tag, header in truth.items() if header.kind is Kind.TOMBSTONE), default=None)
    registers = _of(cluster, secret).values()
    for tag, header in truth.items():
        if header.kind is Kind.VALUE and (buried is None or tag > buried):
            left = sum(1 for register in registers if (held := register.held(tag)) is not None and held.share is not None)
            assert left >= cluster.quorum.threshold, f"only {left} shares of chosen {tag} are left"


def _of(cluster: Inside, secret: SecretId) -> dict[str, Register]:
    return {node: registers[secret] for node, registers in cluster.registers.items() if secret in registers}


def _whole_groups(cluster: Inside, headers: Mapping[Ballot, Header], truth: dict[Ballot, Header]) -> None:
    for header in headers.values():
        if header.group is not None and committed(cluster, header.group):
            assert header.tag in truth, f"group {header.group} was committed without {header.tag}"


def erased_is_gone(cluster: Inside, secret: SecretId) -> None:
    """Once W nodes have carried out a delete, fewer than k shares of each record below it are left (PROTO-8)."""
    registers = _of(cluster, secret)
    erasures = sorted((register.erased for register in registers.values()), reverse=True)
    if len(erasures) < cluster.quorum.write:
        return
    done = erasures[cluster.quorum.write - 1]
    left: dict[Ballot, int] = {}
    for register in registers.values():
        for held in register.records:
            if held.header.tag < done and held.share is not None:
                left[held.header.tag] = left.get(held.header.tag, 0) + 1
    assert all(count < cluster.quorum.threshold for count in left.values()), f"k shares of something deleted are left: {left}"
