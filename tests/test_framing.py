"""The bytes between processes: what is an answer, what is not yet one, and what never will be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.framing import HEAD_BYTES, Answer, answer, request


def wire(body: bytes, *headers: str, status: str = "200 OK") -> bytearray:
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", "")
    return bytearray("\r\n".join(lines).encode() + body)


def test_a_request_says_where_it_goes_and_how_long_it_is() -> None:
    assert request("/v1/messages", "127.0.0.1", b"abc") == (
        b"POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/msgpack\r\nContent-Length: 3\r\n\r\nabc"
    )


@given(st.binary(max_size=200), st.data())
def test_an_answer_is_whole_when_its_last_byte_has_come(body: bytes, data: st.DataObject) -> None:
    whole = wire(body, "Server: x", "Date: now")
    assert answer(whole, 200) == Answer(200, body, True)
    assert answer(whole[: data.draw(st.integers(0, len(whole) - 1))], 200) is None


def test_an_answer_may_end_its_connection_and_have_any_status_with_or_without_a_reason() -> None:
    assert answer(wire(b"no", "Connection: close", status="503 Service Unavailable"), 2) == Answer(503, b"no", False)
    assert answer(wire(b"", "connection:Close", status="404"), 0) == Answer(404, b"", False)
    assert answer(wire(b"", "Connection: keep-alive"), 0) == Answer(200, b"", True)


@pytest.mark.parametrize(
    "received",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 99 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1,1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12345",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n12",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * HEAD_BYTES,
    ],
)
def test_what_is_no_answer_of_ours_is_refused(received: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        answer(bytearray(received), 4)
