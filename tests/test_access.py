"""Who may do what: grants hold on every route, before any node is asked, and what is not granted cannot be told from what is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from gateway_fakes import DOMAIN, EVERYTHING, SECRET, FakeVault, make_settings, rule, token_entry, write_access
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from gateway.access import Listing
from gateway.app import create_app
from gateway.listing import page
from model.operation import List, Names

SECRETS = "/api/v1/secrets"
ADMIN = {"Authorization": f"Bearer kofn_tester01_{SECRET}"}
LIMITED = {"Authorization": f"Bearer kofn_limited1_{SECRET}"}


@pytest.fixture
def vault() -> FakeVault:
    return FakeVault()


@pytest.fixture
def client(vault: FakeVault, tmp_path: Path) -> FlaskClient:
    return create_app(make_settings(tmp_path), vault).test_client()


@pytest.fixture
def grant(client: FlaskClient, tmp_path: Path) -> Callable[..., None]:
    """Write the rules of the principal ``limited``, whose token is in LIMITED, into the access file of the running gateway."""

    def write(*rules: str) -> None:
        write_access(tmp_path / "access.toml", *rules, "[principals.limited]\n" if not rules else "", token_entry("limited1", "limited"))

    return write


def allow(paths: str, *capabilities: str, namespace: str = "default") -> str:
    return rule("allow", "limited", [namespace], paths.split(), capabilities)


def deny(paths: str, *capabilities: str, namespace: str = "default") -> str:
    return rule("deny", "limited", [namespace], paths.split(), capabilities)


def create(client: FlaskClient, *names: str, auth: dict[str, str] = ADMIN, **headers: str) -> None:
    for name in names:
        assert client.post(SECRETS, json={"name": name, "value": f"value of {name}"}, headers={**auth, **headers}).status_code == 201


def told(response: TestResponse) -> tuple[int, bytes, list[tuple[str, str]]]:
    """All that a caller sees of an answer but its request id."""
    identifier = response.headers["X-Request-Id"]
    headers = [(name, value) for name, value in response.headers.items() if name != "X-Request-Id"]
    return response.status_code, response.data.replace(identifier.encode(), b"ID"), headers


def env(client: FlaskClient, content: str, **options: object) -> TestResponse:
    return client.post("/api/v1/env", json={"content": content, **options}, headers=LIMITED)


REQUESTS: dict[str, Callable[[FlaskClient, str], TestResponse]] = {
    "create": lambda client, name: client.post(SECRETS, json={"name": name, "value": "v"}, headers=LIMITED),
    "read": lambda client, name: client.get(f"{SECRETS}/{name}", headers=LIMITED),
    "read a version": lambda client, name: client.get(f"{SECRETS}/{name}?version=1", headers=LIMITED),
    "update": lambda client, name: client.put(f"{SECRETS}/{name}", json={"value": "v"}, headers=LIMITED),
    "delete": lambda client, name: client.delete(f"{SECRETS}/{name}", headers=LIMITED),
    "history": lambda client, name: client.get(f"/api/v1/history/{name}", headers=LIMITED),
    "batch": lambda client, name: client.post("/api/v1/batch/read", json={"names": [name]}, headers=LIMITED),
    "secret in .env": lambda client, name: client.post("/api/v1/env", json={"content": f"A=secret({name})\n"}, headers=LIMITED),
    "unrevealed": lambda client, name: client.post(
        "/api/v1/env", json={"content": f"A=secret({name})\n", "expand": False}, headers=LIMITED
    ),
    "enc in .env": lambda client, name: client.post("/api/v1/env", json={"content": f"A=enc({name}, v)\n"}, headers=LIMITED),
}
NEEDS = {
    "read a version": "read",
    "batch": "read",
    "secret in .env": "read",
    "unrevealed": "read",
    "enc in .env": "create",
}


@pytest.mark.parametrize("kind", REQUESTS)
def test_denied_and_missing_cannot_be_told_apart(client: FlaskClient, vault: FakeVault, grant: Callable[..., None], kind: str) -> None:
    ask = REQUESTS[kind]
    needed = NEEDS.get(kind, kind)
    for rules in ((), (allow("**", *(set(EVERYTHING) - {needed})),), (allow("**", *EVERYTHING), deny("app/**", needed))):
        grant(*rules)
        vault.batches.clear()
        missing = told(ask(client, "app/x"))
        assert missing[0] == 403
        assert vault.batches == []
        create(client, "app/x")
        vault.batches.clear()
        assert told(ask(client, "app/x")) == missing
        assert vault.batches == []
        client.delete(f"{SECRETS}/app/x", headers=ADMIN)


@pytest.mark.parametrize("kind", REQUESTS)
def test_the_one_capability_that_is_needed_is_enough(client: FlaskClient, grant: Callable[..., None], kind: str) -> None:
    needed = NEEDS.get(kind, kind)
    if needed != "create":
        create(client, "app/x")
    grant(allow("app/*", needed))
    assert REQUESTS[kind](client, "app/x").status_code in {200, 201, 204}
    assert REQUESTS[kind](client, "app/x/y").status_code == 403
    assert REQUESTS[kind](client, "other").status_code == 403


def test_two_denied_names_get_the_same_answer(client: FlaskClient, grant: Callable[..., None]) -> None:
    create(client, "app/there")
    grant(allow("open/**", "read"))
    answers = {told(client.get(f"{SECRETS}/{name}", headers=LIMITED))[:2] for name in ("app/there", "app/not-there", "x")}
    assert len(answers) == 1


def test_a_batch_or_a_file_is_refused_whole_and_names_all_that_is_not_granted(
    client: FlaskClient, vault: FakeVault, grant: Callable[..., None]
) -> None:
    create(client, "app/a", "app/b", "root/c")
    grant(allow("app/**", "read"), allow("new/**", "create"), deny("new/no", "create"))
    vault.batches.clear()
    batch = client.post("/api/v1/batch/read", json={"names": ["app/a", "root/c", "root/d"]}, headers=LIMITED)
    assert (batch.status_code, batch.json["names"]) == (403, ["root/c", "root/d"])
    content = "A=secret(app/a)\nB=secret(root/c)\nC=enc(new/yes, 1)\nD=enc(new/no, 1)\nE=enc(app/new, 1)\n"
    file = client.post("/api/v1/env", json={"content": content}, headers=LIMITED)
    assert (file.status_code, file.json["names"]) == (403, ["app/new", "new/no", "root/c"])
    assert vault.batches == []
    fine = client.post("/api/v1/env", json={"content": "A=secret(app/a)\nC=enc(new/yes, 1)\n"}, headers=LIMITED)
    assert fine.status_code == 200
    assert fine.json["created"] == ["new/yes"]


def test_a_list_shows_only_what_may_be_listed(client: FlaskClient, grant: Callable[..., None]) -> None:
    create(client, "a/1", "a/2", "a/root/x", "ab", "b/1", "b/2", "c")
    grant(allow("a/** b/2", "list"), allow("**", "read"), deny("a/root/**", "list"))
    for query, expected in (("", ["a/1", "a/2", "b/2"]), ("?prefix=a/", ["a/1", "a/2"]), ("?prefix=b", ["b/2"]), ("?prefix=c", [])):
        assert client.get(f"{SECRETS}{query}", headers=LIMITED).json == {"names": expected, "next": None}, query
    assert client.get(f"{SECRETS}?after=a/1", headers=LIMITED).json["names"] == ["a/2", "b/2"]
    first = client.get(f"{SECRETS}?limit=2", headers=LIMITED).json
    assert first == {"names": ["a/1", "a/2"], "next": "a/2"}
    assert client.get(f"{SECRETS}?limit=2&after={first['next']}", headers=LIMITED).json == {"names": ["b/2"], "next": None}
    grant(allow("**", "read"))
    assert client.get(SECRETS, headers=LIMITED).status_code == 403


NAMES = [f"{top}/{number}" for top in ("a", "b", "ba", "c") for number in range(30)]


@settings(max_examples=200)
@given(data=st.data(), limit=st.integers(1, 40))
def test_paging_through_a_filtered_list_misses_nothing_repeats_nothing_and_tells_of_nothing_else(data: st.DataObject, limit: int) -> None:
    stored = sorted(data.draw(st.sets(st.sampled_from(NAMES))))
    visible = data.draw(st.sets(st.sampled_from(NAMES)))
    starts = data.draw(st.sampled_from([("",), ("a", "b"), ("a/", "b/1", "c")]))
    largest = data.draw(st.integers(1, 7))

    def ask(asked: List) -> Names:
        found = [name for name in stored if name.startswith(asked.prefix) and name > asked.after]
        size = min(asked.limit, largest)
        return Names(tuple(found[:size]), len(found) > size)

    listing = Listing("default", starts, visible.__contains__)
    found: list[str] = []
    more, after = True, ""
    while more:
        names, more = page(ask, listing, after, limit)
        assert len(names) == limit if more else len(names) <= limit
        found += names
        after = names[-1] if names else after
    assert found == [name for name in stored if name in visible and name.startswith(starts)]


def test_the_status_needs_its_capability(client: FlaskClient, grant: Callable[..., None]) -> None:
    grant(allow("**", "read"))
    assert client.get("/api/v1/status", headers=LIMITED).status_code == 403
    grant(allow("x", "status"))
    assert client.get("/api/v1/status", headers=LIMITED).status_code == 200


def test_a_grant_that_is_taken_back_is_gone_with_the_next_request(client: FlaskClient, grant: Callable[..., None]) -> None:
    create(client, "app/x")
    grant(allow("app/**", "read"))
    assert client.get(f"{SECRETS}/app/x", headers=LIMITED).status_code == 200
    grant()
    assert client.get(f"{SECRETS}/app/x", headers=LIMITED).status_code == 403


def test_a_principal_in_several_namespaces_may_do_in_each_what_it_was_granted_there(
    client: FlaskClient, grant: Callable[..., None]
) -> None:
    grant(allow("**", *EVERYTHING, namespace="dev"), allow("app/**", "read", namespace="prod"))
    create(client, "app/x", auth=LIMITED, **{"Kofn-Namespace": "dev"})
    body = {"name": "app/y", "value": "v"}
    assert client.post(SECRETS, json=body, headers={**LIMITED, "Kofn-Namespace": "prod"}).status_code == 403
    assert client.get(f"{SECRETS}/app/x", headers={**LIMITED, "Kofn-Namespace": "prod"}).status_code == 404
    assert client.get(f"{SECRETS}/app/x", headers={**LIMITED, "Kofn-Namespace": "elsewhere"}).status_code == 403
    assert client.get(f"{SECRETS}/app/x", headers=LIMITED).status_code == 400


TENANTS = {
    "red": {"Authorization": f"Bearer kofn_redtoken_{SECRET}"},
    "blue": {"Authorization": f"Bearer kofn_bluetoken_{'B' * 43}"},
}


def test_two_tenants_with_the_same_names_never_see_each_other(client: FlaskClient, tmp_path: Path) -> None:
    rules = [rule("allow", tenant, [tenant], ["**"], EVERYTHING) for tenant in TENANTS]
    tokens = [token_entry("redtoken", "red"), token_entry("bluetoken", "blue", "B" * 43)]
    write_access(tmp_path / "access.toml", *rules, *tokens)
    for tenant, auth in TENANTS.items():
        body = {"name": "db/password", "value": f"of {tenant}"}
        assert client.post(SECRETS, json=body, headers={**auth, "Idempotency-Key": "the same"}).status_code == 201
        create(client, f"only/{tenant}", auth=auth)

    def ask(method: str, path: str, auth: dict[str, str], **options: Any) -> Any:
        response = client.open(path, method=method, headers=auth, **options)
        return response.status_code, response.json

    for (tenant, auth), other in zip(TENANTS.items(), reversed(TENANTS), strict=True):
        assert ask("GET", f"{SECRETS}/db/password", auth)[1]["value"] == f"of {tenant}"
        assert ask("GET", SECRETS, auth)[1]["names"] == ["db/password", f"only/{tenant}"]
        assert ask("GET", f"{SECRETS}/only/{other}", auth)[0] == 404
        assert ask("DELETE", f"{SECRETS}/only/{other}", auth)[0] == 404
        assert ask("GET", f"{SECRETS}/db/password", {**auth, "Kofn-Namespace": other})[0] == 403
        assert ask("PUT", f"{SECRETS}/db/password", {**auth, "Kofn-Namespace": other}, json={"value": "x"})[0] == 403
        assert ask("GET", SECRETS, {**auth, "Kofn-Namespace": other})[0] == 403
        assert ask("POST", "/api/v1/env", auth, json={"content": "A=secret(db/password)\n"})[1]["variables"] == {"A": f"of {tenant}"}
    assert ask("PUT", f"{SECRETS}/db/password", TENANTS["red"], json={"value": "newer"})[0] == 200
    assert ask("DELETE", f"{SECRETS}/db/password", TENANTS["red"])[0] == 204
    assert ask("GET", f"{SECRETS}/db/password", TENANTS["blue"])[1]["version"] == 1
    assert len(ask("GET", "/api/v1/history/db/password", TENANTS["blue"])[1]["versions"]) == 1


def test_an_access_file_whose_clients_are_unknown_roles_never_comes_into_force(client: FlaskClient, tmp_path: Path) -> None:
    write_access(tmp_path / "access.toml", f'[clients."spiffe://{DOMAIN}/node/node-1"]\nprincipal = "tester"\n')
    assert client.get(SECRETS, headers=ADMIN).status_code == 200
