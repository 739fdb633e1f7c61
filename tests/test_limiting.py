"""Rate limits and lock-out: per principal, per address, and after too many bad credentials."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from gateway_fakes import DOMAIN, SECRET, TOKEN, TOKEN_OF_TWO, FakeVault, make_settings
from werkzeug.test import TestResponse

from gateway.app import create_app
from gateway.limiting import network

SECRETS = "/api/v1/secrets"
AUTH = {"Authorization": f"Bearer {TOKEN}"}
OTHER = {"Authorization": f"Bearer {TOKEN_OF_TWO}", "Kofn-Namespace": "team-a"}
WRONG = {"Authorization": f"Bearer kofn_tester01_{SECRET[:-1]}A"}


def gateway(folder: Path, **limits: int) -> FlaskClient:
    return create_app(make_settings(folder, **limits), FakeVault()).test_client()


def ask(client: FlaskClient, headers: dict[str, str] | None = None, source: str = "192.0.2.1", url: str = SECRETS) -> TestResponse:
    return client.get(url, headers=headers or {}, environ_overrides={"REMOTE_ADDR": source})


def told(response: TestResponse) -> dict[str, object]:
    return {key: value for key, value in response.json.items() if key != "request_id"}


def test_a_principal_over_its_rate_is_told_to_come_back_and_others_are_not(tmp_path: Path) -> None:
    client = gateway(tmp_path, principal_requests_per_second=20)
    answers = [ask(client, AUTH, source=f"192.0.2.{number}") for number in range(60)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.status_code for answer in answers[:20]} == {200}
    assert refused
    assert {(answer.json["code"], answer.headers["Retry-After"]) for answer in refused} == {("rate_limited", "1")}
    assert ask(client, OTHER).status_code == 200


def test_an_address_over_its_rate_is_refused_before_anybody_looks_at_its_token(tmp_path: Path) -> None:
    client = gateway(tmp_path, source_requests_per_second=20)
    answers = [ask(client, (AUTH, WRONG, None)[number % 3]) for number in range(90)]
    assert any(answer.status_code == 429 for answer in answers)
    assert len({json.dumps(told(answer)) for answer in answers if answer.status_code == 429}) == 1
    assert ask(client, AUTH, source="192.0.2.2").status_code == 200
    assert ask(client, url="/healthz").status_code == 200


def test_many_bad_credentials_lock_their_address_out_whatever_it_sends_then(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    client = gateway(tmp_path, bad_credentials_per_minute=10)
    assert [ask(client, WRONG).status_code for _ in range(10)] == [401] * 10
    locked = [ask(client, headers) for headers in (WRONG, AUTH, None, {"Authorization": "Basic x"})]
    assert {answer.status_code for answer in locked} == {429}
    assert len({json.dumps(told(answer)) for answer in locked}) == 1
    assert all(1 <= int(answer.headers["Retry-After"]) <= 60 for answer in locked)
    assert ask(client, AUTH, source="192.0.2.2").status_code == 200
    assert ask(client, url="/readyz").status_code == 200
    assert caplog.text.count("192.0.2.1 is locked out") == 1


def test_no_credentials_count_as_bad_ones_and_good_ones_do_not(tmp_path: Path) -> None:
    client = gateway(tmp_path, bad_credentials_per_minute=10)
    assert {ask(client, AUTH).status_code for _ in range(50)} == {200}
    assert [ask(client).status_code for _ in range(11)] == [401] * 10 + [429]


def test_no_header_can_change_the_address(tmp_path: Path) -> None:
    client = gateway(tmp_path, bad_credentials_per_minute=10)
    for number in range(10):
        forged = dict.fromkeys(("X-Forwarded-For", "X-Real-Ip", "Forwarded", "X-Client-Ip"), f"198.51.100.{number}")
        assert ask(client, {**WRONG, **forged}).status_code == 401
    assert ask(client, {**AUTH, "X-Forwarded-For": "198.51.100.99"}).status_code == 429


def test_what_is_refused_for_its_rate_fills_no_audit_log(tmp_path: Path) -> None:
    client = gateway(tmp_path, bad_credentials_per_minute=10)
    for _ in range(100):
        ask(client, WRONG)
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_bytes().splitlines()]
    assert [line["status"] for line in lines[1:]] == [401] * 10


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("", ""),
    ],
)
def test_ipv6_counts_by_its_network(address: str, counted: str) -> None:
    assert network(address) == counted


def test_every_answer_has_the_security_headers(tmp_path: Path) -> None:
    client = gateway(tmp_path)
    for response in (ask(client, AUTH), ask(client), ask(client, url="/healthz"), ask(client, url="/metrics"), ask(client, url="/nothing")):
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["Strict-Transport-Security"].startswith("max-age=")
        assert DOMAIN not in str(response.headers)
