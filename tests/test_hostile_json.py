"""Bodies that are not exactly what the contract allows, sent to the gateway of a real cluster. None is taken, guessed at, or repeated."""

from __future__ import annotations

import codecs
import json

import pytest
from hostile_cluster import MARK, HostileVault

pytest_plugins = ["hostile_fixtures"]
pytestmark = pytest.mark.slow

NAME = "hostile/json"
GOOD = f'{{"name": "{NAME}", "value": "{MARK}"}}'


def with_(field: str) -> bytes:
    """A body that would do, but for one more field."""
    return f"{GOOD[:-1]}, {field}}}".encode()


BODIES = {
    "nothing": b"",
    "a blank": b" ",
    "100,000 brackets": b"[" * 100_000,
    "100,000 brackets that close": b"[" * 100_000 + b"]" * 100_000,
    "100,000 braces": b'{"a":' * 100_000,
    "a deep value": b'{"name": "hostile/json", "value": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "NaN": b'{"name": "hostile/json", "value": NaN}',
    "Infinity": b'{"name": "hostile/json", "value": -Infinity}',
    "bytes after the end": GOOD.encode() + b"x",
    "two objects": GOOD.encode() * 2,
    "a NUL after the end": GOOD.encode() + b"\0",
    "UTF-16": GOOD.encode("utf-16"),
    "UTF-16 without a mark": GOOD.encode("utf-16-le"),
    "UTF-32": GOOD.encode("utf-32"),
    "UTF-8 with a mark": codecs.BOM_UTF8 + GOOD.encode(),
    "Latin-1": GOOD.encode()[:-2] + b'\xe9"}',
    "overlong UTF-8": GOOD.encode()[:-2] + b'\xc0\xaf"}',
    "a surrogate in UTF-8": GOOD.encode()[:-2] + b'\xed\xa0\x80"}',
    "a lone high surrogate": GOOD.encode()[:-2] + b'\\ud800"}',
    "a lone low surrogate": GOOD.encode()[:-2] + b'\\udc00"}',
    "surrogates the wrong way round": GOOD.encode()[:-2] + b'\\udc00\\ud800"}',
    "a control character": GOOD.encode()[:-2] + b'\x01"}',
    "a bad escape": GOOD.encode()[:-2] + b'\\x41"}',
    "a name twice": with_('"name": "hostile/other"'),
    "a value twice": with_('"value": "v"'),
    "a value twice, once escaped": with_('"v\\u0061lue": "v"'),
    "an unknown field": with_('"version": 1'),
    "a field of Python": with_('"__class__": "x"'),
    "a number for a name": b'{"name": 1, "value": "v"}',
    "a number for a value": b'{"name": "hostile/json", "value": 1180591620717411303424}',
    "true for a value": b'{"name": "hostile/json", "value": true}',
    "null for a value": b'{"name": "hostile/json", "value": null}',
    "a list for a value": b'{"name": "hostile/json", "value": ["v"]}',
    "an unknown encoding": with_('"encoding": "utf-16"'),
    "no name": b'{"value": "v"}',
    "no value": b'{"name": "hostile/json"}',
    "a list": f"[{GOOD}]".encode(),
    "a text": json.dumps(GOOD).encode(),
    "null": b"null",
    "a comment": b"/* */" + GOOD.encode(),
    "a trailing comma": GOOD.encode()[:-1] + b",}",
    "single quotes": GOOD.replace('"', "'").encode(),
    "msgpack": b"\x82\xa4name\xachostile/json\xa5value\xa1v",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_body_that_is_not_exactly_right_is_refused_without_echo(vault: HostileVault, body: bytes) -> None:
    said = vault.post(body)
    assert (said.status, said.code) == (400, "invalid_request")
    assert MARK not in said.whole
    assert vault.api.get(NAME).code == "secret_not_found"


NUMBERS = ["true", "318.0", "1e2", "0", "-1", "+1", "01", "1180591620717411303424", "9" * 5_000, "1.5", "NaN", "", "0x1", "1_0", "%D9%A1"]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number[:24])
def test_a_version_is_a_plain_whole_number(vault: HostileVault, number: str) -> None:
    said = vault.get(f"/api/v1/secrets/sentinel/00?version={number}")
    assert (said.status, said.code) in {(400, "invalid_request"), (414, "uri_too_long")}
    said = vault.get(f"/api/v1/secrets?limit={number}")
    assert (said.status, said.code) in {(400, "invalid_request"), (414, "uri_too_long")}


@pytest.mark.parametrize("flag", ["1", "1.0", '"true"', "null", "[]"])
def test_a_flag_is_a_boolean(vault: HostileVault, flag: str) -> None:
    said = vault.post(f'{{"content": "A={MARK}", "expand": {flag}}}'.encode(), "/api/v1/env")
    assert (said.status, said.code, MARK in said.whole) == (400, "invalid_request", False)


def test_a_version_in_if_match_is_one_strong_tag(vault: HostileVault) -> None:
    for tag in ('"318.0"', '"true"', 'W/"1"', '"1", "2"', "1", '"1180591620717411303424"', '""', '"-1"', '"1'):
        body = b'{"value": "v"}'
        head = (
            f"PUT /api/v1/secrets/sentinel/00 HTTP/1.1\r\nHost: a\r\n{vault.authorization}Content-Type: application/json\r\n"
            f"If-Match: {tag}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        said = vault.ask(head.encode() + body)
        assert (said.status, said.code) == (400, "invalid_request"), tag


MEDIA_TYPES = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a", "application/json; charset=utf-16"]
MEDIA_TYPES += ["application/jsonx", "application/json, text/plain", "application/json; charset=utf-8; a=b", "", "*/*"]


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_another_media_type_is_refused_however_good_the_body(vault: HostileVault, media_type: str) -> None:
    said = vault.post(GOOD.encode(), content_type=media_type)
    assert (said.status, said.code, MARK in said.whole) == (415, "unsupported_media_type", False)
    assert vault.api.get(NAME).code == "secret_not_found"
