"""``kofn local`` and ``kofn demo``: whole clusters of real processes on this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli import local, local_plan, processes
from cli.failure import Exit, Failure
from cli.local_plan import Layout

ROOT = Path(__file__).parent.parent
Kofn = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A folder for a cluster; whatever of it still runs at the end is killed."""
    directory = tmp_path / "data"
    yield directory
    for server in [Layout(directory).gateway, *(Layout(directory).node(f"node-{number}") for number in range(1, 6))]:
        processes.kill(server)


def command(data: Path, *args: str) -> tuple[list[str], dict[str, str]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KOFN_")}
    environment |= {"KOFN_DATA": str(data), "XDG_CONFIG_HOME": str(data / "nothing"), "PYTHONPATH": str(ROOT)}
    return [sys.executable, "-m", "cli.main", *args], environment


@pytest.fixture
def kofn(data: Path) -> Kofn:
    def run(*args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        arguments, environment = command(data, *args)
        return subprocess.run(arguments, env=environment, input=stdin, capture_output=True, text=True, timeout=120, check=False)

    return run


def started(kofn: Kofn, *args: str) -> dict[str, Any]:
    result = kofn("local", "start", "--port", "0", "--detach", "--json", *args)
    assert result.returncode == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def cluster_json(data: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((data / "cluster.json").read_text())
    return content


def running(data: Path) -> list[int]:
    """Every process of the cluster, workers included."""
    return [pid for server in local.find(Layout(data)).servers for pid in processes.pids(server)]


def environment_of(pid: int) -> bytes:
    """A server's environment, as far as this user may read it: only root reads that of a process that is not dumpable."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except PermissionError:
        return b""


def eventually(holds: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.1)
    return holds()


def shares(database: str | Path, name: str) -> int:
    query = "SELECT count(share) FROM shard JOIN register ON register.id = register_id WHERE name = ?"
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        count: int = connection.execute(query, (name,)).fetchone()[0]
        return count


# The whole life of a cluster


@pytest.mark.slow
def test_two_nodes_die_and_nothing_is_lost_through_restarts(kofn: Kofn, data: Path) -> None:
    cluster = started(kofn)
    assert kofn("create", "one", stdin="first").returncode == 0
    for node in ("node-1", "node-2"):
        assert kofn("local", "kill", node).returncode == 0
    assert [node["pid"] for node in cluster_json(data)["nodes"]][:2] == [None, None]
    assert kofn("get", "one").stdout == "first"
    assert kofn("create", "two", stdin="second").returncode == 0
    assert kofn("update", "one", stdin="third").returncode == 0
    for node in ("node-1", "node-2"):
        assert kofn("local", "restart", node).returncode == 0
    assert all(eventually(lambda path=node["database"]: shares(path, "two") == 1) for node in cluster["nodes"])
    assert kofn("local", "stop").returncode == 0
    assert running(data) == []
    again = started(kofn)
    assert (again["url"], again["nodes"][0]["url"]) == (cluster["url"], cluster["nodes"][0]["url"])
    assert (kofn("get", "one").stdout, kofn("get", "two").stdout) == ("third", "second")
    assert kofn("get", "one", "--version", "1").stdout == "first"


@pytest.mark.slow
def test_with_three_of_five_down_reads_and_writes_fail_at_once_and_come_back(kofn: Kofn, data: Path) -> None:
    started(kofn)
    kofn("create", "one", stdin="first")
    for node in ("node-1", "node-3", "node-5"):
        kofn("local", "kill", node)
    began = time.monotonic()
    assert kofn("get", "one").returncode == Exit.UNAVAILABLE
    assert time.monotonic() - began < 5
    result = kofn("create", "two", stdin="second")
    assert result.returncode == Exit.UNAVAILABLE
    assert "trying again" in result.stderr
    assert kofn("status").returncode == Exit.UNAVAILABLE
    assert kofn("local", "start", "--detach").returncode == 0
    assert kofn("get", "one").stdout == "first"
    assert kofn("get", "two").returncode == Exit.NOT_FOUND


@pytest.mark.slow
def test_cluster_json_and_the_private_files_are_as_documented(kofn: Kofn, data: Path) -> None:
    answer = started(kofn, "--nodes", "3", "--threshold", "2")
    assert answer == cluster_json(data)
    assert answer.keys() == {"url", "token_file", "ca_file", "gateway", "nodes"}
    assert answer["gateway"].keys() == {"pid"}
    assert [node.keys() for node in answer["nodes"]] == [{"id", "url", "pid", "database"}] * 3
    assert [node["id"] for node in answer["nodes"]] == ["node-1", "node-2", "node-3"]
    assert all(Path(node["database"]).is_file() for node in answer["nodes"])
    for path in (data, *data.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.slow
def test_the_token_is_in_one_file_only(kofn: Kofn, data: Path) -> None:
    started(kofn, "--nodes", "3", "--threshold", "2")
    kofn("create", "one", stdin="hunter2")
    token = (data / "token").read_text().strip()
    secret = token.split("_", 2)[2].encode()
    assert [path for path in data.rglob("*") if path.is_file() and secret in path.read_bytes()] == [data / "token"]
    for pid in running(data):
        assert secret not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert secret not in environment_of(pid)


@pytest.mark.slow
def test_each_server_has_a_small_environment_of_its_own(kofn: Kofn, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GUNICORN_CMD_ARGS", "HTTPS_PROXY", "SOME_SECRET"):
        monkeypatch.setenv(name, "--bind=0.0.0.0:1")
    started(kofn, "--nodes", "3", "--threshold", "2")
    for pid in running(data):
        assert b"0.0.0.0" not in environment_of(pid)


@pytest.mark.slow
def test_a_node_that_lost_its_folder_is_not_founded_again_but_recovers(kofn: Kofn, data: Path) -> None:
    cluster = started(kofn)
    kofn("create", "one", stdin="first")
    kofn("local", "stop")
    shutil.rmtree(data / "node-3")
    started(kofn)
    assert eventually(lambda: shares(cluster["nodes"][2]["database"], "one") == 1)
    assert kofn("get", "one").stdout == "first"


@pytest.mark.slow
def test_a_running_node_that_lost_its_folder_is_restarted_with_a_new_one_and_recovers(kofn: Kofn, data: Path) -> None:
    cluster = started(kofn, "--nodes", "3", "--threshold", "2")
    kofn("create", "one", stdin="first")
    shutil.rmtree(data / "node-3")
    result = kofn("local", "restart", "node-3")
    assert result.returncode == 0, result.stderr
    assert eventually(lambda: shares(cluster["nodes"][2]["database"], "one") == 1)


@pytest.mark.slow
def test_a_paused_node_can_be_resumed_and_stopped(kofn: Kofn, data: Path) -> None:
    started(kofn, "--nodes", "3", "--threshold", "2")
    assert kofn("local", "kill", "node-1", "--signal", "STOP").returncode == 0
    assert cluster_json(data)["nodes"][0]["pid"] is not None
    kofn("create", "one", stdin="first")
    assert kofn("get", "one").stdout == "first"
    assert kofn("local", "kill", "node-1", "--signal", "CONT").returncode == 0
    assert kofn("local", "status").stdout.startswith("node-1\tready\t")
    kofn("local", "kill", "node-1", "--signal", "STOP")
    assert kofn("local", "stop").returncode == 0
    assert running(data) == []


@pytest.mark.slow
def test_a_master_killed_from_elsewhere_is_noticed_and_restarted(kofn: Kofn, data: Path) -> None:
    cluster = started(kofn, "--nodes", "3", "--threshold", "2")
    for pid in (cluster["nodes"][0]["pid"], cluster["gateway"]["pid"]):
        os.kill(pid, signal.SIGKILL)
    for server in ("node-1", "gateway"):
        assert kofn("local", "restart", server).returncode == 0
    now = json.loads(kofn("local", "status", "--json").stdout)
    assert None not in {now["gateway"]["pid"], now["nodes"][0]["pid"]}
    assert now["nodes"][0]["pid"] != cluster["nodes"][0]["pid"]
    assert kofn("create", "one", stdin="first").returncode == 0


@pytest.mark.slow
def test_a_pid_in_cluster_json_is_never_trusted(kofn: Kofn, data: Path) -> None:
    started(kofn, "--nodes", "3", "--threshold", "2")
    kofn("local", "stop")
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
        content = cluster_json(data)
        content["nodes"][0]["pid"] = stranger.pid
        (data / "cluster.json").write_text(json.dumps(content))
        assert kofn("local", "kill", "node-1").returncode == Exit.CONFLICT
        assert kofn("local", "stop").returncode == 0
        assert stranger.poll() is None
        stranger.kill()
    assert cluster_json(data)["nodes"][0]["pid"] is None


@contextmanager
def in_the_foreground(data: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A start that stays, once it is ready, and what it printed. It heeds SIGINT, also where this process was told to ignore it."""
    arguments, environment = command(data, "local", "start", "--nodes", "3", "--threshold", "2", "--port", "0", "--json")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground_everything_stops_with_the_command(data: Path, number: signal.Signals) -> None:
    with in_the_foreground(data) as (process, _):
        assert len(running(data)) >= 4
        process.send_signal(number)
        assert process.wait(timeout=30) == 0
    assert running(data) == []
    assert cluster_json(data)["gateway"]["pid"] is None


@pytest.mark.slow
def test_in_the_foreground_a_node_that_ends_is_recorded(kofn: Kofn, data: Path) -> None:
    with in_the_foreground(data) as (process, answer):
        os.killpg(answer["nodes"][1]["pid"], signal.SIGKILL)
        assert eventually(lambda: cluster_json(data)["nodes"][1]["pid"] is None)
        kofn("local", "stop")
        assert process.wait(timeout=30) == 0


@pytest.mark.slow
def test_two_starts_at_once_make_one_cluster(kofn: Kofn, data: Path) -> None:
    arguments, environment = command(data, "local", "start", "--nodes", "3", "--threshold", "2", "--port", "0", "--detach", "--json")
    both = [subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(2)]
    first, second = (json.loads(process.communicate(timeout=90)[0]) for process in both)
    assert first == second
    assert sum(1 for pid in running(data) if os.getsid(pid) == pid) == 4


@pytest.mark.slow
def test_a_port_in_use_is_named_and_nothing_is_left_running(kofn: Kofn, data: Path) -> None:
    plan = started(kofn, "--nodes", "3", "--threshold", "2")
    kofn("local", "stop")
    port = int(plan["nodes"][2]["url"].rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        result = kofn("local", "start", "--detach")
    assert result.returncode == Exit.FAILED
    assert f"port {port}" in result.stderr
    assert running(data) == []


@pytest.mark.slow
def test_a_server_that_cannot_start_is_named_with_its_log(kofn: Kofn, data: Path) -> None:
    started(kofn, "--nodes", "3", "--threshold", "2")
    kofn("local", "stop")
    (data / "node-2" / "node.toml").write_text("nonsense")
    result = kofn("local", "start", "--detach")
    assert result.returncode == Exit.FAILED
    assert "node-2 ended while starting" in result.stderr
    assert str(data / "node-2" / "log") in result.stderr
    assert running(data) == []


@pytest.mark.slow
def test_the_demonstration_holds_and_leaves_nothing_behind(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-m", "cli.main", "demo"], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr
    assert "Each step was seen to hold." in result.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_interrupted_demonstration_leaves_nothing_behind(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-m", "cli.main", "demo"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "node-1 is ready" in line:
                process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) != 0
    assert list(tmp_path.iterdir()) == []
    assert not [each for each in Path("/proc").glob("[0-9]*/cmdline") if str(tmp_path).encode() in _read(each)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


# Without any process


def test_a_creation_that_was_interrupted_is_completed(data: Path) -> None:
    with local.locked(data) as layout:
        plan = local_plan.new_plan(3, 2, 0)
        local_plan.complete(layout, plan)
        token = layout.token_file.read_bytes()
        shutil.rmtree(layout.node("node-2").directory)
        layout.authority.certificate_file.unlink()
        (layout.directory / ".node-2.new").mkdir()
        assert local_plan.read_plan(layout) == plan
        cluster = local.find_or_create(layout, None, None, None)
    assert cluster.plan == plan
    assert layout.database("node-2").is_file()
    assert layout.token_file.read_bytes() == token
    assert not (layout.directory / ".node-2.new").exists()


def test_a_complete_clusters_missing_node_is_not_founded(data: Path) -> None:
    with local.locked(data) as layout:
        local.find_or_create(layout, 3, 2, 0)
        shutil.rmtree(layout.node("node-2").directory)
        local.find_or_create(layout, None, None, None)
    assert layout.node("node-2").configuration.is_file()
    assert not layout.database("node-2").exists()


def test_the_gateways_raised_limits_are_marked_as_this_machines_own(data: Path) -> None:
    with local.locked(data) as layout:
        local.find_or_create(layout, 3, 2, 0)
    lines = layout.gateway.configuration.read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if "requests_per_second" in line)
    assert lines[first - 1].startswith("# For this machine only")


@pytest.mark.parametrize(("nodes", "threshold", "port"), [(4, None, None), (None, 3, None), (None, None, 8200)])
def test_an_existing_cluster_is_not_changed_by_other_numbers(
    data: Path, nodes: int | None, threshold: int | None, port: int | None
) -> None:
    with local.locked(data) as layout:
        local.find_or_create(layout, 3, 2, 0)
        with pytest.raises(Failure) as caught:
            local.find_or_create(layout, nodes, threshold, port)
    assert caught.value.exit_code == Exit.USAGE


@pytest.mark.parametrize(("nodes", "threshold", "port"), [(3, 4, 0), (5, 1, 0), (5, 3, 65531)])
def test_numbers_that_cannot_work_are_refused(nodes: int, threshold: int, port: int) -> None:
    with pytest.raises(Failure) as caught:
        local_plan.new_plan(nodes, threshold, port)
    assert caught.value.exit_code == Exit.USAGE


def test_the_nodes_ports_follow_the_gateways() -> None:
    plan = local_plan.new_plan(3, 2, 8200)
    assert (plan.gateway_port, plan.node_ports) == (8200, {"node-1": 8201, "node-2": 8202, "node-3": 8203})


@pytest.mark.parametrize("verb", [("stop",), ("status",), ("kill", "node-1"), ("restart", "node-1")])
def test_without_a_cluster_every_verb_says_how_to_start_one(kofn: Kofn, data: Path, verb: tuple[str, ...]) -> None:
    result = kofn("local", *verb)
    assert result.returncode == Exit.NOT_FOUND
    assert "kofn local start" in result.stderr
    assert not data.exists()


def test_an_unknown_server_is_a_usage_error(kofn: Kofn, data: Path) -> None:
    with local.locked(data) as layout:
        local.find_or_create(layout, 3, 2, 0)
    result = kofn("local", "kill", "node-9")
    assert result.returncode == Exit.USAGE
    assert "node-1, node-2, node-3, gateway" in result.stderr


def test_a_server_that_does_not_run_cannot_be_signalled(kofn: Kofn, data: Path) -> None:
    with local.locked(data) as layout:
        local.find_or_create(layout, 3, 2, 0)
    assert kofn("local", "kill", "node-1").returncode == Exit.CONFLICT
