"""Judging snapshots: which records were chosen, which can never be, which are in doubt (PROTO-9, PROTO-10).

Pure functions over the answers of some nodes. A record is

- *chosen* if an answer has it marked, or W answers accepted it under one ballot, or a record names it as its base;
- *void* if those that hold it or may still come to hold it are fewer than W: it was not chosen;
- *in doubt* otherwise.

A record of a group counts only if the group was committed; without that knowledge it is *unresolved*.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator, Mapping

import msgspec

from model.message import Snapshot, View
from model.operation import SecretId
from model.quorum import Quorum
from model.record import ZERO, Ballot, Doubt, Header, Kind, share_is_sound


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
    """The answers of some nodes, indexed by tag. ``groups`` holds the groups known to be committed (True) or not (False)."""

    def __init__(self, secret: SecretId, quorum: Quorum, answers: Mapping[str, Snapshot], groups: Mapping[str, bool]) -> None:
        self.secret = secret
        self.quorum = quorum
        self.answers = answers
        self.groups = groups
        self.headers: dict[Ballot, Header] = {}
        self.views: dict[Ballot, dict[str, View]] = {}
        for node, snapshot in answers.items():
            for view in snapshot.views:
                self.views.setdefault(view.tag, {})[node] = view
                if view.header is not None:
                    self.headers[view.tag] = view.header
        self._proven = {tag for tag, holders in self.views.items() if any(view.chosen for view in holders.values())}
        self._proven.update(header.base for header in self.headers.values() if header.base is not None)

    def standing(self, tag: Ballot, fence: Ballot = ZERO) -> Standing:
        """Judge one record. With ``fence``, a silent promise below that ballot counts as a possible holder too.

        A latest read needs no fence: what is not chosen while it runs may be ordered after it. Below a chosen record a
        fence is needed, or a late acceptance could make a record appear in a history that was already shown without it.
        """
        if tag in self._proven:
            return Standing.CHOSEN
        header = self.headers.get(tag)
        group = header.group if header is not None else None
        committed = None if group is None else self.groups.get(group)
        if committed is not None:
            return Standing.CHOSEN if committed else Standing.VOID
        holders = self.views.get(tag, {})
        possible = sum(
            1 for node, snapshot in self.answers.items() if node in holders or snapshot.erased > tag or snapshot.promised < fence
        )
        if not self.quorum.may_be_chosen(possible + self.quorum.share_count - len(self.answers)):
            return Standing.VOID
        if group is not None:
            return Standing.UNRESOLVED
        counts = Counter(view.ballot for view in holders.values() if view.ballot != ZERO)
        if any(count >= self.quorum.write for count in counts.values()):
            return Standing.CHOSEN
        return Standing.DOUBT

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
            above = chain[-1]
            for entry in list(_ancestry(above))[1:]:
                standing = self.standing(entry.tag, fence=above.tag)
                if standing is Standing.VOID:
                    continue
                header = self.headers.get(entry.tag)
                if standing is not Standing.CHOSEN or header is None:
                    return None
                chain.append(header)
                break
        return tuple(chain)

    def sound_shares(self, header: Header) -> dict[str, bytes]:
        """Each node's share of a record, as far as answers show one that matches its commitment (SEC: check before combining)."""
        shares = {node: view.share for node, view in self.views.get(header.tag, {}).items()}
        return {node: share for node, share in shares.items() if share is not None and share_is_sound(self.secret, header, node, share)}

    def sealed(self, tag: Ballot) -> Iterator[bytes]:
        """The sealed values that answers carry for a record."""
        return (view.sealed for view in self.views.get(tag, {}).values() if view.sealed is not None)

    def settleable(self, doubt: Doubt) -> Header | None:
        """The header of a record in doubt that can be written again: one without shares, or with k of them and its sealed value at hand."""
        header = self.headers.get(doubt.tag)
        if header is None or header.group is not None:
            return None
        if header.needs_shares and (len(self.sound_shares(header)) < header.threshold or not any(self.sealed(header.tag))):
            return None
        return header

    def _start(self) -> Header | None:
        accepted = max(
            ((view.ballot, tag) for tag, holders in self.views.items() for view in holders.values() if tag in self.headers), default=None
        )
        if accepted is None:
            return None
        start = self.headers[accepted[1]]
        proven = [self.headers[tag] for tag in self._proven if tag in self.headers]
        return max([start, *proven], key=lambda header: (header.sequence, header.tag == start.tag))


def _ancestry(header: Header) -> Iterator[Doubt]:
    """The record itself, its doubts, its base: each as far as it is known from this header alone."""
    yield Doubt(header.tag, header.version, header.valid_from)
    yield from header.doubts
    if header.base is not None:
        yield Doubt(header.base, 0, 0)
