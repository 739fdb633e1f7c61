"""The background half of keeping every shard where it belongs: read repair, finishing what a crash left, catching up, recovery.

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

import msgspec

from model.intent import Wanted
from model.machine import Send
from model.message import Addressed, ChangePage, ChangesAfter, Fence, Noted, Query, Repair, Snapshot, Unfit
from model.operation import SecretId
from model.reading import Reading
from model.repairing import repairs
from model.restoring import chosen, doubtful, fenced_only, remembered, restored, shards_wanted, whole
from node.config import Settings
from node.coordinator import Coordinator
from node.store import Store

logger = logging.getLogger(__name__)

BATCH_SECRETS = 64
NOTICED_SECRETS = 8
"""How many secrets that were read or deleted are looked at in one turn: about each, all nodes are asked."""
PAGE_SECRETS = 512
SWEPT_SECRETS = 1024
WAITING_SECRETS = 4096
"""How many secrets may wait to be looked at; more are dropped: repair is best effort, and the next read asks again."""
REMEMBERED_SECRETS = 8192
LINGER_SECONDS = 0.3
"""How long after a read or a delete its secret is looked at, so that replies under way still arrive."""
SILENCE_SECONDS = 2.0
TURN_SECONDS = 0.1
RECOVERY_SECONDS = 1.0
"""How long to rest between two turns, and between two attempts to recover."""
FENCE_COUNTERS = 2**32
"""How far above everything promised anywhere a recovering node fences: further than any ballot it may have promised can be."""
ATTENTION_SECONDS = 30.0
"""How long a secret that was found whole is not looked at again on account of reads."""


class Repairer:
    """Looks after the shards, in a thread of its own. ``notice`` is safe to call from any thread."""

    def __init__(self, settings: Settings, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._store = store
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
            self._recover(coordinator)
            return
        self._tend(coordinator, self._due())
        now = self._clock()
        if now - self._swept >= self._settings.sweep_seconds:
            self._swept = now
            self._sweep(coordinator)
            if self._somebody_returned(coordinator) or now - self._caught_up >= self._settings.catch_up_seconds:
                self._caught_up = now
                self._catch_up(coordinator)

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

    def _catch_up(self, coordinator: Coordinator) -> None:
        """Ask every peer what changed there, and take over what this node has not (PROTO-13)."""
        for node in self._settings.peers:
            store_id = coordinator.store_of(node)
            key = f"caught-up/{node}"
            noted = self._store.note(key)
            known_id, revision = msgspec.msgpack.decode(noted, type=tuple[bytes, int]) if noted is not None else (b"", 0)
            if known_id != store_id:
                revision = 0
            complete = True
            while (page := self._page(coordinator, node, revision)) is not None:
                missing = self._store.missing(page.changes)
                for start in range(0, len(missing), BATCH_SECRETS):
                    complete = self._restore(coordinator, missing[start : start + BATCH_SECRETS]) and complete
                revision = page.revision
                if not page.more:
                    break
            reached = msgspec.msgpack.encode((store_id, revision))
            if complete and page is not None and store_id == coordinator.store_of(node) and noted != reached:
                self._store.put_note(key, reached)

    def _page(self, coordinator: Coordinator, node: str, revision: int) -> ChangePage | None:
        asked = Send(node, SecretId("", ""), ChangesAfter(revision, PAGE_SECRETS))
        reply = coordinator.send([asked], SILENCE_SECONDS)[0][1]
        return reply if isinstance(reply, ChangePage) else None

    def _recover(self, coordinator: Coordinator) -> None:
        """A lost disk: fence off what it had promised, then take over everything from n-W+1 others, then serve (PROTO-12)."""
        needed = self._quorum.share_count - self._quorum.write + 1
        peers = list(self._settings.peers)
        pages = [page for node in peers if (page := self._page(coordinator, node, 0)) is not None]
        if len(pages) < needed:
            logger.warning("recovering from a lost store: %d peers answer, at least %d are needed", len(pages), needed)
            return
        counter = max(page.counter for page in pages) + FENCE_COUNTERS
        replies = coordinator.send((Send(node, SecretId("", ""), Fence(counter)) for node in peers), SILENCE_SECONDS)
        listings = {send.node: self._listing(coordinator, send.node) for send, reply in replies if isinstance(reply, Noted)}
        listed = {node: listing for node, listing in listings.items() if listing is not None}
        keys = list(dict.fromkeys(secret for listing in listed.values() for secret in listing))
        logger.warning("recovering from a lost store: %d of %d peers listed %d secrets", len(listed), needed, len(keys))
        complete = len(listed) >= needed
        for start in range(0, len(keys), BATCH_SECRETS):
            complete = self._restore(coordinator, keys[start : start + BATCH_SECRETS], frozenset(listed)) and complete
        if complete:
            self._store.serve_from(counter)
            logger.warning("recovered: serving again")

    def _listing(self, coordinator: Coordinator, node: str) -> list[SecretId] | None:
        """Every secret that ``node`` has ever held; None if it did not answer to the end."""
        keys: list[SecretId] = []
        revision = 0
        while (page := self._page(coordinator, node, revision)) is not None:
            keys += [change.secret for change in page.changes]
            revision = page.revision
            if not page.more:
                return keys
        return None

    def _restore(self, coordinator: Coordinator, secrets: Sequence[SecretId], fenced: frozenset[str] | None = None) -> bool:
        """Take over every chosen record of ``secrets`` that this node has not whole; before it serves, what stays in doubt too.

        False if it should be tried again: too few nodes answered, or too few to rebuild a share. A doubt is no reason to try
        again: whatever ends it will be a change that peers tell of. A recovering node relies on n-W+1 of the ``fenced`` (PROTO-12).
        """

        def judged(reading: Reading) -> Reading:
            return reading if fenced is None else fenced_only(reading, fenced)

        readings = self._chains(coordinator, secrets)
        open_ = [reading.secret for reading in readings if doubtful(judged(reading))]
        if open_:
            coordinator.settle(open_)
            settled = {reading.secret: reading for reading in self._chains(coordinator, open_)}
            readings = [settled.get(reading.secret, reading) for reading in readings]
        needed = self._quorum.share_count - self._quorum.write + 1
        heard = [
            reading
            for reading in readings
            if len(reading.answers) >= self._quorum.read and (fenced is None or len(fenced & reading.answers.keys()) >= needed)
        ]
        own = self._store.apply([Addressed(reading.secret, Query(shares=True, sealed=True, lineage=True)) for reading in heard])
        here = [(reading, whole(snapshot)) for reading, snapshot in zip(heard, own, strict=True) if isinstance(snapshot, Snapshot)]
        lacking = [(reading, [header for header in chosen(judged(reading)) if header.tag not in tags]) for reading, tags in here]
        wanted = [(reading, header) for reading, headers in lacking for header in headers]
        asked = [send for reading, headers in lacking for send in shards_wanted(reading, *headers)]
        answers: dict[tuple[SecretId, object], dict[str, Snapshot]] = {}
        for send, reply in coordinator.send(asked, SILENCE_SECONDS):
            if isinstance(reply, Snapshot) and isinstance(send.message, Query):
                answers.setdefault((send.secret, send.message.tag), {})[send.node] = reply
        messages: list[Addressed] = []
        if not self._store.serving:
            messages += [Addressed(reading.secret, write) for reading in heard for write in remembered(judged(reading), self._settings.id)]
        complete = len(heard) == len(readings)
        for reading, header in wanted:
            parts = restored(reading.secret, header, answers.get((reading.secret, header.tag), {}), self._settings.id)
            messages += [Addressed(reading.secret, part) for part in parts]
            short = header.needs_shares and any(isinstance(part, Repair) and part.share is None for part in parts)
            if short and self._store.serving and len(reading.answers) < self._quorum.share_count:
                complete = False
        return not any(isinstance(reply, Unfit) for reply in self._store.apply(messages)) and complete

    def _chains(self, coordinator: Coordinator, secrets: Sequence[SecretId]) -> list[Reading]:
        """A survey of the whole history of each of ``secrets``."""
        run = coordinator.run()
        tasks = [run.open(*coordinator.reading(secret, Wanted(history=True, reveal=False, survey=True))) for secret in secrets]
        run.drive()
        return [machine for machine in map(run.machine, tasks) if isinstance(machine, Reading)]
