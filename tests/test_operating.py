"""docs/operating.md is true: its commands, run as printed, found a cluster, tend it, and bring back what was lost."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_vault import Api
from operating_machines import DOCUMENT, NODES, ROOT, Machines, blocks
from real_cluster import eventually

from model.errors import BY_CODE

pytestmark = pytest.mark.slow

SECTIONS = {
    "Founding a cluster",
    "Watching",
    "The audit log",
    "Restarting and upgrading, one by one",
    "Losing a disk",
    "Replacing and moving a node",
    "Backups",
}
STORE = "/var/lib/kofn/node/store.db"
VALUE = "correct horse"


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """The cluster that the document founds; ``client`` has the token."""
    with Machines(tmp_path_factory.mktemp("machines")) as machines:
        founding = [block for block in blocks() if block.section == "Founding a cluster"]
        machines.do("Founding a cluster", slice(0, len(founding) - 1))
        config = machines.path("client", ".config/kofn")
        config.mkdir(parents=True)
        machines.path("gateway-1", "admin.token").rename(config / "admin.token")
        (config / "ca.pem").write_bytes(machines.path("authority", "authority/ca.pem").read_bytes())
        assert machines.do("Founding a cluster", slice(len(founding) - 1, None)).endswith(VALUE)
        yield machines


def whole(machines: Machines) -> bool:
    """Whether every node serves. The command exits with 6 while too few do."""
    return json.loads(machines.sh("client", "kofn status --json || [ $? = 6 ]")) == {"reads": True, "writes": True, "degraded": False}


def test_every_section_with_commands_is_run_here() -> None:
    assert {block.section for block in blocks()} == SECTIONS | {"Installing"}
    assert {block.place for block in blocks() if block.section == "Installing"} == {"install"}


def test_what_the_installation_names_is_there() -> None:
    (installing,) = (block.text for block in blocks() if block.section == "Installing")
    for path in re.findall(r"(?<=\s)(?:requirements|deploy)/\S+", installing):
        assert (ROOT / path).is_file(), path


def test_every_error_code_is_one_that_the_vault_gives() -> None:
    section = DOCUMENT.read_text().split("## What an error means")[1].split("\n## ")[0]
    named = {code for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for code in re.findall(r"`(\w+)`", row)}
    assert named
    assert named <= BY_CODE.keys()


def test_every_line_of_a_log_that_is_worth_an_alert_is_one_that_is_written() -> None:
    section = DOCUMENT.read_text().split("| line | what to do |")[1].split("\n## ")[0]
    sources = "".join(path.read_text() for folder in ("node", "gateway") for path in (ROOT / folder).glob("*.py"))
    lines = [line for row in section.splitlines() for line in re.findall(r"`([^`]*[a-z] [^`]*)`", row.rpartition(" | ")[0])]
    assert len(lines) > 8
    for line in lines:
        pieces = [piece for piece in re.split(r"\s?…,?\s?", line) if piece]
        assert all(piece in sources for piece in pieces), line


def test_the_alerts_name_metrics_and_labels_that_the_gateway_shows(machines: Machines) -> None:
    metrics = machines.do("Watching")
    rules = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text()
    named = set(re.findall(r"kofn_\w+", rules))
    assert named
    for name in named:
        line = next(line for line in metrics.splitlines() if line.startswith(f"{name}{{"))
        assert {f"{label}=" in line for label in ("route", "method", "status")} == {True}, line
    assert '"degraded": false' in metrics


def test_while_a_node_is_restarted_no_read_fails_and_then_the_vault_is_whole(machines: Machines) -> None:
    (restart,) = (block.text for block in blocks() if block.section == "Restarting and upgrading, one by one")
    config = machines.path("client", ".config/kofn")
    api = Api(machines.url, (config / "admin.token").read_text().strip(), config / "ca.pem")
    statuses, over = Counter[int](), threading.Event()

    def read() -> None:
        while not over.wait(0.02):
            statuses[api.ask("GET", "/secrets/app/db-password").status] += 1

    reader = threading.Thread(target=read)
    reader.start()
    try:
        machines.sh("node-5", restart)
        eventually(lambda: whole(machines), "all nodes are reached")
    finally:
        over.set()
        reader.join()
    assert statuses.keys() == {200}


def test_a_node_that_lost_its_disk_recovers(machines: Machines) -> None:
    machines.do("Losing a disk")
    for node in ("node-1", "node-2"):  # so the recovered share is one of the three that are left
        machines.sh(node, "systemctl kill kofn-node")
    assert machines.sh("client", "kofn get app/db-password") == VALUE
    for node in ("node-1", "node-2"):
        machines.sh(node, "systemctl start kofn-node")


def test_a_node_is_replaced_by_a_new_machine(machines: Machines) -> None:
    machines.sh("node-4", "systemctl kill kofn-node")
    machines.prepare("node-4")
    founding = [block for block in blocks() if block.section == "Founding a cluster" and block.place == "node"]
    assert "node.found" in founding[2].text
    machines.sh("node-4", founding[0].text)
    machines.sh("node-4", founding[1].text)
    machines.do("Replacing and moving a node")
    eventually(lambda: whole(machines), "all nodes are reached")
    assert machines.path("node-4", STORE).stat().st_mode & 0o777 == 0o600


def test_copies_of_all_nodes_bring_back_the_vault_of_that_moment(machines: Machines) -> None:
    machines.do("Backups", slice(0, 2))
    machines.sh("client", "printf later | kofn update app/db-password; printf new | kofn create app/new")
    machines.do("Backups", slice(2, 4))
    assert machines.sh("client", "kofn get app/db-password") == VALUE
    assert machines.sh("client", "kofn list") == "app/db-password\n"
    assert machines.sh("client", "printf again | kofn update app/db-password") == "updated app/db-password, version 2\n"


def test_the_audit_log_is_whole_in_the_end(machines: Machines) -> None:
    machines.sh("gateway-1", "systemctl stop kofn-gateway")
    assert machines.do("The audit log").startswith("intact: lines 1 to ")


def test_no_machine_has_logged_the_value(machines: Machines) -> None:
    assert not [machine for machine in (*NODES, "gateway-1") if VALUE in machines.journal(machine)]
    assert not [path for path in Path(machines.folder).glob("*/journal") if "Traceback" in path.read_text()]
