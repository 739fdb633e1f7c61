"""What is measured, as processes: the floor, and a fresh cluster, with its faults."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import usage
from benchmarks.load import Target
from benchmarks.usage import Cpu
from cli import local, processes
from cli.local import Cluster

HOST = "127.0.0.1"
FLOOR_WORKERS, FLOOR_THREADS = 2, 16
READY_SECONDS = 30.0
VALUE_BYTES = 1_048_576
"""The largest value that the clusters measured here take; by default a gateway takes 64 KiB."""

_ROOT = Path(__file__).resolve().parent.parent


class Floor:
    """The floor: where it listens, and its gunicorn master's process id."""

    def __init__(self, target: Target, pid: int) -> None:
        self.target = target
        self._pid = pid

    def cpu(self) -> Cpu:
        """What its processes have taken so far."""
        return Cpu(usage.cpu_seconds(self._pid))


class Vault:
    """A running cluster. Nodes are named by their place in the order of their ids."""

    def __init__(self, cluster: Cluster) -> None:
        layout, plan = cluster.layout, cluster.plan
        self._cluster = cluster
        self._nodes = [layout.node(node) for node in plan.node_ports]
        self.target = Target(HOST, plan.gateway_port, "/healthz", ssl.create_default_context(cafile=layout.authority.certificate_file))
        self.token = layout.token_file.read_text("ascii").strip()
        self._masters = self._find_masters()

    def cpu(self) -> Cpu:
        """What the gateway's and the nodes' processes have taken so far."""
        gateway, *nodes = map(usage.cpu_seconds, self._masters)
        return Cpu(gateway, tuple(nodes))

    def gateway_megabytes(self) -> float:
        """The gateway's resident memory."""
        return sum(usage.megabytes(master) for master in self._masters[:1] if master is not None)

    def node_megabytes(self) -> list[float]:
        """The resident memory of each node that runs."""
        return [usage.megabytes(master) for master in self._masters[1:] if master is not None]

    def node_disk_bytes(self) -> list[int]:
        """The size of each node's database files, write-ahead log included."""
        return [sum(path.stat().st_size for path in node.directory.glob("store.db*")) for node in self._nodes]

    def database(self, place: int) -> Path:
        return self._cluster.layout.database(self._nodes[place].id)

    def kill(self, place: int) -> None:
        """kill -9; returns when the node is gone."""
        processes.kill(self._nodes[place])
        self._masters = self._find_masters()

    def start(self) -> None:
        """Start the nodes that do not run; returns when all are ready."""
        self._cluster.start(self._cluster.servers, lambda _: None)
        self._masters = self._find_masters()

    def runs(self, place: int) -> bool:
        return self._masters[1 + place] is not None

    def pause(self, place: int) -> None:
        """SIGSTOP, to the node's process group, at once."""
        self._signal(place, signal.SIGSTOP)

    def wake(self, place: int) -> None:
        """SIGCONT."""
        self._signal(place, signal.SIGCONT)

    def _signal(self, place: int, number: signal.Signals) -> None:
        master = self._masters[1 + place]
        assert master is not None, "only a node that runs is signalled"
        os.killpg(master, number)

    def _find_masters(self) -> list[int | None]:
        """The process ids of the gateway and of each node; None for one that does not run."""
        return [processes.master(server) for server in (self._cluster.layout.gateway, *self._nodes)]


@contextlib.contextmanager
def floor() -> Iterator[Floor]:
    """The floor, running until the end of the block."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = int(probe.getsockname()[1])
    options = ["-k", "gthread", "-w", str(FLOOR_WORKERS), "--threads", str(FLOOR_THREADS), "--keep-alive", "75", "--log-level", "warning"]
    command = [sys.executable, "-m", "gunicorn", "-b", f"{HOST}:{port}", *options, "benchmarks.floor:app"]
    process = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        _await_floor(process, port)
        yield Floor(Target(HOST, port, "/floor"), process.pid)
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def vault(node_count: int = 5, threshold: int = 3) -> Iterator[Vault]:
    """A fresh cluster, over mutual TLS, in a temporary folder; killed and removed at the end of the block."""
    directory = Path(tempfile.mkdtemp(prefix="kofn-benchmark-"))
    try:
        with local.locked(directory) as layout:
            cluster = local.find_or_create(layout, node_count, threshold, 0)
            settings = layout.gateway.configuration
            settings.write_text(f"value_bytes = {VALUE_BYTES}\n{settings.read_text('utf-8')}", "utf-8")
            try:
                cluster.start(cluster.servers, lambda _: None)
                yield Vault(cluster)
            finally:
                for server in cluster.servers:
                    processes.kill(server)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _await_floor(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        connection = http.client.HTTPConnection(HOST, port, timeout=5)
        try:
            connection.request("GET", "/floor")
            connection.getresponse().read()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the floor did not start") from None
            time.sleep(0.1)
        else:
            return
        finally:
            connection.close()
