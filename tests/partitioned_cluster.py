"""A cluster of real processes, each node in a network namespace of its own, whose roads can be cut in each direction.

The namespaces hang on a bridge inside one more namespace; the gateway and the clients are outside, on an address of the same network. A
cut is a filter in a node's namespace: packets are lost on arrival, or on leaving for the gateway, and nobody is told. It needs root and
the tools ``ip`` (iproute2) and ``nft`` (nftables). Everything is gone when the context ends, whatever happened inside.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from http_vault import Api

from cli import processes
from cli.local_plan import HOST, Layout, Plan, complete
from model.identity import Role

READY_SECONDS = 60.0
FIRST_PORT = 8301
THRESHOLD = 3
OUTSIDE = "outside"
"""Where the gateway is, as the end of a road."""


class Forbidden(Exception):
    """This machine does not allow network namespaces; the text says why."""


class PartitionedCluster:
    """One gateway and five nodes, of which three are needed, in ``directory``. Raises Forbidden on entering."""

    nodes = tuple(f"node-{number}" for number in range(1, 6))

    def __init__(self, directory: Path) -> None:
        self._layout = Layout(directory)
        self._mark = f"kofn{os.getpid()}"
        network = f"10.{random.SystemRandom().randrange(130, 250)}.{random.SystemRandom().randrange(256)}"
        self._addresses = {node: f"{network}.{number}" for number, node in enumerate(self.nodes, 1)} | {OUTSIDE: f"{network}.254"}
        self._plan = Plan(_free_port(), {node: FIRST_PORT + number for number, node in enumerate(self.nodes)}, THRESHOLD)

    def __enter__(self) -> PartitionedCluster:
        try:
            self._lay_roads()
            self._configure()
            self._start()
        except BaseException:
            self._remove()
            raise
        self.api = Api(self._plan.url, self._layout.token_file.read_text().strip(), self._layout.authority.certificate_file)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._remove()

    def cut(self, senders: Iterable[str], receivers: Iterable[str]) -> None:
        """From now on what ``senders`` send is lost on its way to ``receivers``: nodes or OUTSIDE, whose own filters are not touched."""
        mute = list(senders)
        for receiver in receivers:
            for sender in mute:
                if receiver not in {OUTSIDE, sender}:
                    self._filter(receiver, "add", "element", "lost", self._addresses[sender])
                elif receiver == OUTSIDE and sender != OUTSIDE:
                    self._filter(sender, "add", "element", "unsent", self._addresses[OUTSIDE])

    def heal(self) -> None:
        """Every road carries everything again."""
        for node in self.nodes:
            self._filter(node, "flush", "set", "lost")
            self._filter(node, "flush", "set", "unsent")

    def logs(self) -> str:
        servers = [self._layout.gateway, *map(self._layout.node, self.nodes)]
        return "".join(f"--- {each.id}\n{each.log.read_text('utf-8', 'replace')}" for each in servers if each.log.exists())

    def _filter(self, node: str, verb: str, what: str, name: str, *addresses: str) -> None:
        elements = [f"{{ {', '.join(addresses)} }}"] if addresses else []
        _run("ip", "netns", "exec", self._namespace(node), "nft", verb, what, "inet", "kofn", name, *elements)

    def _namespace(self, node: str) -> str:
        return f"{self._mark}-{node}"

    def _lay_roads(self) -> None:
        for tool in ("ip", "nft"):
            if shutil.which(tool) is None:
                raise Forbidden(f"there is no {tool} (Debian: apt-get install iproute2 nftables)")
        switch = f"{self._mark}-switch"
        try:
            _run("ip", "netns", "add", switch)
            _run("ip", "-n", switch, "link", "add", "bridge", "type", "bridge")
            _run("ip", "-n", switch, "link", "set", "bridge", "up")
            for number, node in enumerate(self.nodes):
                namespace = self._namespace(node)
                _run("ip", "netns", "add", namespace)
                _run("ip", "-n", switch, "link", "add", f"port{number}", "type", "veth", "peer", "name", "eth0", "netns", namespace)
                _run("ip", "-n", switch, "link", "set", f"port{number}", "master", "bridge", "up")
                _run("ip", "-n", namespace, "address", "add", f"{self._addresses[node]}/24", "dev", "eth0")
                _run("ip", "-n", namespace, "link", "set", "eth0", "up")
                _run("ip", "-n", namespace, "link", "set", "lo", "up")
                _run("ip", "netns", "exec", namespace, "nft", FILTER)
            _run("ip", "link", "add", self._mark, "type", "veth", "peer", "name", "outside", "netns", switch)
            _run("ip", "-n", switch, "link", "set", "outside", "master", "bridge", "up")
            _run("ip", "address", "add", f"{self._addresses[OUTSIDE]}/24", "dev", self._mark)
            _run("ip", "link", "set", self._mark, "up")
        except subprocess.CalledProcessError as error:
            raise Forbidden(f"{' '.join(map(str, error.cmd))}: {error.stderr.strip()}") from None

    def _configure(self) -> None:
        """A local cluster's folder, with the nodes at their own addresses."""
        layout = self._layout
        complete(layout, self._plan)
        for server in (layout.gateway, *map(layout.node, self.nodes)):
            text = server.configuration.read_text()
            for node, port in self._plan.node_ports.items():
                text = text.replace(f"{HOST}:{port}", f"{self._addresses[node]}:{port}")
            server.configuration.write_text(text)
        for node in self.nodes:
            layout.authority.issue(Role.NODE, node, layout.node(node).directory, ("localhost", HOST, self._addresses[node]))

    def _start(self) -> None:
        for node in self.nodes:
            _spawn(self._layout.node(node), ["ip", "netns", "exec", self._namespace(node)])
        _spawn(self._layout.gateway, [])
        context = ssl.create_default_context(cafile=str(self._layout.authority.certificate_file))
        deadline = time.monotonic() + READY_SECONDS
        while not self._ready(context):
            assert time.monotonic() < deadline, f"not ready\n{self.logs()}"
            time.sleep(0.3)

    def _ready(self, context: ssl.SSLContext) -> bool:
        try:
            with urllib.request.urlopen(f"{self._plan.url}/readyz", context=context, timeout=5):
                return True
        except OSError:
            return False

    def _remove(self) -> None:
        """End every process, then every namespace; what was never made is not missed."""
        for server in (self._layout.gateway, *map(self._layout.node, self.nodes)):
            processes.kill(server)
        subprocess.run(["ip", "link", "del", self._mark], capture_output=True, check=False)
        for namespace in (*map(self._namespace, self.nodes), f"{self._mark}-switch"):
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)


FILTER = (
    "add table inet kofn; add set inet kofn lost { type ipv4_addr; }; add set inet kofn unsent { type ipv4_addr; }; "
    "add chain inet kofn arriving { type filter hook input priority 0; }; "
    "add rule inet kofn arriving ip saddr @lost counter drop; "
    "add chain inet kofn leaving { type filter hook output priority 0; }; "
    "add rule inet kofn leaving ip daddr @unsent counter drop"
)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)


def _spawn(server: processes.Server, wrapper: list[str]) -> None:
    """As ``processes.spawn``, behind another command."""
    gunicorn = [sys.executable, "-m", "gunicorn", "-c", f"python:{server.package}.gunicorn_conf", "--name", server.mark]
    environment = processes.environment() | {f"KOFN_{server.package.upper()}_CONFIG": str(server.configuration)}
    with server.log.open("ab") as log:
        subprocess.Popen(
            [*wrapper, *gunicorn, f"{server.package}.wsgi:app"],
            cwd=server.directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _free_port() -> int:
    with socket.socket() as held:
        held.bind((HOST, 0))
        return int(held.getsockname()[1])
