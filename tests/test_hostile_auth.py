"""Credentials that are none, wrong, revoked or guessed, and inputs that try to reach a log, sent to the gateway of a real cluster."""

from __future__ import annotations

import json
import secrets
import threading
from hashlib import sha256
from pathlib import Path

import pytest
from hostile_cluster import MARK, HostileVault, Said

pytest_plugins = ["hostile_fixtures"]
pytestmark = pytest.mark.slow

SECRET = "/api/v1/secrets/sentinel/00"


def bad_credentials(token: str) -> dict[str, str]:
    """Every way not to be somebody, as header lines or as a query."""
    _, identifier, secret = token.split("_", 2)
    last = "A" if secret[-1] != "A" else "B"
    return {
        "none": "Accept: */*\r\n",
        "an empty header": "Authorization: \r\n",
        "no token": "Authorization: Bearer \r\n",
        "an unknown id": f"Authorization: Bearer kofn_unknown0_{secret}\r\n",
        "a wrong secret": f"Authorization: Bearer kofn_{identifier}_{secret[:-1]}{last}\r\n",
        "a shorter secret": f"Authorization: Bearer kofn_{identifier}_{secret[:-1]}\r\n",
        "a longer secret": f"Authorization: Bearer kofn_{identifier}_{secret}A\r\n",
        "no id": f"Authorization: Bearer kofn__{secret}\r\n",
        "the digest for the secret": f"Authorization: Bearer kofn_{identifier}_{sha256(secret.encode()).hexdigest()[:43]}\r\n",
        "another scheme": f"Authorization: Basic {token}\r\n",
        "no scheme": f"Authorization: {token}\r\n",
        "two tokens in one": f"Authorization: Bearer {token} {token}\r\n",
        "two tokens with a comma": f"Authorization: Bearer {token}, Bearer {token}\r\n",
        "another letter case": f"Authorization: Bearer {token.swapcase()}\r\n",
        "another header": f"X-Authorization: Bearer {token}\r\nProxy-Authorization: Bearer {token}\r\n",
        "a cookie": f"Cookie: token={token}\r\n",
        "a NUL in the id": "Authorization: Bearer kofn_a%00b_c\r\n",
        "bytes that are no ASCII": "Authorization: Bearer kofn_\xff\xfe_\xff\r\n",
    }


def told(vault: HostileVault, headers: str, source: str, target: str = SECRET) -> Said:
    return vault.ask(f"GET {target} HTTP/1.1\r\nHost: a\r\n{headers}\r\n", source)


def test_every_kind_of_bad_credentials_gets_the_same_answer(vault: HostileVault) -> None:
    """Each kind from an address of its own, so that none is answered by a lock-out."""
    kinds = bad_credentials(vault.cluster.token)
    said = {kind: told(vault, headers, f"127.0.1.{number}") for number, (kind, headers) in enumerate(kinds.items(), 1)}
    for parameter in ("token", "access_token", "authorization"):
        target = f"{SECRET}?{parameter}={vault.cluster.token}"
        said[f"in the query as {parameter}"] = told(vault, "Accept: */*\r\n", "127.0.1.99", target)
    assert {each.without_id() for each in said.values()} == {said["none"].without_id()}
    assert (said["none"].status, said["none"].code) == (401, "unauthenticated")
    heads = {tuple(sorted(each.headers.keys())) for each in said.values()}
    assert len(heads) == 1
    assert said["none"].headers["www-authenticate"] == "Bearer"


def test_two_authorization_headers_open_nothing(vault: HostileVault) -> None:
    bad = "Authorization: Bearer kofn_unknown0_x\r\n"
    for headers in (vault.authorization + bad, bad + vault.authorization):
        assert told(vault, headers, "127.0.1.100").status in {400, 401}


def test_a_token_revoked_in_the_midst_of_a_burst_opens_nothing_from_then_on(vault: HostileVault) -> None:
    secret = secrets.token_urlsafe(32)
    access = vault.cluster.directory / "gateway" / "access.toml"
    before = access.read_text()
    vault.cluster.add_token("revoked0", sha256(secret.encode()).hexdigest(), ("default",))
    headers = f"Authorization: Bearer kofn_revoked0_{secret}\r\n"
    revoked = threading.Event()
    answers: list[list[tuple[bool, int]]] = [[] for _ in range(4)]

    def burst(mine: list[tuple[bool, int]], source: str) -> None:
        while len(mine) < 20 or mine[-1][1] == 200:
            begun_after = revoked.is_set()
            mine.append((begun_after, told(vault, headers, source).status))

    assert told(vault, headers, "127.0.2.1").status == 200
    threads = [threading.Thread(target=burst, args=(mine, f"127.0.2.{number}")) for number, mine in enumerate(answers, 1)]
    for thread in threads:
        thread.start()
    access.write_text(before)
    revoked.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    for mine in answers:
        assert {status for begun_after, status in mine if begun_after} == {401}
    assert told(vault, headers, "127.0.2.9").without_id() == told(vault, "Accept: */*\r\n", "127.0.2.9").without_id()


def test_forbidden_and_missing_paths_are_answered_alike(vault: HostileVault) -> None:
    secret = secrets.token_urlsafe(32)
    access = vault.cluster.directory / "gateway" / "access.toml"
    rule = '[[principals.narrow.allow]]\nnamespaces = ["default"]\npaths = ["narrow/**"]\ncapabilities = ["read", "history"]\n'
    token = f'[tokens.narrow01]\ndigest = "{sha256(secret.encode()).hexdigest()}"\nprincipal = "narrow"\n'
    access.write_text(f"{access.read_text()}\n{rule}{token}")
    headers = f"Authorization: Bearer kofn_narrow01_{secret}\r\n"
    there, missing = (vault.get(f"/api/v1/secrets/sentinel/{name}", headers) for name in ("00", "none"))
    assert there.without_id() == missing.without_id()
    assert (there.status, there.code, sorted(there.headers)) == (403, "forbidden", sorted(missing.headers))
    assert vault.get("/api/v1/history/sentinel/01", headers).without_id() == vault.get("/api/v1/history/none", headers).without_id()
    assert vault.get("/api/v1/secrets/narrow/none", headers).code == "secret_not_found"
    assert vault.get("/api/v1/secrets", headers).code == "forbidden"


def test_an_address_that_guesses_is_locked_out_and_others_are_not(vault: HostileVault) -> None:
    guesses = [told(vault, f"Authorization: Bearer kofn_guess{number:03}_{'A' * 43}\r\n", "127.0.3.1") for number in range(110)]
    assert [guess.status for guess in guesses[:100]] == [401] * 100
    assert {guess.status for guess in guesses[100:]} == {429}
    locked = told(vault, vault.authorization, "127.0.3.1")
    assert locked.without_id() == guesses[-1].without_id()
    assert int(locked.headers["retry-after"]) in range(1, 61)
    forged = told(vault, f"{vault.authorization}X-Forwarded-For: 127.0.3.2\r\n", "127.0.3.1")
    assert forged.status == 429
    assert told(vault, vault.authorization, "127.0.3.2").status == 200


CONTROLS = {
    "CR LF in a path": ("/api/v1/secrets/a%0d%0aevent%20forged", ""),
    "ANSI in a path": ("/api/v1/secrets/%1b%5b2Jforged", ""),
    "CR LF in a query": ("/api/v1/secrets?prefix=a%0d%0aforged", ""),
    "ANSI in a User-Agent": (SECRET, "User-Agent: \x1b[2J\x1b[31mforged\r\n"),
    "a newline of Unicode in a User-Agent": (SECRET, "User-Agent: a\xc2\x85forged\xe2\x80\xa8forged\r\n"),
    "JSON in a User-Agent": (SECRET, 'User-Agent: "}\\n{"event": "forged"}\r\n'),
    "a format in a User-Agent": (SECRET, "User-Agent: %s%s%n {0.__class__} ${jndi:forged}\r\n"),
    "an id for the request": (SECRET, "X-Request-Id: forged\r\n"),
}


@pytest.mark.parametrize(("target", "headers"), CONTROLS.values(), ids=CONTROLS.keys())
def test_no_control_character_and_no_forged_line_reaches_a_log(vault: HostileVault, target: str, headers: str) -> None:
    said = vault.get(target, headers)
    assert said.status in {200, 400}
    assert "forged" not in said.whole
    gateway = vault.cluster.directory / "gateway"
    for line in (gateway / "audit.jsonl").read_bytes().splitlines():
        record = json.loads(line)
        assert record["event"] in {"start", "request", "answer", "refusal"}
    for log in (gateway / "audit.jsonl", gateway / "log"):
        raw = log.read_bytes()
        assert not any(byte < 32 and byte != 10 for byte in raw)
        assert b"forged" not in raw


def logs_of(vault: HostileVault) -> dict[Path, bytes]:
    """Everything that any process has written for people to read."""
    files = [*vault.cluster.directory.glob("*/log"), *vault.cluster.directory.glob("*/audit*")]
    return {path: path.read_bytes() for path in files}


def test_an_input_shaped_like_a_secret_is_in_no_log_no_label_and_no_error(vault: HostileVault) -> None:
    shaped = f"kofn_abcdefgh_{MARK}"
    token = f"kofn_abcdefgh_{'Zz9' * 14}Q"
    asked = [
        vault.get(f"/api/v1/secrets/{shaped}%20"),
        vault.get(f"/api/v1/secrets/sentinel/00?{shaped}=1"),
        vault.get(f"/api/v1/secrets/sentinel/00?version={shaped}"),
        vault.get(f"/{shaped}"),
        vault.get(f"/api/v1/secrets?prefix={shaped}%20"),
        vault.get(SECRET, f"Kofn-Namespace: {shaped}!\r\n"),
        vault.get(SECRET, f"{shaped}: a\r\nUser-Agent: {shaped}\r\nReferer: {shaped}\r\nCookie: {shaped}\r\n"),
        vault.get(SECRET, f"Authorization: Bearer {token}\r\n", "127.0.4.1"),
        vault.post(json.dumps({"name": f"{shaped} ", "value": "v"}).encode()),
        vault.post(json.dumps({"content": f"A=secret({shaped} )\n'{shaped}"}).encode(), "/api/v1/env"),
        vault.ask(f"{shaped} / HTTP/1.1\r\nHost: a\r\n{vault.authorization}\r\n"),
        vault.ask(f"GET / HTTP/1.1\r\nHost: a\r\n{shaped}\r\n\r\n"),
        vault.ask(f"{shaped}\r\n\r\n"),
    ]
    assert {each.status for each in asked} <= {200, 400, 401, 404, 405, 422}
    assert not [each.status for each in asked if each.status != 200 and (MARK in each.whole or token in each.whole)]
    metrics = vault.get("/metrics").text
    for text in (MARK, token, vault.cluster.token.split("_", 2)[2]):
        assert text not in metrics
        assert not [path for path, raw in logs_of(vault).items() if text.encode() in raw]
