"""Messages on their way to another node, and what comes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from model.message import Addressed, Reply


class Delivery(NamedTuple):
    """What came of a parcel: its tokens and, in step, the replies; None if none will come."""

    tokens: Sequence[Any]
    replies: Sequence[Reply] | None


class Mailbox(Protocol):
    """Where deliveries wait for the one who asked."""

    def put(self, item: Delivery) -> None:
        """Leave a delivery. Safe from any thread."""

    def get(self, *, timeout: float) -> Delivery:
        """The next delivery. Raises ``queue.Empty`` when none has come for ``timeout`` seconds."""

    def close(self) -> None:
        """Nobody will get anything from here any more."""


class Parcel(NamedTuple):
    """Messages for one peer, and where their replies go; without a mailbox nobody waits."""

    messages: Sequence[Addressed]
    tokens: Sequence[Any]
    mailbox: Mailbox | None
