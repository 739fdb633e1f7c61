"""What is proposed or read, in words: who must vote, what of the history must be read, and which version is meant."""

from __future__ import annotations

import pytest

from model.intent import Intent, Wanted
from model.operation import Version

VERSIONS = (Version(1, 100), Version(2, 200), Version(3, 300))


@pytest.mark.parametrize(("verb", "keeps"), [("create", True), ("update", True), ("delete", True), ("settle", False), ("decide", False)])
def test_who_coordinates_a_write_keeps_a_share_of_it_and_votes(verb: str, keeps: bool) -> None:
    assert Intent(verb).keeps_share is keeps  # type: ignore[arg-type]


def test_a_value_is_never_shown() -> None:
    assert repr(Intent("create", value=b"secret")) == "Intent(create)"


@pytest.mark.parametrize(
    ("wanted", "lineage"),
    [(Wanted(), False), (Wanted(survey=True), False), (Wanted(version=1), True), (Wanted(at=0), True), (Wanted(history=True), True)],
)
def test_the_latest_version_alone_is_read_without_its_history(wanted: Wanted, lineage: bool) -> None:
    assert wanted.lineage is lineage


@pytest.mark.parametrize(
    ("wanted", "version"),
    [
        (Wanted(version=1), 1),
        (Wanted(version=3), 3),
        (Wanted(version=4), None),
        (Wanted(at=99), None),
        (Wanted(at=200), 2),
        (Wanted(at=299), 2),
        (Wanted(at=10**9), 3),
        (Wanted(version=1, at=250), 1),
    ],
)
def test_a_version_is_meant_by_its_number_or_else_by_a_time(wanted: Wanted, version: int | None) -> None:
    found = wanted.among(VERSIONS)
    assert (found.version if found is not None else None) == version
