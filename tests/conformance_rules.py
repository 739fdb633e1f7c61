"""What specs/semantics.md promises, rule by rule, as anybody can check it from outside: through the public API, one scenario at a time.

Each scenario says in ``rules`` which SEM-n it exercises. A busy or faulty vault may refuse; what promises to have had no effect is asked
again for a while, and every write carries a key, so that one with an unknown outcome can be asked again too.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import requests
from http_vault import Answer, Api

from model.version import format_time, parse_time

PATIENCE_SECONDS = 60.0
CROWD = 20
VERSIONS = 12
FUTURE_US = 86_400_000_000


class Broken(Exception):
    """The vault did not do what a rule says. The text holds no value."""


@dataclass
class Witness:
    """Asks and remembers: ``asked`` counts requests, ``trouble`` what went wrong on the way. Names are below ``prefix``."""

    api: Api
    namespace: str
    prefix: str
    asked: int = 0
    trouble: Counter[str] = field(default_factory=Counter)
    _serial: itertools.count[int] = field(default_factory=itertools.count)

    def name(self) -> str:
        """A name never used."""
        return f"{self.prefix}rule-{next(self._serial)}"

    def value(self) -> str:
        return f"value {next(self._serial)}"

    def ask(self, method: str, path: str, body: object = None, **options: Any) -> Answer:
        """The first answer that is not about the vault's troubles. Raises Broken where there is none for a minute."""
        if method != "GET":
            options.setdefault("key", secrets.token_hex(16))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            self.asked += 1
            try:
                answer = self.api.ask(method, path, body, namespace=self.namespace, **options)
            except requests.RequestException:
                trouble = "no answer"
            else:
                trouble = answer.code if answer.status in (429, 503) or answer.code == "write_conflict" else ""
                if not trouble:
                    return answer
            self.trouble[trouble] += 1
            if time.monotonic() > deadline:
                raise Broken(f"{method}: nothing but {trouble} for {PATIENCE_SECONDS:.0f} s")
            time.sleep(0.3)

    def create(self, name: str, value: str = "", **options: Any) -> Answer:
        return self.ask("POST", "/secrets", {"name": name, "value": value or self.value()}, **options)

    def update(self, name: str, value: str = "", **options: Any) -> Answer:
        return self.ask("PUT", f"/secrets/{name}", {"value": value or self.value()}, **options)

    def delete(self, name: str, **options: Any) -> Answer:
        return self.ask("DELETE", f"/secrets/{name}", **options)

    def get(self, name: str, **params: str) -> Answer:
        return self.ask("GET", f"/secrets/{name}", params=params)

    def history(self, name: str) -> Answer:
        return self.ask("GET", f"/history/{name}")

    def env(self, content: str, values: dict[str, str], **options: Any) -> Answer:
        return self.ask("POST", "/env", {"content": content, "values": values}, **options)


def expect(answer: Answer, status: int, code: str = "") -> Answer:
    """The answer, if it is this one. Raises Broken."""
    if (answer.status, answer.code) != (status, code):
        raise Broken(f"expected {status} {code}, got {answer.status} {answer.code}".replace("  ", " "))
    return answer


def require(holds: bool, what: str) -> None:
    """Raises Broken."""
    if not holds:
        raise Broken(what)


Scenario = Callable[[Witness], None]
SCENARIOS: list[tuple[tuple[int, ...], Scenario]] = []


def rules(*numbers: int) -> Callable[[Scenario], Scenario]:
    """Enlist a scenario that exercises these rules."""

    def enlist(scenario: Scenario) -> Scenario:
        SCENARIOS.append((numbers, scenario))
        return scenario

    return enlist


@rules(1, 4, 14, 15, 29)
def a_deleted_secret_looks_like_one_that_never_was(vault: Witness) -> None:
    never, deleted = vault.name(), vault.name()
    expect(vault.create(deleted), 201)
    expect(vault.update(deleted), 200)
    expect(vault.delete(deleted), 204)
    now = format_time(time.time_ns() // 1000)
    for name in (never, deleted):
        for answer in (vault.get(name), vault.get(name, version="1"), vault.get(name, at=now), vault.history(name)):
            expect(answer, 404, "secret_not_found")
        expect(vault.update(name), 404, "secret_not_found")
        expect(vault.delete(name), 404, "secret_not_found")


@rules(2, 3, 11)
def creating_and_updating_refuse_the_wrong_state_and_change_nothing(vault: Witness) -> None:
    name = vault.name()
    expect(vault.update(name), 404, "secret_not_found")
    expect(vault.get(name), 404, "secret_not_found")
    first = expect(vault.create(name, "first"), 201).body
    expect(vault.create(name, "other"), 409, "secret_exists")
    seen = expect(vault.get(name), 200).body
    require(seen["value"] == "first" and seen["valid_from"] == first["valid_from"], "a refused create changed the secret")
    expect(vault.update(name), 200)
    again = expect(vault.get(name, version="1"), 200).body
    require((again["value"], again["valid_from"]) == ("first", first["valid_from"]), "an update changed an older version")


@rules(2, 25)
def of_many_creates_at_once_one_succeeds(vault: Witness) -> None:
    name = vault.name()
    with ThreadPoolExecutor(CROWD) as pool:
        answers = list(pool.map(lambda number: vault.create(name, f"by {number}"), range(CROWD)))
    winners = [number for number, answer in enumerate(answers) if answer.status == 201]
    require(len(winners) == 1, f"{len(winners)} creates of one name succeeded")
    require(vault.get(name).body.get("value") == f"by {winners[0]}", "another create's value is there")


@rules(25, 27)
def of_many_updates_expecting_one_version_one_succeeds(vault: Witness) -> None:
    name = vault.name()
    expect(vault.create(name), 201)
    with ThreadPoolExecutor(CROWD) as pool:
        answers = list(pool.map(lambda number: vault.update(name, f"by {number}", if_match=1), range(CROWD)))
    winners = [number for number, answer in enumerate(answers) if answer.status == 200]
    require(len(winners) == 1, f"{len(winners)} updates expecting version 1 succeeded")
    require({answer.code for answer in answers} <= {"", "version_mismatch"}, "an update was refused for another reason")
    require(vault.get(name).body.get("value") == f"by {winners[0]}", "another update's value is there")


@rules(5)
def judgement_has_an_order(vault: Witness) -> None:
    name, key = vault.name(), secrets.token_hex(16)
    expect(vault.update(name, if_match=7), 404, "secret_not_found")
    expect(vault.update(name, "a", key=key), 404, "secret_not_found")
    expect(vault.create(name), 201)
    expect(vault.update(name, if_match=7), 412, "version_mismatch")
    require(expect(vault.update(name, "a", key=key), 200).body["version"] == 2, "a refused attempt left something behind")


@rules(10, 12, 13, 14, 15, 28)
def every_version_is_kept_with_its_interval(vault: Witness) -> None:
    name = vault.name()
    expect(vault.create(name, "v1"), 201)
    for number in range(2, VERSIONS + 1):
        require(expect(vault.update(name, f"v{number}"), 200).body["version"] >= number, "numbers do not count")
    versions = expect(vault.history(name), 200).body["versions"]
    require(len(versions) == VERSIONS and versions[0]["version"] == 1, "the history is not complete")
    starts, ends = [each["valid_from"] for each in versions], [each["valid_to"] for each in versions]
    require(ends == [*starts[1:], None] and starts == sorted(set(starts)), "the intervals do not join")
    require("value" not in versions[0], "a history shows values")
    for number, version in enumerate(versions, 1):
        begin = parse_time(version["valid_from"])
        by_number = expect(vault.get(name, version=str(version["version"])), 200).body
        by_time = expect(vault.get(name, at=version["valid_from"]), 200).body
        require(by_number == by_time and by_number["value"] == f"v{number}", "a version differs by number and by time")
        before = vault.get(name, at=format_time(begin - 1))
        require((before.body.get("value") or before.code) == (f"v{number - 1}" if number > 1 else "version_not_found"), "wrong before")
    future = expect(vault.get(name, at=format_time(parse_time(starts[-1]) + FUTURE_US)), 200).body
    require(future == expect(vault.get(name), 200).body, "a time in the future is not the latest")
    expect(vault.get(name, version=str(versions[-1]["version"] + 1)), 404, "version_not_found")


@rules(13, 29, 30)
def a_name_used_again_begins_anew(vault: Witness) -> None:
    name = vault.name()
    expect(vault.create(name, "old"), 201)
    last = expect(vault.update(name, "old too"), 200).body
    expect(vault.delete(name), 204)
    new = expect(vault.create(name, "new"), 201).body
    require(new["version"] == 1 and new["valid_from"] > last["valid_from"], "a new secret has an old number or time")
    require(len(expect(vault.history(name), 200).body["versions"]) == 1, "a new secret has an old history")
    expect(vault.get(name, version="2"), 404, "version_not_found")
    expect(vault.get(name, at=last["valid_from"]), 404, "version_not_found")


@rules(20, 21)
def a_retry_gets_the_first_outcome_and_writes_nothing(vault: Witness) -> None:
    name, other, keys = vault.name(), vault.name(), [secrets.token_hex(16) for _ in range(3)]
    first = expect(vault.create(name, "a", key=keys[0]), 201).body
    second = expect(vault.update(name, "b", key=keys[1]), 200).body
    expect(vault.update(name, "c"), 200)
    require(expect(vault.create(name, "a", key=keys[0]), 201).body == first, "a retried create got something else")
    require(expect(vault.update(name, "b", key=keys[1]), 200).body == second, "a retried update got something else")
    expect(vault.update(name, "x", key=keys[1]), 422, "idempotency_key_reused")
    expect(vault.delete(name, key=keys[1]), 422, "idempotency_key_reused")
    expect(vault.update(name, "b", key=keys[1], if_match=1), 422, "idempotency_key_reused")
    require(len(expect(vault.history(name), 200).body["versions"]) == 3, "a retry wrote a version")
    expect(vault.create(other, "a"), 201)
    expect(vault.delete(name, key=keys[2]), 204)
    expect(vault.delete(name, key=keys[2]), 204)


@rules(22)
def a_late_retry_does_not_bring_a_deleted_secret_back(vault: Witness) -> None:
    name, key = vault.name(), secrets.token_hex(16)
    first = expect(vault.create(name, "a", key=key), 201).body
    expect(vault.delete(name), 204)
    require(expect(vault.create(name, "a", key=key), 201).body == first, "a late retry got something else")
    expect(vault.get(name), 404, "secret_not_found")


@rules(17, 31)
def a_batch_names_every_offender(vault: Witness) -> None:
    there, gone = [vault.name(), vault.name()], sorted([vault.name(), vault.name()])
    for name in there:
        expect(vault.create(name), 201)
    expect(vault.ask("POST", "/batch/read", {"names": there}, key=None), 200)
    failed = expect(vault.ask("POST", "/batch/read", {"names": [*there, *gone]}, key=None), 404, "secret_not_found")
    require(failed.body.get("names") == gone, "not every missing name is named")


@rules(17, 19)
def a_group_is_created_wholly_or_not(vault: Witness) -> None:
    names, taken = [vault.name() for _ in range(4)], vault.name()
    expect(vault.create(taken), 201)
    content = "".join(f"K{number}=enc({name})\n" for number, name in enumerate([*names, taken]))
    values = {name: vault.value() for name in [*names, taken]}
    failed = expect(vault.env(content, values), 409, "secret_exists")
    require(failed.body.get("names") == [taken], "the existing name is not named")
    for name in names:
        expect(vault.get(name), 404, "secret_not_found")
    del values[taken]
    expect(vault.env("".join(f"K{number}=enc({name})\n" for number, name in enumerate(names)), values), 200)
    for name in names:
        require(expect(vault.get(name), 200).body["value"] == values[name], "a group's secret has another value")


@rules(18)
def a_listing_shows_what_is_there_page_by_page(vault: Witness) -> None:
    prefix = f"{vault.name()}/"
    names = sorted(f"{prefix}{letter}" for letter in "aBc_9z")
    for name in names:
        expect(vault.create(name), 201)
    gone = f"{prefix}gone"
    expect(vault.create(gone), 201)
    expect(vault.delete(gone), 204)
    shown: list[str] = []
    after = ""
    while True:
        page = expect(vault.ask("GET", "/secrets", params={"prefix": prefix, "after": after, "limit": "4"}), 200).body
        shown += page["names"]
        if page["next"] is None:
            break
        after = page["next"]
    require(shown == names, "the listing is not what is there, in order")


@rules(23)
def names_are_the_same_only_byte_for_byte(vault: Witness) -> None:
    name = vault.name()
    expect(vault.create(name), 201)
    for other in (name.swapcase(), f"{name}_", name[:-1] + "." + name[-1], f"{name}/x"):
        expect(vault.get(other), 404, "secret_not_found")
