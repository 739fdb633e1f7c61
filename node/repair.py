"""The background half of keeping every shard where it belongs: read repair, finishing what a crash left, and when to catch up.

One thread does all of it, a batch at a time, and only ever sends what the machines of ``model`` say. Nothing here is needed for
an answer to be right; it keeps enough shards alive that there is one.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from model.machine import Send
from model.message import Query
from model.operation import SecretId
from model.repairing import repairs
from node.config import Settings
from node.coordinator import Coordinator
from node.recovery import BATCH_SECRETS, SILENCE_SECONDS, Recovery
from node.store import Store

logger = logging.getLogger(__name__)

NOTICED_SECRETS = 8
"""How many secrets that were read or deleted are looked at in one turn: about each, all nodes are asked."""
SWEPT_SECRETS = 1024
WAITING_SECRETS = 4096
"""How many secrets may wait to be looked at; more are dropped: repair is best effort, and the next read asks again."""
REMEMBERED_SECRETS = 8192
LINGER_SECONDS = 0.3
"""How long after a read or a delete its secret is looked at, so that replies under way still arrive."""
TURN_SECONDS = 0.1
RECOVERY_SECONDS = 1.0
"""How long to rest between two turns, and between two attempts to recover."""
ATTENTION_SECONDS = 30.0
"""How long a secret that was found whole is not looked at again on account of reads."""


class Repairer:
    """Looks after the shards, in a thread of its own. ``notice`` is safe to call from any thread."""

    def __init__(self, settings: Settings, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._store = store
        self._recovery = Recovery(settings, store)
        self._clock = clock
        self._quorum = settings.quorum()
        self._lock = threading.Lock()
        self._waiting: OrderedDict[SecretId, float] = OrderedDict()
        self._whole: OrderedDict[SecretId, float] = OrderedDict()
        self._stop = threading.Event()
        self._swept_revision = 0
        self._sweeps = 0
        self._swept = -math.inf
        self._caught_up = -math.inf
        self._reached: frozenset[str] = frozenset()

    def notice(self, secret: SecretId) -> None:
        """A secret was read or deleted here: look at its shards in a moment."""
        now = self._clock()
        with self._lock:
            looked_at = self._whole.get(secret)
            known = secret in self._waiting or (looked_at is not None and now - looked_at < ATTENTION_SECONDS)
            if not known and len(self._waiting) < WAITING_SECRETS:
                self._waiting[secret] = now

    def start(self, coordinator: Coordinator) -> None:
        threading.Thread(target=self.run, args=(coordinator,), name="repair", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def run(self, coordinator: Coordinator) -> None:
        """Until stopped: one turn after the other."""
        while not self._stop.wait(TURN_SECONDS if self._store.serving else RECOVERY_SECONDS):
            try:
                self.turn(coordinator)
            except Exception:  # the caretaker must outlive whatever it meets
                logger.exception("repair met an error and goes on")

    def turn(self, coordinator: Coordinator) -> None:
        """What there is to do now: recover if need be, else tend what was noticed and, now and then, sweep and catch up."""
        if not self._store.serving:
            self._recovery.recover(coordinator)
            return
        self._tend(coordinator, self._due())
        now = self._clock()
        if now - self._swept >= self._settings.sweep_seconds:
            self._swept = now
            self._sweep(coordinator)
            if self._somebody_returned(coordinator) or now - self._caught_up >= self._settings.catch_up_seconds:
                self._caught_up = now
                self._recovery.catch_up(coordinator)

    def _due(self) -> list[SecretId]:
        """The secrets that were noticed long enough ago, a few at a time."""
        before = self._clock() - LINGER_SECONDS
        with self._lock:
            due = [secret for secret, since in self._waiting.items() if since <= before][:NOTICED_SECRETS]
            for secret in due:
                del self._waiting[secret]
        return due

    def _tend(self, coordinator: Coordinator, secrets: Sequence[SecretId]) -> None:
        """Survey secrets and repair what the trigger says (PROTO-17)."""
        if not secrets:
            return
        readings = coordinator.survey(secrets)
        sends = [send for reading in readings for send in repairs(reading, self._settings.repair_trigger_buffer)]
        coordinator.send(sends, SILENCE_SECONDS)
        amiss = {send.secret for send in sends} | {
            reading.secret for reading in readings if len(reading.answers) < self._quorum.share_count
        }
        with self._lock:
            for secret in secrets:
                if secret not in amiss:
                    self._whole[secret] = self._clock()
                    self._whole.move_to_end(secret)
            while len(self._whole) > REMEMBERED_SECRETS:
                self._whole.popitem(last=False)
        if sends:
            nodes = ", ".join(sorted({send.node for send in sends}))
            logger.info("repair sent %d messages for %d secrets to %s", len(sends), len({send.secret for send in sends}), nodes)

    def _sweep(self, coordinator: Coordinator) -> None:
        """Finish writes and deletes that have stood unfinished since the sweep before (PROTO-13)."""
        unfinished = self._store.unfinished(self._swept_revision, SWEPT_SECRETS)
        self._swept_revision = self._store.revision
        self._sweeps += 1
        start = self._sweeps * BATCH_SECRETS % max(len(unfinished), 1)  # those that cannot be finished shall not hold up the rest
        stale = (unfinished[start:] + unfinished[:start])[:BATCH_SECRETS]
        if stale:
            coordinator.settle(stale)
            self._tend(coordinator, stale)

    def _somebody_returned(self, coordinator: Coordinator) -> bool:
        """Whether a peer answers that did not before: then this node, or that one, was away."""
        coordinator.send([Send(node, SecretId("", ""), Query()) for node in self._settings.peers], SILENCE_SECONDS)
        reached = frozenset(coordinator.reachable())
        returned = reached - self._reached
        self._reached = reached
        if returned:
            with self._lock:
                self._whole.clear()
        return bool(returned)
