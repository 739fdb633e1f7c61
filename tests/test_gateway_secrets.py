"""The routes of secrets against a vault in memory: every answer, every refusal."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient
from gateway_fakes import TOKEN, TOKEN_OF_TWO, FakeVault, make_settings, write_access
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from gateway.app import create_app
from model.errors import BY_CODE
from model.operation import Create, Delete, Failed, NodeStatus, Update

AUTH = {"Authorization": f"Bearer {TOKEN}"}
SECRETS = "/api/v1/secrets"


@pytest.fixture
def vault() -> FakeVault:
    return FakeVault()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def client(vault: FakeVault, folder: Path) -> FlaskClient:
    return create_app(make_settings(folder), vault).test_client()


def code(response: TestResponse) -> tuple[int, str]:
    """The status and code of a problem, after checking the shape that every problem has."""
    assert response.content_type == "application/problem+json"
    assert response.json is not None
    body = response.json
    assert {"type", "title", "status", "code", "detail", "request_id"} <= set(body)
    assert set(body) <= {"type", "title", "status", "code", "detail", "request_id", "phase", "outcome", "names"}
    assert body["status"] == response.status_code
    assert body["request_id"] == response.headers["X-Request-Id"]
    assert response.headers["Cache-Control"] == "no-store"
    return response.status_code, body["code"]


def create(client: FlaskClient, name: str = "app/db", value: str = "one", **headers: str) -> TestResponse:
    return client.post(SECRETS, json={"name": name, "value": value}, headers={**AUTH, **headers})


def test_a_created_secret_is_read_back_with_its_version(client: FlaskClient) -> None:
    made = create(client)
    assert made.status_code == 201
    assert made.headers["Location"] == "/api/v1/secrets/app/db"
    assert made.headers["ETag"] == '"1"'
    assert made.json is not None
    assert set(made.json) == {"name", "version", "valid_from", "valid_to"}
    read = client.get(made.headers["Location"], headers=AUTH)
    assert read.json == {**made.json, "value": "one", "encoding": "utf-8"}
    assert read.headers["ETag"] == '"1"'
    assert read.headers["Cache-Control"] == "no-store"
    assert read.headers["X-Request-Id"] != made.headers["X-Request-Id"]


def test_an_update_closes_the_interval_of_the_version_before(client: FlaskClient) -> None:
    create(client)
    updated = client.put(f"{SECRETS}/app/db", json={"value": "two"}, headers={**AUTH, "If-Match": '"1"'})
    assert (updated.status_code, updated.headers["ETag"]) == (200, '"2"')
    first, second = client.get("/api/v1/history/app/db", headers=AUTH).json["versions"]
    assert first["valid_to"] == second["valid_from"]
    assert second["valid_to"] is None
    assert client.get(f"{SECRETS}/app/db?version=1", headers=AUTH).json == {**first, "value": "one", "encoding": "utf-8"}
    at = client.get(f"{SECRETS}/app/db", query_string={"at": first["valid_from"]}, headers=AUTH)
    assert at.json == {**first, "value": "one", "encoding": "utf-8"}
    assert "ETag" not in at.headers


def test_bytes_travel_as_base64(client: FlaskClient) -> None:
    sent = {"name": "key", "value": "/wD+", "encoding": "base64"}
    assert client.post(SECRETS, json=sent, headers=AUTH).status_code == 201
    read = client.get(f"{SECRETS}/key", headers=AUTH).json
    assert read is not None
    assert (read["value"], read["encoding"]) == ("/wD+", "base64")


def test_a_deleted_secret_is_gone_and_can_be_created_again(client: FlaskClient) -> None:
    create(client)
    gone = client.delete(f"{SECRETS}/app/db", headers=AUTH)
    assert (gone.status_code, gone.data) == (204, b"")
    for url in (f"{SECRETS}/app/db", "/api/v1/history/app/db", f"{SECRETS}/app/db?version=1"):
        assert code(client.get(url, headers=AUTH)) == (404, "secret_not_found")
    assert code(client.delete(f"{SECRETS}/app/db", headers=AUTH)) == (404, "secret_not_found")
    assert code(client.put(f"{SECRETS}/app/db", json={"value": "x"}, headers=AUTH)) == (404, "secret_not_found")
    assert create(client).status_code == 201


def test_names_come_in_pages(client: FlaskClient) -> None:
    for name in ("b", "a/2", "a/1"):
        create(client, name)
    assert client.get(SECRETS, headers=AUTH).json == {"names": ["a/1", "a/2", "b"], "next": None}
    assert client.get(f"{SECRETS}?limit=2", headers=AUTH).json == {"names": ["a/1", "a/2"], "next": "a/2"}
    assert client.get(f"{SECRETS}?limit=2&after=a/2", headers=AUTH).json == {"names": ["b"], "next": None}
    assert client.get(f"{SECRETS}?prefix=a/", headers=AUTH).json == {"names": ["a/1", "a/2"], "next": None}


def test_a_batch_is_one_list_to_the_nodes_in_the_order_asked(client: FlaskClient, vault: FakeVault) -> None:
    create(client, "a", "1")
    create(client, "b", "2")
    vault.batches.clear()
    answer = client.post("/api/v1/batch/read", json={"names": ["b", "a"]}, headers=AUTH).json
    assert answer is not None
    assert [(each["name"], each["value"]) for each in answer["secrets"]] == [("b", "2"), ("a", "1")]
    assert [len(batch) for batch in vault.batches] == [2]


def test_a_batch_with_missing_names_fails_and_names_them_all(client: FlaskClient) -> None:
    create(client, "a")
    response = client.post("/api/v1/batch/read", json={"names": ["z", "a", "y"]}, headers=AUTH)
    assert code(response) == (404, "secret_not_found")
    assert response.json is not None
    assert response.json["names"] == ["y", "z"]


def test_a_batch_is_unavailable_before_it_is_not_found(client: FlaskClient, vault: FakeVault) -> None:
    vault.failures = [Failed("secret_not_found"), Failed("unavailable")]
    response = client.post("/api/v1/batch/read", json={"names": ["a", "b"]}, headers=AUTH)
    assert code(response) == (503, "unavailable")


@pytest.mark.parametrize("kind", sorted(BY_CODE.values(), key=lambda kind: kind.code), ids=lambda kind: kind.code)
def test_every_failure_of_a_node_has_its_status_and_phase(client: FlaskClient, vault: FakeVault, kind: type) -> None:
    vault.failures = [Failed(kind.code)]
    response = client.delete(f"{SECRETS}/a", headers=AUTH)
    assert code(response) == (kind.status, kind.code)
    assert response.json is not None
    assert response.json.get("phase") == kind.phase
    assert response.json.get("outcome") == kind.outcome
    assert ("Retry-After" in response.headers) == (kind.retry_after_seconds is not None)
    if response.status_code == 503:
        assert "Retry-After" in response.headers


def test_creating_twice_conflicts_and_a_retry_with_the_key_does_not(client: FlaskClient, vault: FakeVault) -> None:
    first = create(client, **{"Idempotency-Key": "k 1"})
    assert create(client, **{"Idempotency-Key": "k 1"}).json == first.json
    assert code(create(client)) == (409, "secret_exists")
    assert code(create(client, "other", **{"Idempotency-Key": "k 1"})) == (422, "idempotency_key_reused")
    assert first.status_code == 201


def test_the_retry_digest_covers_the_request_but_never_the_value(client: FlaskClient, vault: FakeVault) -> None:
    def digests(method: str, url: str, body: dict[str, str] | None = None, **headers: str) -> tuple[bytes, bytes]:
        client.open(url, method=method, json=body, headers={**AUTH, "Idempotency-Key": "k", **headers})
        operation = vault.batches[-1][0]
        assert isinstance(operation, Create | Update | Delete)
        assert operation.retry is not None
        assert len(operation.retry.key) == len(operation.retry.request) == 32
        return operation.retry.key, operation.retry.request

    one = digests("PUT", f"{SECRETS}/a", {"value": "1"})
    assert digests("PUT", f"{SECRETS}/a", {"value": "2"}) == one
    others = [
        digests("PUT", f"{SECRETS}/b", {"value": "1"}),
        digests("PUT", f"{SECRETS}/a", {"value": "AAAA", "encoding": "base64"}),
        digests("PUT", f"{SECRETS}/a", {"value": "1"}, **{"If-Match": '"1"'}),
        digests("POST", SECRETS, {"name": "a", "value": "1"}),
        digests("DELETE", f"{SECRETS}/a"),
    ]
    assert {key for key, _ in others} == {one[0]}
    assert len({request for _, request in [one, *others]}) == 6
    assert digests("PUT", f"{SECRETS}/a", {"value": "1"}, **{"Idempotency-Key": "K"})[0] != one[0]


def test_if_match_is_one_strong_tag_or_a_star(client: FlaskClient) -> None:
    create(client)
    url = f"{SECRETS}/app/db"
    assert code(client.put(url, json={"value": "x"}, headers={**AUTH, "If-Match": '"7"'})) == (412, "version_mismatch")
    for bad in ("3", 'W/"3"', '"3", "4"', '"03"', '"0"', '"-1"', '"x"', "", '"' + "9" * 20 + '"'):
        assert code(client.put(url, json={"value": "x"}, headers={**AUTH, "If-Match": bad})) == (400, "invalid_request")
    assert client.put(url, json={"value": "x"}, headers={**AUTH, "If-Match": "*"}).status_code == 200
    assert code(client.delete(url, headers={**AUTH, "If-Match": '"1"'})) == (400, "invalid_request")
    assert code(create(client, "n", **{"If-Match": "*"})) == (400, "invalid_request")


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "ü", "\x7f"])
def test_a_bad_idempotency_key_is_refused(client: FlaskClient, vault: FakeVault, key: str) -> None:
    assert code(create(client, **{"Idempotency-Key": key})) == (400, "invalid_request")
    assert vault.batches == []


BAD_BODIES = {
    "not json": b"{",
    "an array": b"[]",
    "100,000 nested arrays": b"[" * 100_000,
    "deep inside a field": b'{"name":"a","value":' + b"[" * 100_000,
    "deep inside an unknown field": b'{"name":"a","value":"v","x":' + b'{"a":' * 100_000,
    "trailing bytes": b'{"name":"a","value":"v"} x',
    "two values": b'{"name":"a","value":"v"}{}',
    "NaN": b'{"name":"a","value":NaN}',
    "UTF-16": '{"name":"a","value":"v"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"name":"a","value":"v"}',
    "bytes that are not UTF-8": b'{"name":"a","value":"\xff"}',
    "a lone surrogate": b'{"name":"a","value":"\\ud800 marker"}',
    "an encoded surrogate": b'{"name":"a","value":"\xed\xa0\x80"}',
    "a duplicate key": b'{"name":"a","value":"v","value":"w"}',
    "an escaped duplicate key": b'{"name":"a","value":"v","valu\\u0065":"w"}',
    "a huge number": b'{"name":"a","value":1180591620717411303424}',
    "true for text": b'{"name":"a","value":true}',
    "null for text": b'{"name":"a","value":null}',
    "an unknown field": b'{"name":"a","value":"v","marker":1}',
    "a missing field": b'{"name":"a"}',
    "an unknown encoding": b'{"name":"a","value":"v","encoding":"marker"}',
    "a raw control character": b'{"name":"a","value":"a\nb"}',
    "single quotes": b"{'name':'a','value':'marker'}",
}


@pytest.mark.parametrize("data", BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_json_that_is_not_exactly_right_is_refused_without_echo(client: FlaskClient, vault: FakeVault, data: bytes) -> None:
    response = client.post(SECRETS, data=data, content_type="application/json", headers=AUTH)
    assert code(response) == (400, "invalid_request")
    assert b"marker" not in response.data
    assert vault.batches == []


@pytest.mark.parametrize("data", [b'{"content":"","expand":1}', b'{"content":"","expand":"true"}', b'{"content":"","values":{"a":1}}'])
def test_a_flag_is_a_boolean_and_nothing_else(client: FlaskClient, data: bytes) -> None:
    assert code(client.post("/api/v1/env", data=data, content_type="application/json", headers=AUTH)) == (400, "invalid_request")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=200))
def test_no_body_whatever_breaks_the_gateway(client: FlaskClient, data: bytes) -> None:
    response = client.post(SECRETS, data=data, content_type="application/json", headers=AUTH)
    assert code(response) == (400, "invalid_request")


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/json; charset=utf-16", "application/jsonx", "multipart/form-data", "application/json, a/b"],
)
def test_another_media_type_is_refused(client: FlaskClient, content_type: str) -> None:
    response = client.post(SECRETS, data=b'{"name":"a","value":"v"}', content_type=content_type, headers=AUTH)
    assert code(response) == (415, "unsupported_media_type")


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; Charset=UTF-8", 'application/json;charset="utf-8"'])
def test_json_in_utf_8_is_taken_however_it_is_written(client: FlaskClient, content_type: str) -> None:
    response = client.post(SECRETS, data=b'{"name":"a","value":"v"}', content_type=content_type, headers=AUTH)
    assert response.status_code == 201


def test_a_compressed_body_is_refused(client: FlaskClient) -> None:
    assert code(create(client, **{"Content-Encoding": "gzip"})) == (415, "unsupported_media_type")


def test_a_chunked_body_is_refused(client: FlaskClient) -> None:
    environ = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": ""}
    response = client.post(SECRETS, json={"name": "a", "value": "v"}, headers=AUTH, environ_overrides=environ)
    assert code(response) == (411, "length_required")


def test_a_body_that_is_shorter_than_announced_is_refused(client: FlaskClient) -> None:
    response = client.post(SECRETS, json={"name": "a", "value": "v"}, headers=AUTH, environ_overrides={"CONTENT_LENGTH": "500"})
    assert code(response) == (400, "invalid_request")


def test_a_body_announced_over_the_limit_is_refused_unread(client: FlaskClient) -> None:
    response = client.post(SECRETS, json={"name": "a", "value": "v"}, headers=AUTH, environ_overrides={"CONTENT_LENGTH": str(2**30)})
    assert code(response) == (413, "too_large")


def test_a_value_is_measured_in_bytes(client: FlaskClient) -> None:
    assert create(client, "a", "x" * 65_536).status_code == 201
    assert code(create(client, "b", "x" * 65_537)) == (413, "too_large")
    assert code(create(client, "c", "ü" * 32_769)) == (413, "too_large")
    assert create(client, "d", "").status_code == 201


@pytest.mark.parametrize("text", ["A", "AA", "AAA", "AA=", "AB==", "AAB=", "AA==\n", " AA==", "AA==AA==", "A-_A", "ÄÄÄÄ", "===="])
def test_base64_is_strict_and_canonical(client: FlaskClient, text: str) -> None:
    response = client.post(SECRETS, json={"name": "a", "value": text, "encoding": "base64"}, headers=AUTH)
    assert code(response) == (400, "invalid_request")


BAD_PATHS = [
    "",
    "/",
    "a//b",
    "/a",
    "a/",
    "..",
    "a/../b",
    ".",
    "%00",
    "%2e%2e",
    "%2e%2e%2f",
    "%ff",
    "a%0a",
    "%0a",
    "a%0d%0ab",
    "a%20b",
    "%D0%B0",
    ".a",
    "a?b=%00",
    "x" * 256,
    "a%2F%2Fb",
    "%EF%BC%8E%EF%BC%8E",
]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_bad_name_in_the_path_is_refused_and_never_redirected(client: FlaskClient, vault: FakeVault, path: str) -> None:
    for response in (
        client.get(f"{SECRETS}/{path}", headers=AUTH),
        client.delete(f"{SECRETS}/{path}", headers=AUTH),
        client.put(f"{SECRETS}/{path}", json={"value": "v"}, headers=AUTH),
        client.get(f"/api/v1/history/{path}", headers=AUTH),
    ):
        assert code(response) == (400, "invalid_request")
    assert vault.batches == []


def test_an_encoded_slash_is_a_slash(client: FlaskClient) -> None:
    create(client, "a/b")
    assert client.get(f"{SECRETS}/a%2Fb", headers=AUTH).status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        "version=0",
        "version=01",
        "version=-1",
        "version=1.0",
        "version=",
        "version=x",
        "version=%D9%A1",
        "version=1&version=1",
        "version=+1",
        "version=1000000000000000",
        "version=99999999999999999999999",
        "at=yesterday",
        "at=",
        "at=2026-01-01",
        "at=2026-01-01T00:00:00",
        "at=2026-13-01T00:00:00Z",
        "at=2026-01-01T00:00:60Z",
        "version=1&at=2026-01-01T00:00:00Z",
        "verison=1",
        "Version=1",
        "version",
        "=1",
        "at=2026-01-01T00:00:00+00:00",
    ],
)
def test_a_bad_query_of_a_read_is_refused(client: FlaskClient, query: str) -> None:
    create(client)
    assert code(client.get(f"{SECRETS}/app/db?{query}", headers=AUTH)) == (400, "invalid_request")


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=a", "limit=1&limit=1", "prefix=..", "prefix=a//", "after=%00", "page=1"])
def test_a_bad_query_of_a_list_is_refused(client: FlaskClient, query: str) -> None:
    assert code(client.get(f"{SECRETS}?{query}", headers=AUTH)) == (400, "invalid_request")


@pytest.mark.parametrize("names", [[], ["a"] * 2, ["a", ".."], [f"n{i}" for i in range(1001)], "a", [1]])
def test_a_bad_list_of_names_is_refused(client: FlaskClient, names: object) -> None:
    assert code(client.post("/api/v1/batch/read", json={"names": names}, headers=AUTH)) == (400, "invalid_request")


def test_a_write_without_a_body_to_read_takes_no_query_and_a_delete_no_body(client: FlaskClient) -> None:
    assert code(client.delete(f"{SECRETS}/a?force=1", headers=AUTH)) == (400, "invalid_request")
    assert code(client.delete(f"{SECRETS}/a", json={}, headers=AUTH)) == (400, "invalid_request")
    assert code(client.post(f"{SECRETS}?x=1", json={"name": "a", "value": "v"}, headers=AUTH)) == (400, "invalid_request")


def test_unknown_routes_and_methods_have_the_same_shape_of_error(client: FlaskClient) -> None:
    for path in ("/", "/api/v1", "/api/v1/nothing", "/api/v1//secrets", "/api/v2/secrets", "/healthz/"):
        assert code(client.get(path, headers=AUTH)) == (404, "not_found")
    for method in ("TRACE", "PATCH", "OPTIONS", "PROPFIND"):
        response = client.open(SECRETS, method=method, headers=AUTH)
        assert code(response) == (405, "method_not_allowed")
        assert response.headers["Allow"] == "GET, HEAD, POST"


WRONG_CREDENTIALS = [
    None,
    "",
    "Bearer",
    "Bearer ",
    "Bearer kofn",
    f"Basic {TOKEN}",
    TOKEN,
    f"Bearer {TOKEN}x",
    f"Bearer {TOKEN[:-1]}",
    f"Bearer {TOKEN[:-1]}A",
    f"Bearer {TOKEN.replace('tester01', 'nobody01')}",
    f"Bearer {TOKEN.upper()}",
    f"Bearer {TOKEN}, Bearer {TOKEN}",
    "Bearer kofn_tester01_" + "é" * 43,
]


@pytest.mark.parametrize("credentials", WRONG_CREDENTIALS)
def test_every_kind_of_wrong_credentials_gets_the_same_answer(client: FlaskClient, vault: FakeVault, credentials: str | None) -> None:
    headers = {} if credentials is None else {"Authorization": credentials}
    bodies = set()
    for response in (
        client.get(f"{SECRETS}/a", headers=headers),
        client.get(f"{SECRETS}/a?token={TOKEN}", headers=headers),
        client.post(SECRETS, data=b"{", headers=headers),
        client.get("/api/v1/status", headers=headers),
    ):
        assert code(response) == (401, "unauthenticated")
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert response.json is not None
        bodies.add(tuple(sorted((key, value) for key, value in response.json.items() if key != "request_id")))
    assert len(bodies) == 1
    assert vault.batches == []


def test_a_revoked_token_is_refused_from_the_next_request_on(client: FlaskClient, folder: Path) -> None:
    assert client.get(SECRETS, headers=AUTH).status_code == 200
    (folder / "access.toml").write_text("")
    assert code(client.get(SECRETS, headers=AUTH)) == (401, "unauthenticated")
    write_access(folder / "access.toml")
    assert client.get(SECRETS, headers=AUTH).status_code == 200


def test_an_access_file_that_cannot_be_used_leaves_the_last_one_in_force(client: FlaskClient, folder: Path) -> None:
    (folder / "access.toml").write_text("[tokens.tester01")
    assert client.get(SECRETS, headers=AUTH).status_code == 200
    (folder / "access.toml").write_text('[tokens.tester01]\ndigest = "short"\nnamespaces = ["default"]\n')
    assert client.get(SECRETS, headers=AUTH).status_code == 200


def test_a_caller_of_several_namespaces_must_choose_one_of_them(client: FlaskClient) -> None:
    auth = {"Authorization": f"Bearer {TOKEN_OF_TWO}"}
    assert code(client.get(SECRETS, headers=auth)) == (400, "invalid_request")
    assert code(client.get(SECRETS, headers={**auth, "Kofn-Namespace": "Bad!"})) == (400, "invalid_request")
    assert code(client.get(SECRETS, headers={**auth, "Kofn-Namespace": "default"})) == (403, "forbidden")
    made = client.post(SECRETS, json={"name": "a", "value": "v"}, headers={**auth, "Kofn-Namespace": "team-a"})
    assert made.status_code == 201
    assert client.get(f"{SECRETS}/a", headers={**auth, "Kofn-Namespace": "team-a"}).status_code == 200
    assert code(client.get(f"{SECRETS}/a", headers={**auth, "Kofn-Namespace": "team-b"})) == (404, "secret_not_found")
    assert code(client.get(f"{SECRETS}/a", headers=AUTH)) == (404, "secret_not_found")


@pytest.mark.parametrize(
    ("status", "reads", "writes", "degraded"),
    [
        (NodeStatus("node-1", 5, 3, 3), True, True, False),
        (NodeStatus("node-1", 3, 3, 3), True, True, True),
        (NodeStatus("node-1", 4, 3, 5), True, False, True),
        (NodeStatus("node-1", 2, 3, 3), False, False, True),
        (Failed("unavailable"), False, False, True),
    ],
)
def test_the_status_says_what_is_served(
    client: FlaskClient, vault: FakeVault, status: NodeStatus, reads: bool, writes: bool, degraded: bool
) -> None:
    vault.status = status
    assert client.get("/api/v1/status", headers=AUTH).json == {"reads": reads, "writes": writes, "degraded": degraded}
    ready = client.get("/readyz")
    assert (ready.status_code == 200) == reads
    if not reads:
        assert code(ready) == (503, "unavailable")
    assert client.get("/healthz").json == {"ok": True}


def test_metrics_count_by_route_and_never_by_name_or_token(client: FlaskClient) -> None:
    create(client, "app/marker", "marker")
    client.get(f"{SECRETS}/app/marker", headers=AUTH)
    client.get("/marker?marker=marker")
    client.open(SECRETS, method="MARKER", headers=AUTH)
    text = client.get("/metrics").text
    assert 'kofn_gateway_request_seconds_count{method="GET",route="/api/v1/secrets/<name:name>",status="200"} 1.0' in text
    assert 'route="none",status="404"' in text
    assert 'method="other"' in text
    assert "marker" not in text.lower()
    assert TOKEN not in text


def test_a_defect_is_an_internal_error_that_shows_and_logs_nothing_of_the_request(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FakeVault):
        def perform(self, operations: object) -> list[object]:
            raise RuntimeError("the value is marker")

    response = create_app(make_settings(folder), Broken()).test_client().get(f"{SECRETS}/a", headers=AUTH)
    assert code(response) == (500, "internal_error")
    assert "marker" not in response.text
    assert response.headers["X-Request-Id"] in caplog.text
    assert "RuntimeError" in caplog.text
    assert "marker" not in caplog.text.replace('raise RuntimeError("the value is marker")', "")
