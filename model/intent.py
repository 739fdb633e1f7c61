"""What is proposed or read, by whom, and what can come of it beside a result: words that proposals, groups and readings share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from model.judging import Judgement
from model.operation import Encoding, Retry, Version
from model.quorum import Quorum
from model.record import Kind
from model.version import valid_at

RETRY_MS = 20
"""When nothing was written because another proposal was under way: ask again after about so long."""


class Intent(msgspec.Struct, frozen=True):
    """What a proposal wants. ``now``: gateway time, microseconds. ``decide`` is for a group's register: ``decision`` unless one stands."""

    verb: Literal["create", "update", "delete", "settle", "decide"]
    now: int = 0
    value: bytes = b""
    encoding: Encoding = "utf-8"
    expected_version: int | None = None
    retry: Retry | None = None
    group: str | None = None
    decision: Kind = Kind.ABORT

    @property
    def keeps_share(self) -> bool:
        """Whether the coordinator must vote itself, since it keeps a share; a recovering node may still settle for others."""
        return self.verb not in ("settle", "decide")

    def __repr__(self) -> str:
        return f"Intent({self.verb})"


class Seat(msgspec.Struct, frozen=True):
    """Who proposes, and where: coordinator, a random ``boot`` number for this proposal alone, quorum, the n nodes nearest first, lease."""

    me: str
    boot: int
    quorum: Quorum
    nodes: tuple[str, ...]
    lease_ms: int


class Settled(msgspec.Struct, frozen=True):
    """Outcome of ``settle``: nothing is in doubt that these nodes could settle."""

    judgement: Judgement


class Decided(msgspec.Struct, frozen=True):
    """Outcome of ``decide``: the group's one decision, COMMIT or ABORT."""

    kind: Kind


class Wanted(msgspec.Struct, frozen=True):
    """What is read: the latest version, or ``version``, or the one valid ``at`` a time, or the whole ``history``.

    ``reveal``: rebuild the value. ``survey``: hear every node before judging, and gather what repair needs, but rebuild nothing.
    ``decision``: the register is a group's; the outcome says how it was decided.
    """

    version: int | None = None
    at: int | None = None
    history: bool = False
    reveal: bool = True
    survey: bool = False
    decision: bool = False

    @property
    def lineage(self) -> bool:
        return self.history or self.version is not None or self.at is not None

    def among(self, versions: Sequence[Version]) -> Version | None:
        """The version that is read, of all that there are, oldest first; None if it is not there."""
        if self.version is not None:
            return next((each for each in versions if each.version == self.version), None)
        assert self.at is not None, "a lineage is read for a history, a version or a time"
        return valid_at(versions, self.at)
