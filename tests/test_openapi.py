"""``specs/openapi.yaml`` is the contract: it is a valid document, it names every error, and the gateway keeps it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
import yaml
from flask import Flask
from gateway_fakes import TOKEN, FakeVault, make_settings
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from gateway.app import create_app
from model.errors import BY_CODE
from model.name import MAX_NAME_BYTES

SPEC = Path(__file__).parent.parent / "specs" / "openapi.yaml"
CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
    ignored_auth,
]

REFUSALS = ["400", "401", "403", "404", "405", "409", "411", "413", "414", "415", "422", "429", "431", "5xx"]
"""What may be said to a request that breaks the contract: it may also be too long to be looked at."""
BEYOND_SCHEMAS = {("/api/v1/secrets/{name}", "get"), ("/api/v1/env", "post")}
"""Operations with rules that a schema cannot say: `version` excludes `at`; a file must parse, and `values` must fit the file."""


@pytest.fixture(scope="module")
def document() -> dict[str, object]:
    return yaml.safe_load(SPEC.read_text())


def contract() -> schemathesis.BaseSchema:
    config = schemathesis.Config.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": REFUSALS}}})
    return schemathesis.openapi.from_path(SPEC, config=config)


def operations(document: dict) -> Iterator[tuple[str, str, dict]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield path, method, operation


def resolve(document: dict, node: dict) -> dict:
    while "$ref" in node:
        target: object = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def codes_of(document: dict, response: dict) -> set[str]:
    """The codes that a response may carry."""
    content = resolve(document, response).get("content", {}).get("application/problem+json")
    return set() if content is None else set(content["schema"]["allOf"][1]["properties"]["code"]["enum"])


def test_the_document_is_valid_openapi_3_1(document: dict) -> None:
    schemathesis.openapi.from_path(SPEC).validate()
    assert document["openapi"].startswith("3.1.")


def test_every_reference_of_the_document_leads_somewhere_and_every_component_is_used(document: dict) -> None:
    text = SPEC.read_text()
    used = set(re.findall(r"#/components/(\w+)/(\w+)", text))
    defined = {(kind, name) for kind, items in document["components"].items() for name in items if kind != "securitySchemes"}
    assert used <= defined
    assert defined - used == {("responses", "NotFound"), ("responses", "MethodNotAllowed")}


def test_every_code_of_the_error_tree_is_in_the_document_with_its_status(document: dict) -> None:
    assert set(document["components"]["schemas"]["Code"]["enum"]) == set(BY_CODE)
    described: dict[str, set[int]] = {}
    for response in document["components"]["responses"].values():
        for code in codes_of(document, response):
            described.setdefault(code, set()).add(response["content"]["application/problem+json"]["example"]["status"])
    assert described == {code: {kind.status} for code, kind in BY_CODE.items()}


def test_every_response_stands_under_the_status_of_its_codes(document: dict) -> None:
    for path, method, operation in operations(document):
        for status, response in operation["responses"].items():
            for code in codes_of(document, response):
                assert BY_CODE[code].status == int(status), (path, method, status, code)


def test_every_503_and_429_tells_when_to_retry(document: dict) -> None:
    for name, response in document["components"]["responses"].items():
        if {BY_CODE[code].status for code in codes_of(document, response)} & {429, 503}:
            assert "Retry-After" in response["headers"], name


def test_every_request_refuses_unknown_fields_and_every_write_takes_an_idempotency_key(document: dict) -> None:
    for path, method, operation in operations(document):
        if "requestBody" in operation:
            schema = resolve(document, operation["requestBody"]["content"]["application/json"]["schema"])
            assert schema["additionalProperties"] is False, (path, method)
        names = {resolve(document, parameter)["name"] for parameter in operation.get("parameters", [])}
        writes = method in {"put", "delete"} or (method == "post" and path != "/api/v1/batch/read")
        assert ("Idempotency-Key" in names) == writes, (path, method)


def test_the_document_says_nothing_of_the_inside() -> None:
    assert re.findall(r"\b(shards?|shares?|nodes?|quorums?|ballots?|tombstones?|shamir)\b", SPEC.read_text(), re.IGNORECASE) == []


def test_the_document_and_the_application_have_the_same_routes(document: dict, app: Flask) -> None:
    served = {
        (re.sub(r"<name:name>", "{name}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD"}
    }
    assert served == {(path, method) for path, method, _ in operations(document)}


def test_the_document_has_the_limits_of_the_code(document: dict) -> None:
    assert document["components"]["schemas"]["Name"]["maxLength"] == MAX_NAME_BYTES


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    return create_app(make_settings(tmp_path_factory.mktemp("gateway")), FakeVault())


@pytest.fixture
def api(app: Flask) -> schemathesis.BaseSchema:
    """The contract over the gateway in this process. Whoever has a running one gives its URL to ``from_path`` instead of the app."""
    schema = contract()
    schema.app = app
    return schema


@pytest.fixture
def token() -> str:
    return TOKEN


def kinds_of_requests() -> Iterator[tuple[str, str, schemathesis.GenerationMode]]:
    """Every operation with valid and with invalid requests; what takes no input has no invalid ones."""
    document = yaml.safe_load(SPEC.read_text())
    for path, method, operation in operations(document):
        yield path, method, schemathesis.GenerationMode.POSITIVE
        if "parameters" in operation or "parameters" in document["paths"][path] or "requestBody" in operation:
            yield path, method, schemathesis.GenerationMode.NEGATIVE


@pytest.mark.parametrize(("path", "method", "mode"), list(kinds_of_requests()), ids=lambda part: getattr(part, "value", part))
def test_the_gateway_keeps_the_contract(
    api: schemathesis.BaseSchema, token: str, path: str, method: str, mode: schemathesis.GenerationMode
) -> None:
    """Valid and invalid requests, made from the document; what comes back is judged by the document."""
    operation = api[path][method]
    must_be_understood = mode is schemathesis.GenerationMode.POSITIVE and (path, method) not in BEYOND_SCHEMAS

    @settings(
        max_examples=25,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def conversation(case: schemathesis.Case) -> None:
        response = case.call_and_validate(headers={"Authorization": f"Bearer {token}"}, checks=CHECKS)
        if must_be_understood and not (isinstance(case.body, dict) and case.body.get("encoding") == "base64"):
            assert response.status_code not in {400, 411, 413, 414, 415, 431}, response.text

    conversation()
