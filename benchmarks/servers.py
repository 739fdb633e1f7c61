"""What is measured, as processes: the floor, and a fresh cluster of five nodes; their memory and their CPU time from /proc."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from benchmarks.load import Target

HOST = "127.0.0.1"
FLOOR_WORKERS, FLOOR_THREADS = 2, 16
READY_SECONDS = 30.0

_ROOT = Path(__file__).resolve().parent.parent
_TICKS = os.sysconf("SC_CLK_TCK")


class Cpu(NamedTuple):
    """CPU seconds of the server that answers (the floor, or the gateway) and of each node behind it."""

    front: float
    nodes: tuple[float, ...]

    def since(self, before: Cpu) -> Cpu:
        """The CPU seconds between ``before`` and this; nodes sorted, the busiest first: that is the one that coordinates."""
        spent = (now - then for now, then in zip(self.nodes, before.nodes, strict=True))
        return Cpu(self.front - before.front, tuple(sorted(spent, reverse=True)))


class Server(NamedTuple):
    """Something to measure: where it listens, and its gunicorn masters' process ids. ``token`` is for the vault."""

    target: Target
    front: int
    nodes: tuple[int, ...] = ()
    token: str = ""

    def __repr__(self) -> str:
        return f"Server(front={self.front})"

    def cpu(self) -> Cpu:
        """What its processes have taken so far."""
        return Cpu(_cpu_seconds(self.front), tuple(map(_cpu_seconds, self.nodes)))

    def node_megabytes(self) -> list[float]:
        """Each node's resident memory, MB, the worker's own."""
        return [_resident_bytes(worker) / 1e6 for node in self.nodes for worker in _children(node)]


@contextlib.contextmanager
def floor() -> Iterator[Server]:
    """The floor, running until the end of the block."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = int(probe.getsockname()[1])
    options = ["-k", "gthread", "-w", str(FLOOR_WORKERS), "--threads", str(FLOOR_THREADS), "--keep-alive", "75", "--log-level", "warning"]
    command = [sys.executable, "-m", "gunicorn", "-b", f"{HOST}:{port}", *options, "benchmarks.floor:app"]
    process = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.DEVNULL)
    try:
        _await_floor(process, port)
        yield Server(Target(HOST, port, "/floor"), process.pid)
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def vault() -> Iterator[Server]:
    """A fresh cluster of five nodes, k=3, over mutual TLS, in a temporary folder; stopped and removed at the end of the block."""
    directory = Path(tempfile.mkdtemp(prefix="kofn-benchmark-"))
    try:
        described = _kofn("start", directory, "--nodes", "5", "--threshold", "3", "--port", "0", "--detach", "--json")
        cluster = json.loads(described)
        context = ssl.create_default_context(cafile=cluster["ca_file"])
        target = Target(HOST, int(urlsplit(cluster["url"]).port or 0), "/healthz", context)
        nodes = tuple(node["pid"] for node in cluster["nodes"])
        yield Server(target, cluster["gateway"]["pid"], nodes, Path(cluster["token_file"]).read_text("ascii").strip())
    finally:
        if (directory / "cluster.json").exists():
            _kofn("stop", directory)
        shutil.rmtree(directory, ignore_errors=True)


def _kofn(verb: str, directory: Path, *options: str) -> str:
    """Run ``kofn local VERB``. Raises CalledProcessError; what it says on stderr is shown."""
    command = [sys.executable, "-m", "cli.main", "local", verb, "--data", str(directory), *options]
    return subprocess.run(command, cwd=_ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


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


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


def _cpu_seconds(master: int) -> float:
    """User and system time of a gunicorn master and its workers."""
    total = 0
    for pid in (master, *_children(master)):
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
