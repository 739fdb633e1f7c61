"""Many clients of a real cluster who want the same name to be different things at the same moment."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from hostile_cluster import MARK, HostileVault
from hostile_inside import replace
from http_vault import Answer
from real_cluster import eventually

pytest_plugins = ["hostile_fixtures"]
pytestmark = pytest.mark.slow

Ask = Callable[[], Answer]


def at_once(*asks: Ask) -> list[Answer]:
    """The answers, in the order of the questions, which are all asked at the same moment."""
    barrier = Barrier(len(asks))

    def ask(one: Ask) -> Answer:
        barrier.wait(30)
        return one()

    with ThreadPoolExecutor(len(asks)) as clients:
        return list(clients.map(ask, asks))


def fresh() -> str:
    return f"race/{secrets.token_hex(6)}"


def test_of_fifty_updates_with_one_if_match_one_wins(vault: HostileVault) -> None:
    name = fresh()
    assert vault.api.create(name, f"{MARK} first").status == 201
    answers = at_once(*(lambda number=number: vault.api.update(name, f"{MARK} {number}", if_match=1) for number in range(50)))
    assert Counter((answer.status, answer.code) for answer in answers) == {(200, ""): 1, (412, "version_mismatch"): 49}
    winner = next(number for number, answer in enumerate(answers) if answer.status == 200)
    assert vault.api.get(name).body["value"] == f"{MARK} {winner}"


def test_of_creates_and_groups_of_one_name_one_wins_and_no_group_is_there_in_part(vault: HostileVault) -> None:
    one, other = fresh(), fresh()
    group = f"A=enc({one})\nB=enc({other})\n"
    singles: list[Ask] = [lambda number=number: vault.api.create(one, f"{MARK} single {number}") for number in range(10)]
    groups: list[Ask] = [
        lambda number=number: vault.api.env(group, dict.fromkeys((one, other), f"{MARK} {number}")) for number in range(10)
    ]
    answers = at_once(*singles, *groups)
    assert Counter(answer.status for answer in answers)[409] == 19, [answer.told for answer in answers]
    value = vault.api.get(one).body["value"]
    if "single" in value:
        assert vault.api.get(other).code == "secret_not_found"
    else:
        assert vault.api.get(other).body["value"] == value


def test_deletes_against_updates_end_as_if_one_after_the_other(vault: HostileVault) -> None:
    for _ in range(5):
        name = fresh()
        assert vault.api.create(name, f"{MARK} zero").status == 201
        updates: list[Ask] = [lambda name=name, number=number: vault.api.update(name, f"{MARK} {number}") for number in range(4)]
        deletes: list[Ask] = [lambda name=name: vault.api.delete(name) for _ in range(4)]
        answers = at_once(*updates, *deletes)
        updated, deleted = answers[:4], answers[4:]
        assert Counter(answer.status for answer in deleted) == {204: 1, 404: 3}, [answer.told for answer in deleted]
        assert {answer.status for answer in updated} <= {200, 404}
        assert sorted(answer.body["version"] for answer in updated if answer.status == 200) == list(
            range(2, 2 + sum(answer.status == 200 for answer in updated))
        )
        assert vault.api.get(name).code == vault.api.history(name).code == "secret_not_found"
        eventually(lambda name=name: not vault.cluster.holders(name), "nothing is left of it")


def test_deletes_against_creates_of_one_name_never_mix_two_lives(vault: HostileVault) -> None:
    name = fresh()
    assert vault.api.create(name, f"{MARK} zero").status == 201
    asks: list[Ask] = []
    for number in range(10):
        asks += [lambda number=number: vault.api.create(name, f"{MARK} life {number}"), lambda: vault.api.delete(name)]
    answers = at_once(*asks)
    created = sum(answer.status == 201 for answer in answers[::2])
    deleted = sum(answer.status == 204 for answer in answers[1::2])
    assert {answer.status for answer in answers} <= {201, 204, 404, 409}, [answer.told for answer in answers]
    assert created - deleted in {-1, 0}
    there = vault.api.history(name)
    assert (there.status == 200) == (created == deleted)
    if there.status == 200:
        assert [each["version"] for each in there.body["versions"]] == [1]


def test_a_name_deleted_and_created_again_while_it_is_repaired_is_the_new_one(vault: HostileVault) -> None:
    """The repair that a read starts comes while the secret is replaced: it loses to the deletion and to the new life (SEM-26)."""
    for _ in range(5):
        name = fresh()
        assert vault.api.create(name, f"{MARK} old").status == 201
        eventually(lambda name=name: [len(nodes) for nodes in vault.cluster.holders(name)] == [5], "every shard in its place")
        old = {shard.share for node in vault.cluster.nodes for shard in vault.cluster.shards(node, name)}
        replace(vault.cluster, "node-2", name, "share", bytes(33))

        def renew(name: str = name) -> Answer:
            assert vault.api.delete(name).status == 204
            return vault.api.create(name, f"{MARK} new")

        *_, renewed = at_once(*[lambda name=name: vault.api.get(name)] * 4, renew)
        assert renewed.status == 201, renewed.told
        eventually(lambda name=name: [len(nodes) for nodes in vault.cluster.holders(name)] == [5], "all of the new one, nothing of the old")
        assert not old & {shard.share for node in vault.cluster.nodes for shard in vault.cluster.shards(node, name)}
        assert vault.api.get(name).body["value"] == f"{MARK} new"
        assert [each["version"] for each in vault.api.history(name).body["versions"]] == [1]


def test_one_idempotency_key_sent_by_many_at_once_is_one_write(vault: HostileVault) -> None:
    name, key = fresh(), secrets.token_hex(8)
    assert vault.api.create(name, f"{MARK} zero").status == 201
    answers = at_once(*[lambda: vault.api.update(name, f"{MARK} once", key=key)] * 20)
    assert {(answer.status, answer.body.get("version")) for answer in answers} == {(200, 2)}, [answer.told for answer in answers]
    assert len(vault.api.history(name).body["versions"]) == 2
