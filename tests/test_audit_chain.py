"""The audit log's chain: whatever is done to its lines shows."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.audit import GENESIS, ChainError, Head, append, before, follow

texts = st.text(max_size=20)
members = st.dictionaries(
    texts.filter(lambda key: key not in {"seq", "prev", "hash"}), texts | st.integers(0, 10**6) | st.none(), max_size=3
)


def chain(*entries: dict[str, object], head: Head = GENESIS) -> tuple[list[bytes], Head]:
    lines = []
    for entry in entries:
        head, line = append(head, entry)
        lines.append(line)
    return lines, head


def verified(lines: list[bytes], head: Head = GENESIS) -> Head:
    for line in lines:
        head = follow(head, line)
    return head


@given(st.lists(members, max_size=5))
def test_what_was_appended_follows(entries: list[dict[str, object]]) -> None:
    lines, head = chain(*entries)
    assert verified(lines) == head
    assert head.seq == len(lines)
    for number, (line, entry) in enumerate(zip(lines, entries, strict=True), 1):
        told = json.loads(line)
        assert line.count(b"\n") == 1
        assert told == {"seq": number, "prev": told["prev"], **entry, "hash": told["hash"]}


@given(entries=st.lists(members, min_size=2, max_size=5), data=st.data())
def test_a_changed_byte_shows(entries: list[dict[str, object]], data: st.DataObject) -> None:
    lines, _ = chain(*entries)
    number = data.draw(st.integers(0, len(lines) - 1))
    place = data.draw(st.integers(0, len(lines[number]) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != lines[number][place]))
    lines[number] = lines[number][:place] + bytes([other]) + lines[number][place + 1 :]
    with pytest.raises(ChainError):
        verified(lines)


@given(entries=st.lists(members, min_size=3, max_size=5), data=st.data())
def test_a_line_that_is_missing_doubled_or_moved_shows(entries: list[dict[str, object]], data: st.DataObject) -> None:
    lines, _ = chain(*entries)
    number = data.draw(st.integers(0, len(lines) - 2))
    for damaged in (
        lines[:number] + lines[number + 1 :],
        lines[: number + 1] + lines[number:],
        [*lines[:number], lines[number + 1], lines[number], *lines[number + 2 :]],
    ):
        with pytest.raises(ChainError):
            verified(damaged)


def test_a_line_of_another_chain_does_not_follow() -> None:
    (_, second), _ = chain({"a": 1}, {"a": 2})
    (first, _), _ = chain({"a": 3}, {"a": 4})
    with pytest.raises(ChainError, match="line 2 does not follow line 1"):
        verified([first, second])


def test_a_chain_can_be_taken_up_in_the_middle() -> None:
    lines, head = chain({"a": 1}, {"a": 2}, {"a": 3})
    assert before(lines[0]) == GENESIS
    assert verified(lines[1:], before(lines[1])) == head


@pytest.mark.parametrize("line", [b"", b"\n", b"{}\n", b'{"seq":0}\n', b"\xff\n"])
def test_what_is_no_line_is_said_to_be_none(line: bytes) -> None:
    with pytest.raises(ChainError, match="not a line of an audit log"):
        before(line)


def test_the_chains_own_members_cannot_be_given() -> None:
    with pytest.raises(AssertionError):
        append(GENESIS, {"seq": 7})


def test_an_error_repeats_nothing_of_the_line() -> None:
    (line,), _ = chain({"name": "marker"})
    with pytest.raises(ChainError) as refused:
        before(line.replace(b"marker", b"MARKER"))
    assert "marker" not in str(refused.value).lower()
