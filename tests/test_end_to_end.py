"""The whole vault as real processes: what it promises to callers, with nodes dead and paused, and what lies on its disks.

One cluster serves the whole module; every test has names of its own and leaves every node running.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from http_vault import Answer, Api
from real_cluster import RealCluster, eventually, files_with

from model import record
from model.operation import SecretId

pytestmark = pytest.mark.slow

MARK = "xyzzy-a-value-that-nobody-may-find"
"""A part of every value that these tests write."""
PROMPT_SECONDS = 10.0
"""How long an answer may take that does not depend on anybody silent; a bound against hanging, not a measurement."""

PAIRS = ((1, 2), (1, 3), (1, 4), (1, 5), (2, 5), (2, 4), (2, 3), (3, 4), (3, 5), (4, 5))
"""Every two of five, each sharing a node with the one before, so that one node is exchanged at a time."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    with RealCluster(tmp_path_factory.mktemp("end-to-end") / "cluster") as cluster:
        yield cluster


@pytest.fixture
def cluster(running: RealCluster) -> Iterator[RealCluster]:
    """The running cluster; afterwards every process of it runs again."""
    yield running
    running.heal()


@pytest.fixture
def api(cluster: RealCluster) -> Api:
    return cluster.api


def value(text: object) -> str:
    return f"{MARK} {text}"


def succeeds(answer: Answer, status: int = 200) -> Answer:
    assert answer.status == status, answer.told
    return answer


def everything_works(api: Api, prefix: str) -> None:
    """Every kind of request, on ``PREFIX/old``, which is at version 1, and on new names below the prefix."""
    old, new = f"{prefix}/old", f"{prefix}/new"
    first = succeeds(api.get(old)).body
    assert (first["value"], first["version"]) == (value("old"), 1)
    succeeds(api.create(new, value("new")), 201)
    assert succeeds(api.update(old, value("newer"), if_match=1)).body["version"] == 2
    assert succeeds(api.get(old)).body["value"] == value("newer")
    assert succeeds(api.get(old, version="1")).body["value"] == value("old")
    assert succeeds(api.get(old, at=first["valid_from"])).body["value"] == value("old")
    history = succeeds(api.history(old)).body["versions"]
    assert [each["version"] for each in history] == [1, 2]
    assert history[0]["valid_to"] == history[1]["valid_from"]
    assert [each["value"] for each in succeeds(api.batch([new, old])).body["secrets"]] == [value("new"), value("newer")]
    env = succeeds(
        api.env(f"A=secret({old})\nB=enc({prefix}/b)\nC=enc({prefix}/c)\n", {f"{prefix}/b": value("b"), f"{prefix}/c": value("c")})
    )
    assert env.body["variables"] == {"A": value("newer"), "B": f"secret({prefix}/b)", "C": f"secret({prefix}/c)"}
    assert api.names(prefix) == [f"{prefix}/b", f"{prefix}/c", new, old]
    succeeds(api.delete(new), 204)
    assert api.get(new).code == api.history(new).code == "secret_not_found"
    assert api.names(prefix) == [f"{prefix}/b", f"{prefix}/c", old]
    still_works(api, prefix)


def still_works(api: Api, prefix: str) -> None:
    """What ``everything_works`` left behind is there."""
    names = {f"{prefix}/b": "b", f"{prefix}/c": "c", f"{prefix}/old": "newer"}
    assert {each["name"]: each["value"] for each in succeeds(api.batch(list(names))).body["secrets"]} == {
        name: value(text) for name, text in names.items()
    }
    assert api.names(prefix) == sorted(names)
    assert succeeds(api.get(f"{prefix}/old", version="1")).body["value"] == value("old")
    assert api.get(f"{prefix}/new").code == "secret_not_found"


def test_with_any_two_nodes_down_everything_works(cluster: RealCluster, api: Api) -> None:
    for pair in PAIRS:
        succeeds(api.create(f"pair-{pair[0]}-{pair[1]}/old", value("old")), 201)
    down: set[int] = set()
    for pair in PAIRS:
        for number in down - set(pair):
            cluster.restart(f"node-{number}")
        cluster.kill(*(f"node-{number}" for number in set(pair) - down))
        down = set(pair)
        status = succeeds(api.status()).body
        assert (status["reads"], status["writes"]) == (True, True)
        everything_works(api, f"pair-{pair[0]}-{pair[1]}")
    cluster.start()
    for pair in PAIRS:
        still_works(api, f"pair-{pair[0]}-{pair[1]}")


def reads_of(api: Api, prefix: str) -> dict[str, Callable[[], Answer]]:
    name = f"{prefix}/old"
    return {
        "get": lambda: api.get(name),
        "get a version": lambda: api.get(name, version="1"),
        "get at a time": lambda: api.get(name, at="2026-01-01T00:00:00Z"),
        "get an absent one": lambda: api.get(f"{prefix}/absent"),
        "history": lambda: api.history(name),
        "list": lambda: api.ask("GET", "/secrets", params={"prefix": prefix}),
        "batch": lambda: api.batch([name, f"{prefix}/b"]),
        "env that expands": lambda: api.env(f"A=secret({name})\n"),
    }


def writes_of(api: Api, prefix: str) -> dict[str, Callable[[], Answer]]:
    name = f"{prefix}/old"
    return {
        "create": lambda: api.create(f"{prefix}/fresh", value("fresh")),
        "create of an existing one": lambda: api.create(name, value("again")),
        "update": lambda: api.update(name, value("lost")),
        "update if at a version": lambda: api.update(name, value("lost"), if_match=2),
        "delete": lambda: api.delete(name),
        "env that encrypts": lambda: api.env(f"A=enc({prefix}/x)\nB=enc({prefix}/y)\n", {f"{prefix}/x": "", f"{prefix}/y": ""}),
    }


def test_with_three_nodes_down_requests_fail_at_once_and_nothing_is_lost_or_written(cluster: RealCluster, api: Api) -> None:
    succeeds(api.create("three/old", value("old")), 201)
    everything_works(api, "three")
    for down in (("node-1", "node-3", "node-5"), ("node-2", "node-4")):
        cluster.kill(*down)
        for what, ask in reads_of(api, "three").items():
            answer = ask()
            assert answer.told == (503, "unavailable", None, None), what
            assert "Retry-After" in answer.headers
            assert answer.seconds < PROMPT_SECONDS, what
        for what, ask in writes_of(api, "three").items():
            answer = ask()
            assert answer.told == (503, "voting_failed", "voting", "not_applied"), what
            assert "Retry-After" in answer.headers
            assert answer.seconds < PROMPT_SECONDS, what
        status = succeeds(api.status()).body
        assert (status["reads"], status["writes"], status["degraded"]) == (False, False, True)
    cluster.start()
    still_works(api, "three")
    assert api.get("three/fresh").code == "secret_not_found"


def test_with_two_nodes_paused_everything_works_and_once_awake_they_catch_up(cluster: RealCluster, api: Api) -> None:
    """The gateway's own favourite is left awake: to a caller a paused coordinator is a slow answer, see the next test."""
    succeeds(api.create("paused/old", value("old")), 201)
    cluster.spread("paused/old")
    asleep = [node for node in cluster.nodes if node != cluster.coordinator_of("paused/old")][:2]
    cluster.pause(*asleep)
    everything_works(api, "paused")
    cluster.wake(*asleep)
    still_works(api, "paused")
    for name in ("paused/old", "paused/b", "paused/c"):
        eventually(lambda name=name: all(len(nodes) == 5 for nodes in cluster.holders(name)), f"all shards of {name} everywhere")
    eventually(lambda: not cluster.holders("paused/new"), "the deleted secret erased where nodes slept")


def test_a_paused_coordinator_leaves_an_unknown_outcome_that_a_retry_settles(cluster: RealCluster, api: Api) -> None:
    succeeds(api.create("asleep/old", value("old")), 201)
    asleep = cluster.coordinator_of("asleep/old")
    cluster.pause(asleep)
    first = api.update("asleep/old", value("newer"), key="asleep")
    assert first.told == (503, "writing_failed", "writing", "unknown")
    assert succeeds(api.update("asleep/old", value("newer"), key="asleep")).body["version"] == 2
    cluster.wake(asleep)
    again = succeeds(api.update("asleep/old", value("newer"), key="asleep")).body
    assert again["version"] == 2
    assert [each["version"] for each in succeeds(api.history("asleep/old")).body["versions"]] == [1, 2]


def test_an_existing_name_cannot_be_created_and_an_absent_one_neither_updated_nor_deleted(api: Api) -> None:
    succeeds(api.create("taken", value(1)), 201)
    again = api.create("taken", value(2))
    assert (again.status, again.code, again.body["names"]) == (409, "secret_exists", ["taken"])
    assert succeeds(api.get("taken")).body["value"] == value(1)
    for answer in (api.update("absent", value(1)), api.delete("absent"), api.get("absent"), api.history("absent")):
        assert (answer.status, answer.code) == (404, "secret_not_found")


def test_of_fifty_clients_that_create_one_name_at_once_exactly_one_wins(api: Api) -> None:
    with ThreadPoolExecutor(50) as clients:
        answers = list(clients.map(lambda number: api.create("race/create", value(number)), range(50)))
    assert Counter(answer.told for answer in answers) == {(201, "", None, None): 1, (409, "secret_exists", None, None): 49}
    winner = next(number for number, answer in enumerate(answers) if answer.status == 201)
    assert succeeds(api.get("race/create")).body["value"] == value(winner)
    assert len(succeeds(api.history("race/create")).body["versions"]) == 1


def test_of_fifty_updates_of_one_version_at_once_exactly_one_wins(api: Api) -> None:
    succeeds(api.create("race/update", value("first")), 201)
    with ThreadPoolExecutor(50) as clients:
        answers = list(clients.map(lambda number: api.update("race/update", value(number), if_match=1), range(50)))
    assert Counter(answer.told for answer in answers) == {(200, "", None, None): 1, (412, "version_mismatch", None, None): 49}
    winner = next(number for number, answer in enumerate(answers) if answer.status == 200)
    latest = succeeds(api.get("race/update")).body
    assert (latest["value"], latest["version"]) == (value(winner), 2)


def test_an_env_file_of_a_hundred_references_expands_and_one_missing_name_fails_it_whole(api: Api) -> None:
    names = [f"hundred/{number:03}" for number in range(100)]
    content = "".join(f"V{number}=enc({name})\n" for number, name in enumerate(names))
    created = succeeds(api.env(content, {name: value(name) for name in names}))
    assert created.body["created"] == names
    expanded = succeeds(api.env(created.body["content"]))
    assert expanded.body["variables"] == {f"V{number}": value(name) for number, name in enumerate(names)}
    assert expanded.body["expanded"] == names

    failing = api.env(f"{created.body['content']}X=secret(hundred/x)\nY=secret(hundred/y)\nZ=enc(hundred/z, {value('z')})\n")
    assert (failing.status, failing.code, failing.body["names"]) == (404, "secret_not_found", ["hundred/x", "hundred/y"])
    assert api.get("hundred/z").code == "secret_not_found"


def test_an_env_file_that_encrypts_an_existing_name_fails_whole_and_names_each(api: Api) -> None:
    for name in ("existing/b", "existing/d"):
        succeeds(api.create(name, value("first")), 201)
    names = [f"existing/{letter}" for letter in "abcde"]
    answer = api.env("".join(f"{name[-1]}=enc({name})\n" for name in names), {name: value("second") for name in names})
    assert (answer.status, answer.code, answer.body["names"]) == (409, "secret_exists", ["existing/b", "existing/d"])
    assert api.names("existing/") == ["existing/b", "existing/d"]
    assert succeeds(api.get("existing/b")).body["value"] == value("first")


def test_the_files_of_two_nodes_hold_neither_a_value_nor_enough_shares_to_open_one(cluster: RealCluster, api: Api) -> None:
    secret = SecretId("default", "stolen")
    succeeds(api.create("stolen", value("one")), 201)
    succeeds(api.update("stolen", value("two")))
    eventually(lambda: [len(nodes) for nodes in cluster.holders("stolen")] == [5, 5], "every shard in its place")
    held = {node: cluster.shards(node, "stolen")[-1] for node in cluster.nodes}
    header, sealed = next((shard.header, shard.sealed) for shard in held.values())
    shares = {node: shard.share for node, shard in held.items()}
    for two in PAIRS:
        thieves = tuple(f"node-{number}" for number in two)
        files = [path for node in thieves for path in cluster.store_files(node)]
        assert files_with(files, [MARK.encode()]) == []
        assert files_with(files, [shares[node] for node in cluster.nodes if node not in thieves]) == []
        with pytest.raises(ValueError, match=r"authentic|one split"):
            record.open_value(secret, header, {node: shares[node] for node in thieves}, sealed)
    assert record.open_value(secret, header, {node: shares[node] for node in cluster.nodes[:3]}, sealed) == value("two").encode()


def test_after_a_delete_no_file_of_any_node_holds_a_share_or_a_sealed_value(cluster: RealCluster, api: Api) -> None:
    succeeds(api.create("erased", value("one")), 201)
    for number in range(5):
        succeeds(api.update("erased", value(number)))
    eventually(lambda: [len(nodes) for nodes in cluster.holders("erased")] == [5] * 6, "every shard in its place")
    shards = [shard for node in cluster.nodes for shard in cluster.shards(node, "erased")]
    remains = {part for shard in shards for part in (shard.share, shard.sealed)}
    assert len(remains) == 6 * 5 + 6
    assert all(files_with(cluster.store_files(node), remains) for node in cluster.nodes)
    succeeds(api.delete("erased"), 204)
    clean = [node for node in cluster.nodes if not files_with(cluster.store_files(node), remains)]
    assert len(clean) >= 3
    eventually(lambda: not files_with([path for node in cluster.nodes for path in cluster.store_files(node)], remains), "erased everywhere")


def test_a_node_that_was_down_gets_back_every_version_that_it_missed(cluster: RealCluster, api: Api) -> None:
    succeeds(api.create("missed/deleted", value("deleted")), 201)
    eventually(lambda: [len(nodes) for nodes in cluster.holders("missed/deleted")] == [5], "every shard in its place")
    cluster.kill("node-2")
    succeeds(api.create("missed/created", value(1)), 201)
    for number in (2, 3, 4):
        succeeds(api.update("missed/created", value(number)))
    succeeds(api.delete("missed/deleted"), 204)
    assert cluster.shards("node-2", "missed/created") == []
    assert len(cluster.shards("node-2", "missed/deleted")) == 1
    cluster.restart("node-2")
    succeeds(api.get("missed/created"))
    eventually(lambda: [len(nodes) for nodes in cluster.holders("missed/created")] == [5] * 4, "all four versions on all nodes")
    eventually(lambda: not cluster.holders("missed/deleted"), "what was deleted meanwhile is erased here too")
    cluster.kill("node-1", "node-3")
    assert [succeeds(api.get("missed/created", version=str(number))).body["value"] for number in (1, 2, 3, 4)] == [
        value(number) for number in (1, 2, 3, 4)
    ]


def test_a_lost_disk_is_recovered_before_the_node_serves_and_then_any_three_nodes_do(cluster: RealCluster, api: Api) -> None:
    succeeds(api.create("lost/old", value("old")), 201)
    succeeds(api.create("lost/versions", value(1)), 201)
    succeeds(api.update("lost/versions", value(2)))
    cluster.spread("lost/old", "lost/versions")
    cluster.kill("node-4")
    cluster.forget_disk("node-4")
    succeeds(api.create("lost/meanwhile", value("meanwhile")), 201)
    cluster.restart("node-4")
    assert succeeds(api.get("lost/old")).body["value"] == value("old")
    eventually(lambda: "recovered: serving again" in cluster.log("node-4"), "node-4 serves")
    cluster.kill("node-1", "node-2")
    assert succeeds(api.get("lost/meanwhile")).body["value"] == value("meanwhile")
    assert succeeds(api.get("lost/versions", version="1")).body["value"] == value(1)
    assert succeeds(api.get("lost/versions")).body["value"] == value(2)
    succeeds(api.create("lost-disk/old", value("old")), 201)
    everything_works(api, "lost-disk")


def test_a_node_that_cannot_recover_does_not_serve_and_the_others_go_on(cluster: RealCluster, api: Api) -> None:
    """Three of five have to answer before a node without its disk votes again; alone with one other it must not."""
    succeeds(api.create("alone", value("alone")), 201)
    eventually(lambda: [len(nodes) for nodes in cluster.holders("alone")] == [5], "every shard in its place")
    cluster.kill("node-5")
    cluster.forget_disk("node-5")
    cluster.kill("node-1", "node-2")
    assert api.get("alone").code == "unavailable"
    before = cluster.log("node-5")
    cluster.restart("node-5")
    eventually(lambda: "recovering from a lost store: 2 " in cluster.log("node-5")[len(before) :], "it says that it recovers")
    assert api.get("alone").code == "unavailable"
    assert api.update("alone", value("never")).told == (503, "voting_failed", "voting", "not_applied")
    cluster.restart("node-1")
    eventually(lambda: "recovered: serving again" in cluster.log("node-5")[len(before) :], "node-5 serves")
    assert succeeds(api.get("alone")).body["value"] == value("alone")
    cluster.kill("node-3")
    assert succeeds(api.get("alone")).body["value"] == value("alone")
    assert len(cluster.shards("node-5", "alone")) == 1


def test_after_stopping_and_starting_everything_everything_is_there(cluster: RealCluster, api: Api) -> None:
    succeeds(api.create("restart/old", value("old")), 201)
    everything_works(api, "restart")
    history = succeeds(api.history("restart/old")).body
    names = api.names()
    cluster.stop()
    cluster.start()
    still_works(api, "restart")
    assert succeeds(api.history("restart/old")).body == history
    assert api.names() == names


def test_a_node_refuses_the_database_of_another_node(cluster: RealCluster, api: Api) -> None:
    succeeds(api.create("swapped", value("whole")), 201)
    cluster.spread("swapped")
    cluster.kill("node-1", "node-2")
    stolen = {path.name: path.read_bytes() for path in cluster.store_files("node-2")}
    with other_files(cluster, "node-1", stolen):
        refuses_to_start(cluster, "node-1", "not the store of node-1")
        assert succeeds(api.get("swapped")).body["value"] == value("whole")
    cluster.start()
    assert succeeds(api.get("swapped")).body["value"] == value("whole")


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty"])
def test_a_node_refuses_a_database_that_is_no_longer_one(cluster: RealCluster, api: Api, damage: str) -> None:
    name = f"damaged/{damage}"
    succeeds(api.create(name, value("whole")), 201)
    cluster.spread(name)
    cluster.kill("node-3")
    whole = cluster.database("node-3").read_bytes()
    damaged = {"truncated": whole[: len(whole) // 2], "garbage": b"no database at all " * 500, "empty": b""}[damage]
    with other_files(cluster, "node-3", {"store.db": damaged}):
        refuses_to_start(cluster, "node-3", str(cluster.database("node-3")))
        assert succeeds(api.get(name)).body["value"] == value("whole")


@contextmanager
def other_files(cluster: RealCluster, node: str, contents: Mapping[str, bytes]) -> Iterator[None]:
    """Inside, a node that does not run has these files in place of its database."""
    folder = cluster.database(node).parent
    own = cluster.store_files(node)
    for path in own:
        path.rename(folder / f"aside-{path.name}")
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    try:
        yield
    finally:
        for path in cluster.store_files(node):
            path.unlink()
        for path in own:
            (folder / f"aside-{path.name}").rename(path)


def refuses_to_start(cluster: RealCluster, node: str, because: str) -> None:
    """It ends, soon, and says why."""
    before = cluster.log(node)
    result = cluster.kofn("local", "restart", node, succeeds=False)
    said = cluster.log(node)[len(before) :]
    assert result.returncode != 0, said
    assert "StoreError" in said
    assert because in said


def test_the_output_of_all_processes_holds_no_value_no_share_and_no_token(cluster: RealCluster, api: Api) -> None:
    """The last test of the module: after all that has happened to the cluster above."""
    for number in range(20):
        succeeds(api.create(f"logged/{number}", value(number)), 201)
    refused = (
        api.create(f"{value('in a name')}", value("beside it")),
        api.ask("GET", "/secrets/logged/1", params={"version": MARK}),
        api.ask("GET", "/secrets/logged/1", params={MARK: "1"}),
        api.ask("POST", "/secrets", {"name": "logged/bad", "value": value("bad"), MARK: 1}),
        api.ask("POST", "/env", {"content": f"A='{MARK}\n"}),
        api.ask("PUT", "/secrets/logged/1", {"value": f"{MARK} is no base64", "encoding": "base64"}),
    )
    assert all(answer.status in (400, 422) and MARK not in str(answer.body) for answer in refused), [answer.told for answer in refused]
    shares = {shard.share for node in cluster.nodes for name in api.names() for shard in cluster.shards(node, name)}
    assert len(shares) > 100
    secret = cluster.token.split("_", 2)[2].encode()
    files = [path for path in cluster.directory.rglob("*") if path.is_file()]
    assert files_with(files, [MARK.encode()]) == []
    assert [path.name for path in files_with(files, [secret])] == ["token"]
    assert files_with([path for path in files if not path.name.startswith("store.db")], shares) == []
