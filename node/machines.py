"""Which machine of ``model`` carries out an operation here, and what it is given: places, quorum, the ballot to start above, randomness."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from model import group as groups
from model import proposal as proposals
from model import reading as readings
from model import selection as selections
from model.envelope import KEY_BYTES, NONCE_BYTES
from model.intent import Intent, Seat, Wanted
from model.machine import Send
from model.operation import Create, Delete, History, Operation, Read, SecretId, Update
from model.placement import place, secret_digest
from model.proposal import Proposal
from model.reading import Reading
from model.record import Entropy, group_register
from model.selection import Selection
from model.session import Machine, Session
from model.shamir import P
from node.config import Settings


class Machines:
    """Opens machines: each method gives a new one with what it sends first.

    ``promised_counter``: the highest ballot counter that this node has promised for a secret. ``order``: the peers, those first that are to
    be asked first.
    """

    def __init__(
        self,
        settings: Settings,
        promised_counter: Callable[[SecretId], int],
        order: Callable[[], tuple[str, ...]],
        randomness: Random,
    ) -> None:
        self._settings = settings
        self._quorum = settings.quorum()
        self._promised_counter = promised_counter
        self._order = order
        self._randomness = randomness

    def session(self) -> Session:
        """A session for machines that meet groups: each is looked up, or aborted unless it is decided."""
        return Session(self._group_settled, self._group_looked_up)

    def reading(self, secret: SecretId, wanted: Wanted) -> tuple[Reading, list[Send]]:
        return readings.begin(self._settings.id, secret, wanted, self._quorum, self._order())

    def proposal(self, secret: SecretId, intent: Intent) -> tuple[Proposal, list[Send]]:
        entropy = self._entropy() if intent.verb in ("create", "update") else None
        return proposals.begin(self._seat(secret), secret, intent, entropy, self._promised_counter(secret))

    def machine(self, operation: Operation) -> tuple[Machine, list[Send]]:
        """What carries out an operation on secrets."""
        match operation:
            case Create(secrets=(new,)):
                return self.proposal(new.secret, Intent("create", operation.now, new.value, new.encoding, retry=operation.retry))
            case Create():
                return self._group(operation)
            case Update(secret=new):
                intent = Intent("update", operation.now, new.value, new.encoding, operation.expected_version, operation.retry)
                return self.proposal(new.secret, intent)
            case Delete():
                return self.proposal(operation.secret, Intent("delete", operation.now, retry=operation.retry))
            case Read():
                return self.reading(operation.secret, wanted(operation))
            case History():
                return self.reading(operation.secret, Wanted(history=True, reveal=False))
            case _:
                raise TypeError(f"not an operation on secrets: {type(operation).__name__}")

    def past(self, secret: SecretId, reads: Sequence[Read]) -> tuple[Reading | Selection, list[Send]]:
        """What carries out reads of versions or times of one secret; several of them share what must be read of its history."""
        if len(reads) == 1:
            return self.reading(secret, wanted(reads[0]))
        return selections.begin(self._settings.id, secret, tuple(map(wanted, reads)), self._quorum, self._order())

    def _group(self, create: Create) -> tuple[groups.Group, list[Send]]:
        group = self._randomness.randbytes(16).hex()
        keys = [new.secret for new in create.secrets]
        return groups.begin(
            tuple(self._seat(secret) for secret in keys),
            self._seat(group_register(group)),
            group,
            create.secrets,
            create.now,
            create.retry,
            tuple(self._entropy() for _ in keys),
            tuple(self._promised_counter(secret) for secret in keys),
        )

    def _group_settled(self, group: str) -> tuple[Proposal, list[Send]]:
        """What aborts a group unless it is decided."""
        return self.proposal(group_register(group), Intent("decide"))

    def _group_looked_up(self, group: str) -> tuple[Reading, list[Send]]:
        return self.reading(group_register(group), Wanted(reveal=False, decision=True))

    def _seat(self, secret: SecretId) -> Seat:
        nodes = place(secret_digest(secret.namespace, secret.name), self._settings.nodes, self._quorum.share_count)
        return Seat(self._settings.id, self._randomness.getrandbits(63), self._quorum, nodes, self._settings.lease_ms)

    def _entropy(self) -> Entropy:
        """A version's randomness: key, nonce, and k-1 coefficients uniform in the field."""
        coefficients = tuple(self._randomness.randrange(P) for _ in range(self._quorum.threshold - 1))
        return Entropy(self._randomness.randbytes(KEY_BYTES), self._randomness.randbytes(NONCE_BYTES), coefficients)


def wanted(read: Read) -> Wanted:
    """What a read asks of a reading."""
    return Wanted(read.version, read.at, reveal=read.reveal)
