"""What the nodes of a simulated cluster do unasked: survey secrets, repair them, settle what is in doubt."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from simulation_parts import Job, Node

from model.intent import Intent, Wanted
from model.operation import SecretId
from model.proposal import Proposal
from model.reading import Reading
from model.repairing import repairs
from model.session import Machine, Post

if TYPE_CHECKING:
    from simulation import Cluster


def mend(cluster: Cluster, name: str, secret: SecretId) -> None:
    """Survey a secret from one node and send what ``model.repairing`` says, to arrive whenever it does (PROTO-17)."""
    node = cluster.nodes[name]
    wanted = Wanted(reveal=False, survey=True, decision=secret.namespace == "")

    def surveyed(machine: Machine) -> None:
        assert isinstance(machine, Reading)
        cluster.send(node, [Post(-1, send) for send in repairs(machine, 1)])

    cluster.open(node, *cluster.opener.reading(node, secret, wanted), Job(surveyed, _nobody))


def settle(cluster: Cluster, name: str, secret: SecretId) -> None:
    """Settle by a vote what is in doubt at the top of a secret."""
    node = cluster.nodes[name]
    if secret in node.claimed or (secret.namespace == "" and cluster.faults.harmless and not cluster.calmed):
        return
    intent = Intent("decide" if secret.namespace == "" else "settle")
    node.claimed |= {secret}
    job = Job(lambda _: node.claimed.discard(secret), _nobody)
    cluster.open(node, *cluster.opener.proposal(node, secret, intent), job)


def survey(cluster: Cluster, node: Node, secrets: list[SecretId], done: Callable[[dict[SecretId, Reading]], None]) -> None:
    """Read the whole history of each of ``secrets`` from every node that answers."""
    found: dict[SecretId, Reading] = {}

    def surveyed(machine: Machine) -> None:
        assert isinstance(machine, Reading)
        found[machine.secret] = machine
        if len(found) == len(secrets):
            done(found)

    for secret in secrets:
        cluster.open(node, *cluster.opener.reading(node, secret, Wanted(history=True, reveal=False, survey=True)), Job(surveyed, _nobody))
    if not secrets:
        done(found)


def settle_all(cluster: Cluster, node: Node, secrets: list[SecretId], done: Callable[[], None]) -> None:
    """Settle by a vote what is in doubt at the top of each of ``secrets``."""
    left = set(secrets)

    def settled(machine: Machine) -> None:
        assert isinstance(machine, Proposal)
        left.discard(machine.secret)
        if not left:
            done()

    for secret in secrets:
        intent = Intent("decide" if secret.namespace == "" else "settle")
        cluster.open(node, *cluster.opener.proposal(node, secret, intent), Job(settled, _nobody))
    if not secrets:
        done()


def _nobody() -> None:
    """Who hears that such a task died with its node."""
