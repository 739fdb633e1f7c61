"""Taking over what the others hold: what changed while this node was away, or everything, after its disk was lost (PROTO-12, PROTO-13)."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from model.machine import Send
from model.message import Addressed, ChangePage, ChangesAfter, Fence, Noted, Query, Repair, Snapshot, Unfit
from model.operation import SecretId
from model.reading import Reading
from model.record import Ballot, Header
from model.restoring import chosen, doubtful, fenced_only, remembered, restored, shards_wanted, whole
from node.config import Settings
from node.coordinator import Coordinator
from node.store import Store

logger = logging.getLogger(__name__)

BATCH_SECRETS = 64
PAGE_SECRETS = 512
SILENCE_SECONDS = 2.0
FENCE_COUNTERS = 2**32
"""How far above everything promised anywhere a recovering node fences: further than any ballot it may have promised can be."""


class Recovery:
    """Brings the own store up to what its peers hold. Not thread-safe: one thread at a time."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._quorum = settings.quorum()

    def catch_up(self, coordinator: Coordinator) -> None:
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

    def recover(self, coordinator: Coordinator) -> None:
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
        surveys = self._surveys(coordinator, secrets, fenced)
        heard = [survey for survey in surveys if self._suffices(survey, fenced)]
        lacking = [(survey, _lacking(_judged(survey, fenced), held)) for survey, held in self._held(heard)]
        shown = _shown(coordinator, lacking)
        messages: list[Addressed] = []
        if not self._store.serving:
            writes = ((survey.secret, write) for survey in heard for write in remembered(_judged(survey, fenced), self._settings.id))
            messages += [Addressed(secret, write) for secret, write in writes]
        complete = len(heard) == len(surveys)
        for survey, header in ((survey, header) for survey, headers in lacking for header in headers):
            parts = restored(survey.secret, header, shown.get((survey.secret, header.tag), {}), self._settings.id)
            messages += [Addressed(survey.secret, part) for part in parts]
            short = header.needs_shares and any(isinstance(part, Repair) and part.share is None for part in parts)
            if short and self._store.serving and len(survey.answers) < self._quorum.share_count:
                complete = False
        return not any(isinstance(reply, Unfit) for reply in self._store.apply(messages)) and complete

    def _surveys(self, coordinator: Coordinator, secrets: Sequence[SecretId], fenced: frozenset[str] | None) -> list[Reading]:
        """The histories as every node that answers shows them, after what is in doubt was settled as far as can be."""
        surveys = {survey.secret: survey for survey in coordinator.survey(secrets, histories=True)}
        open_ = [secret for secret, survey in surveys.items() if doubtful(_judged(survey, fenced))]
        if open_:
            coordinator.settle(open_)
            surveys |= {survey.secret: survey for survey in coordinator.survey(open_, histories=True)}
        return list(surveys.values())

    def _suffices(self, survey: Reading, fenced: frozenset[str] | None) -> bool:
        """Whether enough nodes answered, of the fenced ones too."""
        needed = self._quorum.share_count - self._quorum.write + 1
        return len(survey.answers) >= self._quorum.read and (fenced is None or len(fenced & survey.answers.keys()) >= needed)

    def _held(self, surveys: Sequence[Reading]) -> list[tuple[Reading, frozenset[Ballot]]]:
        """Each survey with the tags of what this node holds whole of its secret; without those that this node cannot tell."""
        own = self._store.apply([Addressed(survey.secret, Query(shares=True, sealed=True, lineage=True)) for survey in surveys])
        return [(survey, whole(snapshot)) for survey, snapshot in zip(surveys, own, strict=True) if isinstance(snapshot, Snapshot)]


def _judged(survey: Reading, fenced: frozenset[str] | None) -> Reading:
    """What may be relied on: before this node serves again, the answers of those alone that it has fenced."""
    return survey if fenced is None else fenced_only(survey, fenced)


def _lacking(survey: Reading, held: frozenset[Ballot]) -> list[Header]:
    return [header for header in chosen(survey) if header.tag not in held]


def _shown(
    coordinator: Coordinator, lacking: Sequence[tuple[Reading, Sequence[Header]]]
) -> dict[tuple[SecretId, Ballot | None], dict[str, Snapshot]]:
    """Shares and sealed values of what this node lacks, by secret and tag, from every node that holds them."""
    shown: dict[tuple[SecretId, Ballot | None], dict[str, Snapshot]] = {}
    asked = [send for survey, headers in lacking for send in shards_wanted(survey, *headers)]
    for send, reply in coordinator.send(asked, SILENCE_SECONDS):
        if isinstance(reply, Snapshot) and isinstance(send.message, Query):
            shown.setdefault((send.secret, send.message.tag), {})[send.node] = reply
    return shown
