"""A local cluster on disk: its plan, its keys, its token and its configuration files, created once and completed when interrupted.

``gateway/gateway.toml`` is the plan: whatever else is needed is derived from it. ``cluster.json`` appears when everything is there
for the first time. Until then no process has run, so a node's folder that is missing may be founded with an empty database; from
then on it may not: a node that lost its folder gets its certificate and configuration back, and its data from its peers.
A node's folder is made under another name and renamed, so that a folder that exists is whole.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

from cli import access_file, files, processes
from cli.certificates import Authority, needs_renewal
from cli.failure import Exit, Failure
from cli.processes import Server
from model.grants import CAPABILITIES
from model.identity import Role

TRUST_DOMAIN = "kofn.local"
HOST = "127.0.0.1"
_PRINCIPAL = "local"
_HOSTS = ("localhost", HOST)


@dataclass(frozen=True)
class Plan:
    """What a cluster consists of: ports by node id, in order, the gateway's port, the threshold."""

    gateway_port: int
    node_ports: dict[str, int]
    threshold: int

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.gateway_port}"

    def node_url(self, node: str) -> str:
        return f"https://{HOST}:{self.node_ports[node]}"


@dataclass(frozen=True)
class Layout:
    """Where things are in a cluster's folder ``directory`` (absolute)."""

    directory: Path

    @property
    def authority(self) -> Authority:
        return Authority(self.directory)

    @property
    def token_file(self) -> Path:
        return self.directory / "token"

    @property
    def access_file(self) -> Path:
        return self.gateway.directory / "access.toml"

    @property
    def cluster_file(self) -> Path:
        return self.directory / "cluster.json"

    @property
    def gateway(self) -> Server:
        return Server("gateway", self.directory / "gateway", "gateway")

    def node(self, node: str) -> Server:
        return Server(node, self.directory / node, "node")

    def database(self, node: str) -> Path:
        return self.directory / node / "store.db"


def new_plan(node_count: int, threshold: int, port: int) -> Plan:
    """Ports from ``port`` on, the gateway first; with 0, ports that are free now. Raises Failure (usage) for numbers that cannot work."""
    if not 2 <= threshold <= node_count:
        raise Failure(f"{threshold} of {node_count} nodes cannot work", "choose 2 <= threshold <= nodes", Exit.USAGE)
    if port + node_count > 65535:
        raise Failure("the ports would pass 65535", "choose a lower --port", Exit.USAGE)
    ports = list(range(port, port + node_count + 1)) if port else _free_ports(node_count + 1)
    return Plan(ports[0], {f"node-{number}": ports[number] for number in range(1, node_count + 1)}, threshold)


def read_plan(layout: Layout) -> Plan | None:
    """The plan of the cluster in this folder; None where there is none. Raises Failure when it cannot be read."""
    path = layout.gateway.configuration
    try:
        settings = tomllib.loads(path.read_text("utf-8"))
        ports = {node: _port(url) for node, url in settings["nodes"].items()}
        return Plan(_port(settings["bind"]), ports, int(settings["threshold"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise Failure(f"cannot read {path}", "restore it, or begin anew in another folder", Exit.USAGE) from None


def complete(layout: Layout, plan: Plan) -> None:
    """Create whatever of the cluster is not there yet, and renew certificates that are about to end."""
    new = not layout.cluster_file.exists()
    _write_once(layout.gateway.configuration, _gateway_toml(plan))
    if not layout.authority.certificate_file.exists():
        layout.authority.key_file.unlink(missing_ok=True)
        layout.authority.create(TRUST_DOMAIN)
    _create_token(layout)
    _renew(layout, Role.GATEWAY, "gateway-1", layout.gateway.directory)
    for node in plan.node_ports:
        if new and not layout.node(node).directory.exists():
            _create_node(layout, plan, node, found=True)
        restore_node(layout, plan, node)


def restore_node(layout: Layout, plan: Plan, node: str) -> None:
    """Give ``node`` its folder again where it lost it, without a database; renew its certificate if that is about to end."""
    directory = layout.node(node).directory
    if not directory.exists():
        _create_node(layout, plan, node, found=False)
    _renew(layout, Role.NODE, node, directory)


def _create_node(layout: Layout, plan: Plan, node: str, *, found: bool) -> None:
    unfinished = layout.directory / f".{node}.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    layout.authority.issue(Role.NODE, node, unfinished, _HOSTS)
    files.write(unfinished / "node.toml", _node_toml(plan, node))
    if found:
        try:
            processes.found_node(unfinished / "node.toml")
        except subprocess.CalledProcessError as error:
            lines = error.stderr.decode("utf-8", "replace").splitlines()
            raise Failure(f"cannot create the database of {node}", "see below", Exit.FAILED, lines[-5:]) from None
    unfinished.rename(layout.node(node).directory)


def _renew(layout: Layout, role: Role, identifier: str, directory: Path) -> None:
    if needs_renewal(directory):
        layout.authority.issue(role, identifier, directory, _HOSTS)


def _create_token(layout: Layout) -> None:
    """A bearer token; the gateway keeps only its digest. The token's own file comes first: it can be made into the other."""
    if not layout.token_file.exists():
        files.write(layout.token_file, f"{access_file.new_token()}\n")
    known = access_file.known_as(layout.token_file.read_text("ascii").strip(), _PRINCIPAL)
    _write_once(layout.access_file, _access_toml(access_file.entry(*known)))


def _access_toml(token: str) -> str:
    capabilities = ", ".join(f'"{capability}"' for capability in CAPABILITIES)
    return (
        f"# Who may do what; docs/access.md explains it. Of tokens only digests: the token itself is in ../token.\n"
        f'[principals.{_PRINCIPAL}]\n\n[[principals.{_PRINCIPAL}.allow]]\nnamespaces = ["default"]\npaths = ["**"]\n'
        f"capabilities = [{capabilities}]\n\n{token}"
    )


def _gateway_toml(plan: Plan) -> str:
    limits = (
        "# For this machine only: all requests have one address, and most of them one principal. Remove both lines to get the defaults.\n"
        "principal_requests_per_second = 1_000_000\nsource_requests_per_second = 1_000_000\n"
    )
    own = f'access = "access.toml"\naudit = "audit.jsonl"\n{limits}'
    return f'id = "gateway-1"\n{_shared_toml(plan.gateway_port)}{own}{_cluster_toml(plan)}'


def _node_toml(plan: Plan, node: str) -> str:
    return f'id = "{node}"\n{_shared_toml(plan.node_ports[node])}database = "store.db"\n{_cluster_toml(plan)}'


def _shared_toml(port: int) -> str:
    return f'trust_domain = "{TRUST_DOMAIN}"\nbind = "{HOST}:{port}"\ncertificate = "cert.pem"\nkey = "key.pem"\nca = "../ca.pem"\n'


def _cluster_toml(plan: Plan) -> str:
    nodes = "".join(f'{node} = "{plan.node_url(node)}"\n' for node in plan.node_ports)
    return f"threshold = {plan.threshold}\n\n[nodes]\n{nodes}"


def _write_once(path: Path, content: str) -> None:
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.write(path, content)


def describe(layout: Layout, plan: Plan) -> dict[str, object]:
    """What ``cluster.json`` says: where the cluster is and which of its processes run (null: not running)."""
    return {
        "url": plan.url,
        "token_file": str(layout.token_file),
        "ca_file": str(layout.authority.certificate_file),
        "gateway": {"pid": processes.master(layout.gateway)},
        "nodes": [
            {
                "id": node,
                "url": plan.node_url(node),
                "pid": processes.master(layout.node(node)),
                "database": str(layout.database(node)),
            }
            for node in plan.node_ports
        ],
    }


def record(layout: Layout, plan: Plan) -> dict[str, object]:
    """Bring ``cluster.json`` up to date and return its content."""
    description = describe(layout, plan)
    files.write(layout.cluster_file, json.dumps(description, indent=2) + "\n")
    return description


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, all different because all are held until the last is found."""
    held = [socket.socket() for _ in range(count)]
    try:
        for each in held:
            each.bind((HOST, 0))
        return [int(each.getsockname()[1]) for each in held]
    finally:
        for each in held:
            each.close()
