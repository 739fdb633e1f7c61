"""Names that are none, that look like another, or that belong to somebody else, sent to the gateway of a real cluster."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from hostile_cluster import MARK, HostileVault

pytest_plugins = ["hostile_fixtures"]
pytestmark = pytest.mark.slow

NAMES = {
    "empty": "",
    "256 bytes": "a" * 256,
    "256 bytes in segments": "a/" * 127 + "aa",
    "dot": ".",
    "dots": "..",
    "a climb": "a/../b",
    "a climb out": "../../etc/passwd",
    "a hidden file": ".hidden",
    "a hidden segment": "a/.b",
    "a trailing newline": "sentinel/00\n",
    "a leading newline": "\nsentinel/00",
    "a carriage return": "sentinel/00\r\n",
    "a leading slash": "/sentinel/00",
    "a trailing slash": "sentinel/00/",
    "two slashes": "sentinel//00",
    "a backslash": "sentinel\\00",
    "a leading hyphen": "-rf",
    "a blank": "a b",
    "a trailing blank": "sentinel/00 ",
    "a NUL": "sentinel/00\0",
    "an ANSI escape": "\x1b[31mred",
    "a Cyrillic e": "s\u0435ntinel/00",
    "a fullwidth digit": "sentinel/0\uff10",
    "an Arabic digit": "sentinel/0\u0660",
    "a division slash": "sentinel\u221500",
    "a fullwidth slash": "sentinel\uff0f00",
    "a combining accent": "sentine\u0301l/00",
    "a composed accent": "s\u00e9ntinel/00",
    "a zero-width joiner": "sentinel/0\u200d0",
    "a soft hyphen": "sentinel/0\u00ad0",
    "a right-to-left override": "sentinel/\u202e00",
    "a long s": "\u017fentinel/00",
    "a Kelvin sign": "\u212a",
    "an emoji": "\U0001f511",
    "a line separator": "sentinel/00\u2028",
    "percent": "sentinel%2f00",
    "SQL": "a' OR '1'='1",
    "a wildcard": "sentinel/*",
    "a range's end": "\U0010ffff",
    "a reference": "secret(sentinel/00)",
    "a version": "sentinel/00@1",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_what_is_no_name_is_refused_wherever_a_name_may_stand(vault: HostileVault, name: str) -> None:
    value = f"{MARK} under no name"
    everywhere = [
        vault.post(json.dumps({"name": name, "value": value}).encode()),
        vault.post(json.dumps({"names": ["sentinel/00", name]}).encode(), "/api/v1/batch/read"),
    ]
    if name:
        path = quote(name, safe="")
        everywhere += [vault.get(f"/api/v1/{kind}/{path}") for kind in ("secrets", "history")]
    for said in everywhere:
        assert (said.status, said.code) == (400, "invalid_request")
        assert MARK not in said.whole
    vault.holds_nothing_new()


def test_the_longest_name_is_one_and_its_neighbours_are_others(vault: HostileVault) -> None:
    longest = "longest/" + "a" * 247
    assert len(longest) == 255
    assert vault.api.create(longest, f"{MARK} longest").status == 201
    assert vault.api.get(longest).body["value"] == f"{MARK} longest"
    for other in (longest[:-1], longest.upper(), longest[:-1] + "A"):
        assert vault.api.get(other).code == "secret_not_found"
    assert vault.api.delete(longest).status == 204


def test_names_that_differ_in_case_only_are_two(vault: HostileVault) -> None:
    assert vault.api.get("SENTINEL/00").code == "secret_not_found"
    assert vault.api.get("sentinel/00.").code == "secret_not_found"


def test_another_namespaces_name_is_as_good_as_absent(vault: HostileVault) -> None:
    other = vault.tenant("other")
    assert other.create("theirs/only", f"{MARK} theirs").status == 201
    assert vault.api.get("theirs/only").told == vault.api.get("theirs/none").told == (404, "secret_not_found", None, None)
    assert other.get("sentinel/00").code == "secret_not_found"
    assert other.delete("sentinel/00").code == "secret_not_found"
    assert other.update("sentinel/00", "v").code == "secret_not_found"
    assert vault.api.names("theirs/") == other.names("sentinel/") == []
    assert other.create("sentinel/00", f"{MARK} another").status == 201
    assert vault.api.get("sentinel/00").body["value"] == vault.sentinels["sentinel/00"][0]
    assert other.delete("sentinel/00").status == 204


NAMESPACES = ["Other", "other ", "o/ther", "..", "-other", "\xf6ther", "other,default", "a" * 64, ""]


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_what_is_no_namespace_is_refused(vault: HostileVault, namespace: str) -> None:
    said = vault.get("/api/v1/secrets/sentinel/00", f"Kofn-Namespace: {namespace}\r\n")
    assert said.status in {400, 403} if namespace.strip() == "other" else said.status == 400


def test_naming_another_namespace_opens_it_to_nobody_and_tells_nothing_of_it(vault: HostileVault) -> None:
    vault.tenant("other").create("theirs/secret", f"{MARK} theirs")
    header = "Kofn-Namespace: other\r\n"
    there, absent = (vault.get(f"/api/v1/secrets/theirs/{name}", header) for name in ("secret", "none"))
    nowhere = vault.get("/api/v1/secrets/theirs/secret", "Kofn-Namespace: nowhere\r\n")
    assert there.without_id() == absent.without_id() == nowhere.without_id()
    assert there.status == 403
    twice = vault.get("/api/v1/secrets/sentinel/00", "Kofn-Namespace: default\r\nKofn-Namespace: other\r\n")
    assert twice.status in {400, 403}
