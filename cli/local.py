"""A whole cluster on this machine: start, stop, kill, restart. One command at a time works on a folder, held by a lock.

What runs is read from the process table each time, never remembered. ``cluster.json`` is written for others to read.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cli import client, local_plan, processes
from cli.failure import Exit, Failure
from cli.local_plan import HOST, Layout, Plan
from cli.processes import Server

_NODES, _THRESHOLD, _PORT = 5, 3, 8200
_READY_SECONDS = 60.0
_POLL_SECONDS = 0.1
_ENDING = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGABRT}


@dataclass(frozen=True)
class Cluster:
    """An existing local cluster. Methods that change something must run under ``locked``."""

    layout: Layout
    plan: Plan

    @property
    def servers(self) -> list[Server]:
        """Nodes first, the gateway last."""
        return [*(self.layout.node(node) for node in self.plan.node_ports), self.layout.gateway]

    def server(self, identifier: str) -> Server:
        """The server of this id. Raises Failure (usage) for another."""
        for server in self.servers:
            if server.id == identifier:
                return server
        raise Failure("this cluster has no such server", f"choose one of {', '.join(server.id for server in self.servers)}", Exit.USAGE)

    def port(self, server: Server) -> int:
        return self.plan.gateway_port if server.package == "gateway" else self.plan.node_ports[server.id]

    def start(self, servers: list[Server], notice: Callable[[str], None]) -> None:
        """Start those of ``servers`` that do not run, and return when all are ready; a node that lost its folder gets it back first.

        Raises Failure for a port in use, and when one ends or is not ready within a minute; what was started here is stopped then.
        """
        absent = [server for server in servers if processes.master(server) is None]
        for server in absent:
            processes.kill(server)
            _check_port(self.port(server), server.id, "make a cluster with another --port (0 finds free ones) in another --data")
            if server.package == "node":
                local_plan.restore_node(self.layout, self.plan, server.id)
        started: dict[str, subprocess.Popen[bytes]] = {}
        try:
            for server in absent:
                notice(f"starting {server.id}")
                started[server.id] = processes.spawn(server)
            self._await_ready(servers, started, notice)
        except BaseException:
            processes.stop(absent)
            raise
        finally:
            self.record()

    def stop(self, servers: list[Server]) -> None:
        """Stop ``servers``: the gateway first, so that no request is cut off at a node, then the nodes at once."""
        processes.stop([server for server in servers if server.package == "gateway"])
        processes.stop([server for server in servers if server.package == "node"])
        self.record()

    def send(self, server: Server, number: signal.Signals) -> None:
        """Signal all processes of ``server``; after a signal that ends, wait until they are gone. Raises Failure when it does not run."""
        if not processes.send(server, number):
            self.record()
            raise Failure(f"{server.id} is not running", f"run: kofn local restart {server.id}", Exit.CONFLICT)
        if number in _ENDING:
            processes.wait_gone(server)
        self.record()

    def is_ready(self, server: Server) -> bool:
        """Whether it answers: a node that it is alive, the gateway that it can serve reads."""
        path = "readyz" if server.package == "gateway" else "healthz"
        held = self.layout.gateway.directory
        return client.is_ready(
            f"https://{HOST}:{self.port(server)}/{path}", self.layout.authority.certificate_file, (held / "cert.pem", held / "key.pem")
        )

    def record(self) -> dict[str, object]:
        return local_plan.record(self.layout, self.plan)

    def _await_ready(self, servers: list[Server], started: dict[str, subprocess.Popen[bytes]], notice: Callable[[str], None]) -> None:
        waiting = list(servers)
        deadline = time.monotonic() + _READY_SECONDS
        while waiting:
            for server in list(waiting):
                if server.id in started and started[server.id].poll() is not None:
                    raise Failure(f"{server.id} ended while starting", f"see {server.log}", items=_tail(server.log))
                if self.is_ready(server):
                    waiting.remove(server)
                    notice(f"{server.id} is ready")
            if waiting and time.monotonic() > deadline:
                late = ", ".join(server.id for server in waiting)
                raise Failure(f"not ready after {_READY_SECONDS:.0f} s: {late}", f"see {waiting[0].log}", items=_tail(waiting[0].log))
            time.sleep(_POLL_SECONDS if waiting else 0)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[Layout]:
    """The cluster's folder, created with mode 0700 when absent, for one command at a time; others wait."""
    directory = directory.absolute()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = directory.resolve()
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Failure(f"cannot use the folder {directory}: {error.strerror}", "choose another with --data", Exit.USAGE) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield Layout(directory)
    finally:
        os.close(descriptor)


def no_cluster(directory: Path) -> Failure:
    """What to raise where there is no cluster."""
    return Failure(f"there is no cluster in {directory}", "run: kofn local start, or name another folder with --data", Exit.NOT_FOUND)


def find(layout: Layout) -> Cluster:
    """The cluster in this folder. Raises Failure where there is none."""
    plan = local_plan.read_plan(layout)
    if plan is None or not layout.cluster_file.exists():
        raise no_cluster(layout.directory)
    return Cluster(layout, plan)


def find_or_create(layout: Layout, node_count: int | None, threshold: int | None, port: int | None) -> Cluster:
    """The cluster in this folder, created when absent. None stands for the default, or for what an existing cluster has.

    Raises Failure (usage) when an existing cluster has other numbers than those asked for, and, with nothing made yet, for a port in use.
    """
    plan = local_plan.read_plan(layout)
    if plan is None:
        plan = local_plan.new_plan(node_count or _NODES, threshold or _THRESHOLD, _PORT if port is None else port)
        for identifier, needed in {"gateway": plan.gateway_port, **plan.node_ports}.items():
            _check_port(needed, identifier, "choose another --port (0 finds free ones)")
    asked = {
        "--nodes": (node_count, len(plan.node_ports)),
        "--threshold": (threshold, plan.threshold),
        "--port": (port or None, plan.gateway_port),
    }
    for option, (wanted, present) in asked.items():
        if wanted is not None and wanted != present:
            raise Failure(f"the cluster in {layout.directory} has {option} {present}", "leave it out, or choose another --data", Exit.USAGE)
    local_plan.complete(layout, plan)
    cluster = Cluster(layout, plan)
    cluster.record()
    return cluster


def _check_port(port: int, identifier: str, otherwise: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise Failure(f"port {port}, for {identifier}, is in use", f"stop what uses it, or {otherwise}") from None


def _tail(log: Path) -> list[str]:
    try:
        return log.read_text("utf-8", "replace").splitlines()[-8:]
    except OSError:
        return []
