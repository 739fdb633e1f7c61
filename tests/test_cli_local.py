"""``kofn local`` where it refuses, and where its output is lost."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import local_plan, processes
from cli.failure import Exit
from cli.local_plan import Layout
from cli.main import kofn


@pytest.fixture
def planned(tmp_path: Path) -> Path:
    """The folder of a cluster that was made, and does not run."""
    layout = Layout(tmp_path / "data")
    layout.directory.mkdir(mode=0o700)
    plan = local_plan.new_plan(2, 2, 0)
    local_plan.complete(layout, plan)
    local_plan.record(layout, plan)
    return layout.directory


def test_a_port_in_use_is_found_before_anything_is_made(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1] - 1
        result = CliRunner().invoke(kofn, ["local", "start", "--data", str(data), "--nodes", "2", "--threshold", "2", "--port", str(port)])
    assert result.exit_code == Exit.FAILED
    assert "choose another --port (0 finds free ones)" in result.stderr
    assert {path.name for path in data.iterdir()} <= {"lock"}


def test_a_server_that_does_not_exist_is_not_restarted(planned: Path) -> None:
    result = CliRunner().invoke(kofn, ["local", "restart", "node-9", "--data", str(planned)])
    assert result.exit_code == Exit.USAGE
    assert result.stderr == "kofn: this cluster has no such server — choose one of node-1, node-2, gateway\n"


@pytest.mark.parametrize("name", ["TERM", "term", "SIGTERM", "sigterm"])
def test_a_signal_is_named_with_or_without_sig(planned: Path, name: str) -> None:
    result = CliRunner().invoke(kofn, ["local", "kill", "node-1", "--signal", name, "--data", str(planned)])
    assert result.exit_code == Exit.CONFLICT
    assert "node-1 is not running" in result.stderr


def test_a_cluster_whose_description_is_lost_runs_and_that_is_said(tmp_path: Path) -> None:
    layout = Layout((tmp_path / "data").resolve())
    command = [sys.executable, "-m", "cli.main", "local", "start", "--detach", "--port", "0", "--nodes", "2", "--threshold", "2"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KOFN_")}
    environment |= {"KOFN_DATA": str(layout.directory), "PYTHONPATH": str(Path(__file__).parent.parent)}
    try:
        with Path("/dev/full").open("w") as full:
            result = subprocess.run(command, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
        assert result.returncode == Exit.FAILED
        assert result.stderr.endswith(
            "cannot write the output: No space left on device — the cluster runs; run: kofn local stop, to end it\n"
        )
        assert processes.master(layout.gateway) is not None
    finally:
        for server in (layout.gateway, layout.node("node-1"), layout.node("node-2")):
            processes.kill(server)
