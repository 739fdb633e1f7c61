"""The leases that a node remembers. Volatile: they spare collisions, safety never rests on them (PROTO-4)."""

from __future__ import annotations

from collections.abc import Mapping

from model.operation import SecretId
from model.record import Lease

SWEPT_LEASES = 4096
"""So many may be remembered before those that ran out are looked for."""


class Leases:
    """Written by one thread at a time, read by any."""

    def __init__(self) -> None:
        self._leases: dict[SecretId, Lease] = {}
        self._limit = SWEPT_LEASES

    def __len__(self) -> int:
        return len(self._leases)

    def running(self, secret: SecretId, changed: Mapping[SecretId, Lease | None], now_ms: int) -> Lease | None:
        """The lease on a secret, if it has not run out. What is ``changed`` but not yet taken over comes first."""
        lease = changed[secret] if secret in changed else self._leases.get(secret)
        return lease if lease is not None and lease.until_ms > now_ms else None

    def take_over(self, changed: Mapping[SecretId, Lease | None], now_ms: int) -> None:
        """Remember what a transaction changed. Those that ran out unnoticed are swept away before they pile up."""
        for secret, lease in changed.items():
            if lease is None:
                self._leases.pop(secret, None)
            else:
                self._leases[secret] = lease
        if len(self._leases) > self._limit:
            self._leases = {secret: lease for secret, lease in self._leases.items() if lease.until_ms > now_ms}
            self._limit = max(SWEPT_LEASES, 2 * len(self._leases))
