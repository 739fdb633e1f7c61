"""A .env file through the gateway: expanded and encrypted as a whole, or refused as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient
from gateway_fakes import TOKEN, FakeVault, make_settings
from werkzeug.test import TestResponse

from gateway.app import create_app
from model.operation import Create, Failed, Operation, Read

AUTH = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def vault() -> FakeVault:
    return FakeVault()


@pytest.fixture
def client(vault: FakeVault, tmp_path: Path) -> FlaskClient:
    client = create_app(make_settings(tmp_path), vault).test_client()
    for name, value in (("db/pw", "s3cret"), ("api/key", "it's #1\nof 2")):
        assert client.post("/api/v1/secrets", json={"name": name, "value": value}, headers=AUTH).status_code == 201
    vault.batches.clear()
    return client


def env(client: FlaskClient, content: str, headers: dict[str, str] | None = None, **fields: object) -> TestResponse:
    return client.post("/api/v1/env", json={"content": content, **fields}, headers={**AUTH, **(headers or {})})


def refused(response: TestResponse) -> tuple[int, str, list[str]]:
    assert response.content_type == "application/problem+json"
    assert response.json is not None
    return response.status_code, response.json["code"], response.json.get("names", [])


def writes(vault: FakeVault) -> list[Operation]:
    return [operation for batch in vault.batches for operation in batch if not isinstance(operation, Read)]


def test_references_are_expanded_and_everything_else_stays(client: FlaskClient) -> None:
    content = "# head\r\nexport URL=postgres://app:secret(db/pw)@host/db  # why\nKEY=secret(api/key)\nLITERAL='secret(no/such)'\n"
    answer = env(client, content).json
    assert answer is not None
    assert answer["variables"] == {
        "URL": "postgres://app:s3cret@host/db",
        "KEY": "it's #1\nof 2",
        "LITERAL": "secret(no/such)",
    }
    assert answer["content"].startswith("# head\r\nexport URL=")
    assert "# why\n" in answer["content"]
    assert (answer["created"], answer["expanded"]) == ([], ["db/pw", "api/key"])


def test_a_hundred_references_are_one_batch(client: FlaskClient, vault: FakeVault) -> None:
    vault.failures = [Failed("secret_not_found") for _ in range(100)]
    response = env(client, "".join(f"K{i}=secret(n{i:03})\n" for i in range(100)))
    assert refused(response) == (404, "secret_not_found", [f"n{i:03}" for i in range(100)])
    assert [len(batch) for batch in vault.batches] == [100]


def test_the_same_reference_is_read_once(client: FlaskClient, vault: FakeVault) -> None:
    assert env(client, "A=secret(db/pw)\nB=x-secret(db/pw)\nC=secret(db/pw@1)\n").status_code == 200
    assert [len(batch) for batch in vault.batches] == [2]


def test_encryptions_are_created_as_one_group_and_become_references(client: FlaskClient, vault: FakeVault) -> None:
    answer = env(client, "A=enc(new/a)\nB=enc(new/b, inline text)\n", values={"new/a": "from values"}, expand=False).json
    assert answer is not None
    assert answer["content"] == "A=secret(new/a)\nB=secret(new/b)\n"
    assert (answer["created"], answer["expanded"]) == (["new/a", "new/b"], [])
    created = writes(vault)
    assert len(created) == 1
    assert isinstance(created[0], Create)
    assert [item.value for item in created[0].secrets] == [b"from values", b"inline text"]
    read = env(client, "A=secret(new/a)\nB=secret(new/b)\n", format="variables").json
    assert read == {"variables": {"A": "from values", "B": "inline text"}}


def test_without_expand_nothing_is_revealed_but_references_are_checked(client: FlaskClient, vault: FakeVault) -> None:
    answer = env(client, "A=secret(db/pw)\n", expand=False).json
    assert answer is not None
    assert answer["content"] == "A=secret(db/pw)\n"
    assert all(isinstance(read, Read) and not read.reveal for read in vault.batches[-1])
    assert refused(env(client, "A=secret(no/such)\n", expand=False)) == (404, "secret_not_found", ["no/such"])


def test_every_missing_reference_is_named_and_nothing_is_created(client: FlaskClient, vault: FakeVault) -> None:
    response = env(client, "A=secret(no/b)\nB=secret(db/pw)\nC=secret(no/a)\nD=secret(db/pw@9)\nE=enc(new, x)\n")
    assert refused(response) == (404, "secret_not_found", ["db/pw", "no/a", "no/b"])
    assert refused(env(client, "D=secret(db/pw@9)\nE=enc(new, x)\n")) == (404, "version_not_found", ["db/pw"])
    assert writes(vault) == []


def test_every_name_to_create_that_exists_is_named_and_nothing_is_created(client: FlaskClient) -> None:
    response = env(client, "A=enc(db/pw, x)\nB=enc(new, x)\nC=enc(api/key, x)\n")
    assert refused(response) == (409, "secret_exists", ["api/key", "db/pw"])
    assert refused(env(client, "A=secret(new)\n")) == (404, "secret_not_found", ["new"])


def test_a_missing_plaintext_is_named_before_the_nodes_are_asked(client: FlaskClient, vault: FakeVault) -> None:
    response = env(client, "A=enc(b)\nB=enc(a)\nC=enc(c, x)\nD=secret(no/such)\n")
    assert refused(response) == (422, "missing_value", ["a", "b"])
    assert vault.batches == []


@pytest.mark.parametrize(
    "values", [{"other": "marker"}, {"a": "marker", "other": "marker"}, {"c": "marker"}, {"db/pw": "marker"}, {"..": "m"}]
)
def test_a_value_for_what_needs_none_is_refused(client: FlaskClient, vault: FakeVault, values: dict[str, str]) -> None:
    response = env(client, "A=enc(a)\nC=enc(c, x)\nD=secret(db/pw)\n", values=values)
    assert refused(response) == (400, "invalid_request", [])
    assert "marker" not in response.text
    assert vault.batches == []


@pytest.mark.parametrize(
    "content", ["A=secret(\n", "A=enc(a, x)\nB=enc(a, y)\n", "A=enc(a, x)\nB=secret(a)\n", 'A="open\n', "A=secret(../x)\n"]
)
def test_a_file_that_does_not_parse_is_refused_with_its_line(client: FlaskClient, vault: FakeVault, content: str) -> None:
    response = env(client, content)
    assert refused(response)[:2] == (422, "invalid_env")
    assert response.json is not None
    assert "line" in response.json["detail"].lower()
    assert vault.batches == []


def test_a_value_that_cannot_be_rendered_is_found_before_anything_is_created(client: FlaskClient, vault: FakeVault) -> None:
    client.post("/api/v1/secrets", json={"name": "bytes", "value": "/w==", "encoding": "base64"}, headers=AUTH)
    vault.batches.clear()
    assert refused(env(client, "A=secret(bytes)\nB=enc(new, x)\n")) == (422, "value_not_renderable", ["bytes"])
    assert writes(vault) == []


def test_a_value_over_the_limit_is_too_large(client: FlaskClient, vault: FakeVault) -> None:
    assert refused(env(client, "A=enc(a)\n", values={"a": "x" * 65_537}))[:2] == (413, "too_large")
    assert vault.batches == []


def test_a_retry_of_a_file_gives_the_first_outcome(client: FlaskClient) -> None:
    key = {"Idempotency-Key": "k"}
    first = env(client, "A=enc(new, x)\n", headers=key)
    assert first.status_code == 200
    assert env(client, "A=enc(new, x)\n", headers=key).json == first.json
    assert refused(env(client, "A=enc(other, x)\n", headers=key))[:2] == (422, "idempotency_key_reused")
    sole = client.post("/api/v1/secrets", json={"name": "new", "value": "x"}, headers={**AUTH, **key})
    assert refused(sole)[:2] == (422, "idempotency_key_reused")


def test_an_outcome_that_is_unknown_is_said_to_be(client: FlaskClient, vault: FakeVault) -> None:
    vault.failures = [Failed("writing_failed")]
    response = env(client, "A=enc(new, x)\n")
    assert refused(response)[:2] == (503, "writing_failed")
    assert response.json is not None
    assert (response.json["phase"], response.json["outcome"]) == ("writing", "unknown")


def test_a_file_without_references_asks_no_node(client: FlaskClient, vault: FakeVault) -> None:
    answer = env(client, "\ufeffA=1\r\n\r\n# end").json
    assert answer is not None
    assert (answer["content"], answer["variables"]) == ("\ufeffA=1\r\n\r\n# end", {"A": "1"})
    assert vault.batches == []


def test_a_foreign_namespace_is_forbidden(client: FlaskClient, vault: FakeVault) -> None:
    assert refused(env(client, "A=secret(a)\n", headers={"Kofn-Namespace": "other"}))[:2] == (403, "forbidden")
    assert refused(env(client, "A=enc(a, x)\n", headers={"Kofn-Namespace": "other"}))[:2] == (403, "forbidden")
    assert vault.batches == []
