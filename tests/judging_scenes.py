"""Answers of some nodes to be judged, and two records that they may show: a create and an update on it."""

from __future__ import annotations

from scenes import QUORUM, SECRET, cut_of, header_of

from model.judging import Evidence
from model.message import Snapshot
from model.quorum import Quorum

CREATE = cut_of(header_of(1))
UPDATE = cut_of(header_of(2, CREATE.header))


def evidence(quorum: Quorum = QUORUM, groups: dict[str, bool] | None = None, *, voted: bool = False, **answers: Snapshot) -> Evidence:
    return Evidence(SECRET, quorum, answers, groups or {}, voted=voted)
