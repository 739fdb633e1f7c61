"""Judging snapshots: which records were chosen, which can never be, which are in doubt (PROTO-9, PROTO-10).

Pure functions over the answers of some nodes. A record is

- *chosen* if an answer has it marked, or W answers accepted it under one ballot, or a record names it as its base;
- *void* if those that hold it or may hold it are fewer than W, or if it and a chosen record are not one above the other;
- *in doubt* otherwise.

A record of a group counts only if the group was committed; without that knowledge it is *unresolved*. A record that a chosen
one names among its doubts can no longer be settled by a vote: it counts if W nodes hold it, under whatever ballots (PROTO-10).
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator, Mapping

import msgspec

from model.message import Snapshot, View
from model.operation import SecretId
from model.quorum import Quorum
from model.record import ZERO, Ballot, Doubt, Header, Kind, sealed_is_sound, share_is_sound


class Standing(enum.Enum):
    """What the answers say of one record."""

    CHOSEN = enum.auto()
    DOUBT = enum.auto()
    UNRESOLVED = enum.auto()
    VOID = enum.auto()


class Judgement(msgspec.Struct, frozen=True):
    """The top of the chain: the newest record known to be chosen (None: nothing) and the doubts above it, newest first.

    ``unresolved`` names groups to look up before the judgement can be relied on; ``void`` are records seen that cannot be
    chosen; ``next_sequence`` lies above everything seen.
    """

    head: Header | None
    doubts: tuple[Doubt, ...] = ()
    unresolved: frozenset[str] = frozenset()
    void: tuple[Ballot, ...] = ()
    next_sequence: int = 1

    @property
    def clean(self) -> bool:
        return not self.doubts and not self.unresolved

    @property
    def live(self) -> Header | None:
        """The chosen head, if it is a value."""
        return self.head if self.head is not None and self.head.kind is Kind.VALUE else None


class Evidence:
    """The answers of some nodes, indexed by tag. ``groups`` holds the groups known to be committed (True) or not (False).

    ``voted``: the answers are votes, so what an answer does not hold, that node will not come to hold under an older ballot.
    """

    def __init__(
        self, secret: SecretId, quorum: Quorum, answers: Mapping[str, Snapshot], groups: Mapping[str, bool], *, voted: bool = False
    ) -> None:
        self.secret = secret
        self.quorum = quorum
        self.answers = answers
        self.groups = groups
        self.voted = voted
        self.headers: dict[Ballot, Header] = {}
        self.views: dict[Ballot, dict[str, View]] = {}
        for node, snapshot in answers.items():
            for view in snapshot.views:
                self.views.setdefault(view.tag, {})[node] = view
                if view.header is not None:
                    self.headers[view.tag] = view.header
        self._proven = {tag for tag, holders in self.views.items() if any(view.chosen for view in holders.values())}
        self._proven.update(header.base for header in self.headers.values() if header.base is not None)
        others = ((tag, header) for tag, header in self.headers.items() if tag not in self._proven)
        self._proven.update([tag for tag, header in others if header.group is None and self._is_counted(tag)])

    def standing(self, tag: Ballot) -> Standing:
        """Judge one record.

        At the top of the chain, what is not chosen while a reading runs may be ordered after it. Below a chosen record that
        will not do: a late acceptance would make a version appear in a history that was already shown without it. So there a
        node counts as one that may hold the record until it voted or is seen to refuse it (PROTO-5: a newer one is marked there), and
        what it holds counts only if it will keep it (PROTO-6: likewise).
        """
        if tag in self._proven:
            return Standing.CHOSEN
        header = self.headers.get(tag)
        group = header.group if header is not None else None
        committed = None if group is None else self.groups.get(group)
        if committed is not None:
            return Standing.CHOSEN if committed else Standing.VOID
        if self._is_contradicted(tag):
            return Standing.VOID
        holders = self.views.get(tag, {})
        below = any(doubt.tag == tag for proven in self._proven_headers() for doubt in proven.doubts)
        possible = self.quorum.share_count - sum(
            1
            for node, snapshot in self.answers.items()
            if node not in holders and snapshot.erased <= tag and (not below or self.voted or _newest_mark(snapshot) > tag)
        )
        if not self.quorum.may_be_chosen(possible):
            return Standing.VOID
        if group is not None:
            return Standing.UNRESOLVED
        kept = [view for node, view in holders.items() if _newest_mark(self.answers[node]) > tag] if below else []
        accepted = sum(view.ballot.counts for view in kept)
        return Standing.CHOSEN if self._is_counted(tag) or accepted >= self.quorum.write else Standing.DOUBT

    def _is_counted(self, tag: Ballot) -> bool:
        """Whether W answers accepted the record under one ballot: as good as a mark (PROTO-9)."""
        counts = Counter(view.ballot for view in self.views.get(tag, {}).values() if view.ballot.counts)
        return max(counts.values(), default=0) >= self.quorum.write

    def _proven_headers(self) -> Iterator[Header]:
        return (self.headers[tag] for tag in self._proven if tag in self.headers)

    def _is_contradicted(self, tag: Ballot) -> bool:
        """Whether a chosen record neither stands on this one nor lies below it. Two chosen records are always one above the other."""
        header = self.headers.get(tag)
        if header is not None and any(proven < tag and not header.names_ancestor(proven) for proven in self._proven):
            return True
        return any(proven.tag > tag and not proven.names_ancestor(tag) for proven in self._proven_headers())

    def judge(self) -> Judgement:
        """Start at the record with the highest accepted ballot and walk down to the first chosen one (PROTO-10)."""
        sequences = (header.sequence for header in self.headers.values())
        next_sequence = max(sequences, default=0) + 1
        start = self._start()
        if start is None:
            return Judgement(None, next_sequence=next_sequence)
        doubts: list[Doubt] = []
        unresolved: set[str] = set()
        void: list[Ballot] = []
        head: Header | None = None
        for entry in _ancestry(start):
            standing = self.standing(entry.tag)
            if standing is Standing.CHOSEN:
                head = self.headers.get(entry.tag)
                if head is None:  # chosen, but shown by none of these answers: as good as in doubt until more have come
                    doubts.append(entry)
                break
            if standing is Standing.VOID:
                void.append(entry.tag)
                continue
            doubts.append(entry)
            if standing is Standing.UNRESOLVED:
                unresolved.add(str(self.headers[entry.tag].group))
        return Judgement(head, tuple(doubts), frozenset(unresolved), tuple(void), next_sequence)

    def lineage(self, head: Header) -> tuple[Header, ...] | None:
        """Every chosen record from ``head`` down to the create of its incarnation, newest first.

        None if that cannot be told from these answers: a record between is in doubt or shown by nobody.
        """
        chain = [head]
        while not chain[-1].is_create:
            below = list(_ancestry(chain[-1]))[1:]
            entry = next(each for each in below if self.standing(each.tag) is not Standing.VOID)  # at the latest the base: it was chosen
            header = self.headers.get(entry.tag)
            if header is None or self.standing(entry.tag) is not Standing.CHOSEN:
                return None
            chain.append(header)
        return tuple(chain)

    def sound_shares(self, header: Header) -> dict[str, bytes]:
        """Each node's share of a record, as far as answers show one that matches its commitment (SEC: check before combining)."""
        shares = {node: view.share for node, view in self.views.get(header.tag, {}).items()}
        return {node: share for node, share in shares.items() if share is not None and share_is_sound(self.secret, header, node, share)}

    def sealed(self, header: Header) -> bytes | None:
        """A record's sealed value, as far as an answer carries one that is whole."""
        views = self.views.get(header.tag, {}).values()
        return next((view.sealed for view in views if sealed_is_sound(header, view.sealed)), None)

    def unmarked(self, header: Header) -> tuple[str, ...]:
        """The nodes that answered but do not know that this record, or a newer one, was chosen."""
        return tuple(node for node, snapshot in self.answers.items() if _newest_mark(snapshot) < header.tag)

    def settleable(self, doubt: Doubt) -> Header | None:
        """The header of a record in doubt that can be written again: one without shares, or with k of them and its sealed value at hand."""
        header = self.headers.get(doubt.tag)
        if header is None or header.group is not None:
            return None
        if header.needs_shares and (len(self.sound_shares(header)) < header.threshold or self.sealed(header) is None):
            return None
        return header

    def _start(self) -> Header | None:
        """The record accepted under the highest ballot, of those that stand on the newest one proven to be chosen (or are it)."""
        newest = max(self._proven, default=ZERO)
        accepted = (
            (view.ballot, tag)
            for tag, holders in self.views.items()
            for view in holders.values()
            if tag in self.headers and (tag == newest or (tag > newest and (newest == ZERO or self.headers[tag].names_ancestor(newest))))
        )
        start = max(accepted, default=None)
        return self.headers[start[1]] if start is not None else None


def _newest_mark(snapshot: Snapshot) -> Ballot:
    """The tag of the newest record that the node knows to be chosen. It accepts nothing older any more (PROTO-5)."""
    return max((view.tag for view in snapshot.views if view.chosen), default=ZERO)


def _ancestry(header: Header) -> Iterator[Doubt]:
    """The record itself, its doubts, its base: each as far as it is known from this header alone."""
    yield Doubt(header.tag, header.version, header.valid_from)
    yield from header.doubts
    if header.base is not None:
        yield Doubt(header.base, 0, 0)
