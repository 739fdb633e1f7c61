"""Whatever bytes a peer, a gateway or a damaged disk shows: a value of the right type or the documented error, in bounded time and memory.

``KOFN_FUZZ_EXAMPLES`` says how many examples each test tries; ``tox -e fuzz`` runs many.
"""

from __future__ import annotations

import os
import random
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, get_args, get_origin

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.message import Exchange, Message, Replies, Reply, decode_exchange, decode_replies, encode
from model.operation import Operation, Result
from model.record import Ballot, Header
from node import rows

EXAMPLES = int(os.environ.get("KOFN_FUZZ_EXAMPLES", "40"))
MEMORY_PER_BYTE = 400
"""How many bytes of memory one byte of input may cost at most: a small object for each."""

fuzzed = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), database=None)
counts: Counter[str] = Counter()

DECODERS: dict[str, tuple[Callable[[bytes], object], Any]] = {
    "exchange": (decode_exchange, Exchange),
    "replies": (decode_replies, Replies),
    "operations": (msgspec.msgpack.Decoder(list[Operation]).decode, list[Operation]),
    "results": (msgspec.msgpack.Decoder(list[Result]).decode, list[Result]),
    "header": (rows.header_in, Header),
    "ballot": (rows.ballot_in, Ballot),
    "message": (msgspec.msgpack.Decoder(Message).decode, Message),
    "reply": (msgspec.msgpack.Decoder(Reply).decode, Reply),
}


@pytest.fixture(scope="module", autouse=True)
def _told() -> Iterator[None]:
    yield
    print(f"fuzzed decoders: {dict(counts)}")


def decoded(kind: str, data: bytes) -> object | None:
    """What the decoder makes of ``data``; None for its documented error. Anything else is raised."""
    decode, expected = DECODERS[kind]
    counts[kind] += 1
    try:
        value = decode(data)
    except ValueError:  # msgspec's own errors are; text that is not UTF-8 is a plain one
        return None
    counts["understood"] += 1
    assert isinstance(value, get_origin(expected) if get_origin(expected) is list else get_args(expected) or expected)
    return value


def well_formed(kind: str) -> st.SearchStrategy[bytes]:
    """Encodings of valid values."""
    return st.from_type(DECODERS[kind][1]).map(_encoded).filter(lambda data: data != b"")


def _encoded(value: object) -> bytes:
    try:
        return encode(value)
    except (OverflowError, UnicodeEncodeError, TypeError):  # made by the strategy, and not possible on the wire
        return b""


@pytest.mark.parametrize("kind", DECODERS)
@fuzzed
@given(data=st.data())
def test_what_was_encoded_is_decoded_as_it_was(kind: str, data: st.DataObject) -> None:
    sent = data.draw(well_formed(kind))
    value = decoded(kind, sent)
    assert value is not None
    assert encode(value) == sent


@pytest.mark.parametrize("kind", DECODERS)
@fuzzed
@given(junk=st.binary(max_size=2_000))
def test_any_bytes_are_a_value_or_the_documented_error(kind: str, junk: bytes) -> None:
    decoded(kind, junk)


@pytest.mark.parametrize("kind", DECODERS)
@fuzzed
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_a_valid_message_with_some_bytes_changed_is_a_value_or_the_documented_error(kind: str, data: st.DataObject, seed: int) -> None:
    message = bytearray(data.draw(well_formed(kind)))
    chance = random.Random(seed)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(message) + 1)
        match chance.choice(["change", "insert", "remove", "cut", "repeat"]):
            case "change" if place < len(message):
                message[place] = chance.choice((chance.randrange(256), 0xC1, 0xDF, 0xDD, 0xC6, 0xDB))
            case "insert":
                message[place:place] = chance.randbytes(chance.randint(1, 8))
            case "remove":
                del message[place : place + chance.randint(1, 8)]
            case "cut":
                del message[place:]
            case _:
                message += message[place:]
    value = decoded(kind, bytes(message))
    if value is not None:
        encode(value)


BOMBS = {
    "an announced array of 2^32": b"\xdd\xff\xff\xff\xff",
    "an announced map of 2^32": b"\xdf\xff\xff\xff\xff",
    "an announced text of 2^32": b"\xdb\xff\xff\xff\xff",
    "announced bytes of 2^32": b"\xc6\xff\xff\xff\xff",
    "an announced extension of 2^32": b"\xc9\xff\xff\xff\xff\x01",
    "a million arrays in each other": b"\x91" * 1_000_000,
    "a million announced arrays in each other": b"\xdd\xff\xff\xff\xff" * 200_000,
    "a million maps in each other": b"\x81\x00" * 500_000,
    "a million nils": b"\xdd\x00\x0f\x42\x40" + b"\xc0" * 1_000_000,
    "a million numbers": b"\xdd\x00\x0f\x42\x40" + b"\x01" * 1_000_000,
}


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_message_that_promises_more_than_it_has_costs_no_more_than_it_is_long(kind: str, bomb: str) -> None:
    data = BOMBS[bomb]
    wrapped = b"\x93\xa6node-2\xc4\x00" + data if kind == "exchange" else b"\x92\xc4\x00" + data if kind == "replies" else data
    tracemalloc.start()
    try:
        for each in (data, wrapped):
            assert decoded(kind, each) is None
        assert tracemalloc.get_traced_memory()[1] < 1_000_000 + MEMORY_PER_BYTE * len(wrapped)
    finally:
        tracemalloc.stop()
