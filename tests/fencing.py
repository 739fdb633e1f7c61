"""What a fence does to a node's registers, as ``node.store`` does it (PROTO-12)."""

from __future__ import annotations

import msgspec

from model.record import Ballot, Register

FENCE_COUNTERS = 2**32
"""How far above everything promised anywhere a recovering node fences."""


def fenced(register: Register, counter: int) -> Register:
    """The register of a node that promises nothing up to this ballot counter."""
    return msgspec.structs.replace(register, promised=max(register.promised, Ballot(counter, "\U0010ffff", 0)))
