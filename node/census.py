"""How many nodes serve: those that answer when they are asked now, or did a moment ago. One that recovers answers, but does not serve."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable

from model.machine import Send
from model.message import Query, Reply, Snapshot
from model.operation import NodeStatus, SecretId
from node.config import Settings

FRESH_SECONDS = 0.25
"""How long a count is good: many who ask then cost no more than four do in a second."""

_NOTHING = SecretId("", "")


class Census:
    """The count that a node takes of its cluster. Thread-safe.

    ``exchange`` sends messages and waits for what comes of them until nobody has spoken for so many seconds.
    """

    def __init__(
        self, settings: Settings, exchange: Callable[[Iterable[Send], float], list[tuple[Send, Reply | None]]], clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._quorum = settings.quorum()
        self._exchange = exchange
        self._clock = clock
        self._lock = threading.Lock()
        self._serving_count = 0
        self._taken = -math.inf

    def status(self) -> NodeStatus:
        """What is true now. A silent node is waited for as long as a read waits for it."""
        with self._lock:  # who comes while it is being taken waits for the same one
            if self._clock() - self._taken >= FRESH_SECONDS:
                asked = (Send(node, _NOTHING, Query()) for node in self._settings.nodes)
                replies = self._exchange(asked, self._settings.patience_ms / 1000)
                self._serving_count = sum(isinstance(reply, Snapshot) for _, reply in replies)
                self._taken = self._clock()
            return NodeStatus(self._settings.id, self._serving_count, self._quorum.read, self._quorum.write)
