"""How a node of a simulated cluster opens the machines of ``model``: whose turn it is, with which keys, ballots and order of peers."""

from __future__ import annotations

import random

from simulation_parts import Node

from model import group as groups
from model import proposal as proposals
from model import reading as readings
from model.intent import Intent, Seat, Wanted
from model.machine import Send
from model.operation import Create, Delete, History, Operation, Read, SecretId, Update
from model.proposal import Proposal
from model.quorum import Quorum
from model.reading import Reading
from model.record import Entropy, Register
from model.session import Machine


class Opener:
    """Every key, id and order of peers is drawn from the chance given."""

    def __init__(self, chance: random.Random, quorum: Quorum, names: tuple[str, ...], lease_ms: int) -> None:
        self.random = chance
        self.quorum = quorum
        self.names = names
        self.lease_ms = lease_ms

    def machine(self, node: Node, operation: Operation) -> tuple[Machine, list[Send]]:
        """What performs an operation of a client."""
        match operation:
            case Create(secrets=(new,)):
                return self.proposal(node, new.secret, Intent("create", operation.now, new.value, new.encoding, retry=operation.retry))
            case Create():
                return self._group(node, operation)
            case Update(secret=new):
                intent = Intent("update", operation.now, new.value, new.encoding, operation.expected_version, operation.retry)
                return self.proposal(node, new.secret, intent)
            case Delete():
                return self.proposal(node, operation.secret, Intent("delete", operation.now, retry=operation.retry))
            case Read():
                return self.reading(node, operation.secret, Wanted(operation.version, operation.at, reveal=operation.reveal))
            case History():
                return self.reading(node, operation.secret, Wanted(history=True, reveal=False))
        raise TypeError(type(operation).__name__)

    def proposal(self, node: Node, secret: SecretId, intent: Intent) -> tuple[Proposal, list[Send]]:
        """What writes one secret, or settles what is in doubt at its top."""
        entropy = self._entropy() if intent.verb in ("create", "update") else None
        return proposals.begin(self._seat(node), secret, intent, entropy, self._counter(node, secret))

    def reading(self, node: Node, secret: SecretId, wanted: Wanted) -> tuple[Reading, list[Send]]:
        """What reads one secret."""
        peers = [name for name in self.names if name != node.name]
        self.random.shuffle(peers)
        return readings.begin(node.name, secret, wanted, self.quorum, tuple(peers))

    def _group(self, node: Node, create: Create) -> tuple[groups.Group, list[Send]]:
        keys = [new.secret for new in create.secrets]
        return groups.begin(
            tuple(self._seat(node) for _ in keys),
            self._seat(node),
            f"g{self.random.getrandbits(40):x}",
            create.secrets,
            create.now,
            create.retry,
            tuple(self._entropy() for _ in keys),
            tuple(self._counter(node, secret) for secret in keys),
        )

    def _seat(self, node: Node) -> Seat:
        return Seat(node.name, self.random.getrandbits(63), self.quorum, self.names, self.lease_ms)

    def _counter(self, node: Node, secret: SecretId) -> int:
        return max(node.registers.get(secret, Register()).promised.counter, node.floor)

    def _entropy(self) -> Entropy:
        bits = self.random.getrandbits
        return Entropy(bits(256).to_bytes(32), bits(96).to_bytes(12), tuple(bits(255) for _ in range(self.quorum.threshold - 1)))
