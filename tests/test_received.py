"""What gunicorn's parser reads of a request that is all there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.received import Received


def received(*parts: bytes) -> Received:
    source = Received()
    for part in parts:
        source.put(part)
    return source


@given(st.lists(st.binary(max_size=50)), st.lists(st.integers(0, 60)))
def test_every_byte_is_read_once_and_in_order(parts: list[bytes], sizes: list[int]) -> None:
    source, whole = received(*parts), b"".join(parts)
    read = [source.read(size) for size in sizes]
    assert b"".join(read) + source.take_buffered() == whole
    assert all(len(part) == size for part, size in zip(read, sizes, strict=True) if sum(sizes) <= len(whole))


@given(st.binary(max_size=100), st.integers(0, 100), st.integers(0, 100))
def test_what_is_put_back_is_read_again(data: bytes, size: int, back: int) -> None:
    source = received(data)
    part = source.read(size)
    source.unread(part[len(part) - min(back, len(part)) :])
    assert source.take_buffered() == data[len(part) - min(back, len(part)) :]


def test_without_a_size_some_part_is_read_and_at_the_end_nothing() -> None:
    source = received(b"a" * 1_000_000)
    parts = list(iter(source.read, b""))
    assert b"".join(parts) == b"a" * 1_000_000
    assert source.read(10) == b""


def test_after_everything_was_taken_it_begins_anew() -> None:
    source = received(b"one")
    assert source.take_buffered() == b"one"
    source.put(b"two")
    assert source.read() == b"two"
