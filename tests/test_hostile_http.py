"""Bytes that are no good HTTP, or good HTTP with bad intent, sent to the gateway of a real cluster over raw sockets."""

from __future__ import annotations

import contextlib
import gzip
import socket

import pytest
from hostile_cluster import HostileVault, ends, receive

pytest_plugins = ["hostile_fixtures"]
pytestmark = pytest.mark.slow

POST = "POST /api/v1/secrets HTTP/1.1\r\nHost: a\r\n"
GET = "GET /healthz HTTP/1.1\r\nHost: a\r\n"

FRAMING = {
    "a length and chunks": f"{POST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": f"{POST}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": f"{POST}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "the same length twice": f"{POST}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a list of lengths": f"{POST}Content-Length: 5, 5\r\n\r\nhello",
    "a length with a plus": f"{POST}Content-Length: +5\r\n\r\nhello",
    "a length with a minus": f"{POST}Content-Length: -5\r\n\r\nhello",
    "a length in hex": f"{POST}Content-Length: 0x5\r\n\r\nhello",
    "a length with a separator": f"{POST}Content-Length: 1_0\r\n\r\nhello",
    "a length in other digits": f"{POST}Content-Length: \xb2\r\n\r\nhello",
    "a length without digits": f"{POST}Content-Length: \r\n\r\nhello",
    "an unknown coding": f"{POST}Transfer-Encoding: xchunked\r\n\r\n",
    "chunks before a coding": f"{POST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunks twice": f"{POST}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "two codings": f"{POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a coding after a vertical tab": f"{POST}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a blank before the colon": f"{POST}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a blank before the length's colon": f"{POST}Content-Length : 5\r\n\r\nhello",
    "a blank before a header": f"{POST} Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": "POST /api/v1/secrets HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "folding": f"{POST}X: a\r\n Content-Length: 5\r\n\r\nhello",
    "folding with a tab": f"{POST}X: a\r\n\tContent-Length: 5\r\n\r\nhello",
    "a NUL in a header": f"{POST}X: a\0b\r\n\r\n",
    "a NUL in a header's name": f"{POST}X\0: a\r\n\r\n",
    "a NUL in the target": "GET /heal\0thz HTTP/1.1\r\nHost: a\r\n\r\n",
    "a bare CR": f"{POST}X: a\rContent-Length: 5\r\n\r\nhello",
    "a bare LF": f"{POST}X: a\nContent-Length: 5\r\n\r\nhello",
    "nothing but LF": "GET /healthz HTTP/1.1\nHost: a\n\n",
    "a header without a colon": f"{GET}nonsense\r\n\r\n",
    "a header without a name": f"{GET}: a\r\n\r\n",
    "a blank in a header's name": f"{GET}X Y: a\r\n\r\n",
    "two Hosts": f"{GET}Host: b\r\n\r\n",
    "no version": "GET /healthz\r\nHost: a\r\n\r\n",
    "another version": "GET /healthz HTTP/9.9\r\nHost: a\r\n\r\n",
    "four words": "GET /healthz HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "an impossible method": "G{T /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "the PROXY protocol": "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n\r\n",
}
CHUNKED = f"{POST}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
CHUNKS = {
    "compressed chunks": CHUNKED.replace("chunked", "gzip, chunked") + "\r\n0\r\n\r\n",
    "good chunks": f"{CHUNKED}\r\n2\r\n{{}}\r\n0\r\n\r\n",
    "a chunk of no size": f"{CHUNKED}\r\nnone\r\n",
    "a chunk of a negative size": f"{CHUNKED}\r\n-1\r\n\r\n",
    "a chunk of an enormous size": f"{CHUNKED}\r\nffffffffffffffff\r\n\r\n",
    "a forbidden trailer": f"{CHUNKED}Trailer: Content-Length\r\n\r\n2\r\n{{}}\r\n0\r\nContent-Length: 5\r\n\r\n",
    "chunks beyond the limit": f"{CHUNKED}\r\n900000\r\n" + "x" * 100_000,
}


def smuggled(vault: HostileVault) -> str:
    """A request that would be answered with a value if what stands before it did not cover it."""
    return f"GET /api/v1/secrets/sentinel/00 HTTP/1.1\r\nHost: a\r\n{vault.authorization}Connection: close\r\n\r\n"


@pytest.mark.parametrize("request_text", FRAMING.values(), ids=FRAMING.keys())
def test_a_request_whose_framing_is_in_doubt_is_refused_and_nothing_behind_it_is_taken_for_a_request(
    vault: HostileVault, request_text: str
) -> None:
    (said,) = vault.answers(request_text + smuggled(vault))
    assert (said.status in {400, 501}, said.code) == (True, "invalid_request"), said
    assert "x-request-id" in said.headers


@pytest.mark.parametrize("request_text", CHUNKS.values(), ids=CHUNKS.keys())
def test_a_chunked_body_is_refused_whatever_its_chunks_and_the_connection_closed(vault: HostileVault, request_text: str) -> None:
    request = request_text.replace("Host: a\r\n", f"Host: a\r\n{vault.authorization}")
    (said,) = vault.answers(request + smuggled(vault))
    assert (said.status, said.code) == (411, "length_required")


def test_a_request_without_host_is_refused(vault: HostileVault) -> None:
    said = vault.ask("GET /healthz HTTP/1.1\r\n\r\n")
    assert (said.status, said.code) == (400, "invalid_request")


def test_a_body_announced_beyond_the_limit_is_refused_unread(vault: HostileVault) -> None:
    head = f"{POST}{vault.authorization}Content-Type: application/json\r\n"
    for length in (8_388_609, 1_073_741_824, 999_999_999_999_999_999):
        (said,) = vault.answers(f"{head}Content-Length: {length}\r\n\r\n{{" + smuggled(vault))
        assert (said.status, said.code) == (413, "too_large")


def test_a_length_of_forty_digits_is_refused_as_any_other_that_is_too_large(vault: HostileVault) -> None:
    request = f"{POST}{vault.authorization}Content-Type: application/json\r\nContent-Length: {'9' * 40}\r\n\r\n{{"
    with vault.connect() as connection:
        connection.settimeout(2)
        connection.sendall(request.encode())
        assert receive(connection).status in {400, 413}


def test_a_client_that_leaves_in_the_middle_of_its_body_writes_nothing(vault: HostileVault) -> None:
    head = f"{POST}{vault.authorization}Content-Type: application/json\r\n"
    body = '{"name": "half/a-body", "value": "whole"}'
    with vault.connect() as connection:
        connection.sendall(f"{head}Content-Length: {len(body) + 1}\r\n\r\n{body}".encode())
    vault.serves()
    assert vault.api.get("half/a-body").code == "secret_not_found"


TOO_LONG = {
    "a target of 5 KB": ("GET /" + "a" * 5_000 + " HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "200 headers": (GET + "X: a\r\n" * 200 + "\r\n", 431),
    "a header of 10 KB": (f"{GET}X: {'a' * 10_000}\r\n\r\n", 431),
    "a header's name of 10 KB": (f"{GET}{'X' * 10_000}: a\r\n\r\n", 431),
    "headers without an end": (GET + "X: a\r\n" * 12_000, 431),
}


@pytest.mark.parametrize(("request_text", "status"), TOO_LONG.values(), ids=TOO_LONG.keys())
def test_a_head_that_is_too_long_is_refused(vault: HostileVault, request_text: str, status: int) -> None:
    assert vault.answers(request_text)[0].status == status


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PATCH", "OPTIONS", "PROPFIND"])
def test_a_method_that_no_route_has_is_not_allowed(vault: HostileVault, method: str) -> None:
    said = vault.ask(f"{method} /api/v1/secrets/sentinel/00 HTTP/1.1\r\nHost: a\r\n{vault.authorization}X-Probe: echo\r\n\r\n")
    assert (said.status, said.code) == (405, "method_not_allowed")
    assert "echo" not in said.whole


def test_a_compressed_body_is_refused(vault: HostileVault) -> None:
    body = gzip.compress(b'{"name": "zipped/name", "value": "v"}')
    head = f"{POST}{vault.authorization}Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"
    said = vault.ask(head.encode() + body)
    assert (said.status, said.code) == (415, "unsupported_media_type")
    assert vault.api.get("zipped/name").code == "secret_not_found"


FORWARDED = (
    "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: evil.test\r\nX-Forwarded-Prefix: /evil\r\n"
    "Forwarded: for=203.0.113.9;host=evil.test\r\nX-Real-IP: 203.0.113.9\r\nScript-Name: /api\r\nX-Original-URL: /metrics\r\n"
    "X-HTTP-Method-Override: DELETE\r\n"
)


def test_forwarded_headers_change_nothing(vault: HostileVault) -> None:
    said = vault.get("/api/v1/secrets/sentinel/00", FORWARDED)
    assert (said.status, said.body["value"]) == (200, vault.sentinels["sentinel/00"][0])
    assert "evil" not in said.whole
    audit = (vault.cluster.directory / "gateway" / "audit.jsonl").read_text()
    assert "203.0.113.9" not in audit
    assert "evil" not in audit


BAD_PATHS = ["%00", "a%00b", "%2e%2e", "%2e%2e%2f%2e%2e%2fhealthz", "..%2fmetrics", "../secrets", "./a", "a/../b", "a//b", "a%2f%2fb", "/a"]
BAD_PATHS += [
    "a/",
    "%ff",
    "%c0%ae",
    "%c0%af",
    "a%0d%0aSet-Cookie:%20a=b",
    "a%0a",
    "a\\b",
    "%5c..%5c",
    "a%20b",
    "%",
    "%2",
    "%zz",
    "a%25",
    "a;b",
]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_path_that_is_no_name_is_refused_and_never_normalised(vault: HostileVault, path: str) -> None:
    said = vault.get(f"/api/v1/secrets/{path}")
    assert (said.status, said.code) == (400, "invalid_request")
    assert "set-cookie" not in said.headers
    assert "location" not in said.headers


@pytest.mark.parametrize(
    "target", ["https://evil.test/healthz", "//evil.test/healthz", "*", "healthz", "/healthz#a", "/HEALTHZ", "/healthz/"]
)
def test_another_form_of_target_reaches_no_other_route(vault: HostileVault, target: str) -> None:
    said = vault.get(target)
    assert said.status in {200, 400, 404}
    assert "evil" not in said.whole


def test_hundreds_of_requests_sent_ahead_are_answered_in_order(vault: HostileVault) -> None:
    """What is sent ahead of its turn is not lost, doubled, or answered with somebody else's answer."""
    names = [f"sentinel/{number % 20:02}" for number in range(200)]
    with vault.connect() as connection:
        reader = connection.makefile("rb")
        connection.sendall(
            b"".join(f"GET /api/v1/secrets/{name} HTTP/1.1\r\nHost: a\r\n{vault.authorization}\r\n".encode() for name in names)
        )
        for name in names:
            length = 0
            while (line := reader.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            assert f'"name":"{name}"'.encode() in reader.read(length)


def test_what_is_no_handshake_gets_no_answer_in_clear_text_and_is_disconnected(vault: HostileVault) -> None:
    beginnings = (b"", b"\x16", b"\x16\x03\x01\xff\xff", b"\x80\x2e\x01\x00\x02", b"GET / HTTP/1.1\r\n\r\n", b"\0" * 4_000)
    clients = [socket.create_connection(("127.0.0.1", vault.port), timeout=30) for _ in beginnings]
    for client, beginning in zip(clients, beginnings, strict=True):
        client.sendall(beginning)
    vault.serves()
    for client in clients:
        said = b""
        with client, contextlib.suppress(ConnectionResetError):
            while part := client.recv(4_096):
                said += part
        assert b"HTTP" not in said


def test_a_connection_is_as_good_after_a_refused_request_as_before(vault: HostileVault) -> None:
    with vault.connect() as connection:
        for target, status in (("/api/v1/secrets/..", 400), ("/nothing", 404), ("/api/v1/secrets/sentinel/00", 200)) * 3:
            connection.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\n{vault.authorization}\r\n".encode())
            assert receive(connection).status == status
        connection.sendall(b"nonsense\r\n\r\n")
        assert receive(connection).status == 400
        assert ends(connection)
