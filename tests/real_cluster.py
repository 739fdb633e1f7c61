"""A cluster of real processes: gunicorn, TLS and SQLite in a folder, driven by the ``kofn`` command, with its faults and a thief's view.

``RealCluster`` is a context manager: whatever happens inside, every process is gone afterwards.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from sqlite3 import OperationalError, connect
from types import TracebackType
from typing import Any

from http_vault import Api

from cli import processes, theft
from cli.local_plan import Layout
from model.grants import CAPABILITIES
from model.operation import SecretId

ROOT = Path(__file__).parent.parent
COMMAND_SECONDS = 120
HEALING_SECONDS = 40.0
"""How long the nodes may take to notice an absence (a sweep is 5 s) and make up for it, on a busy machine."""


class RealCluster:
    """One gateway and five nodes, of which three are needed, in ``directory``."""

    nodes = tuple(f"node-{number}" for number in range(1, 6))

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._layout = Layout(directory)
        self._down: set[str] = set()
        self._asleep: set[str] = set()

    def __enter__(self) -> RealCluster:
        try:
            self.start()
            description = json.loads(self._layout.cluster_file.read_text())
            self.url, self.ca_file = str(description["url"]), Path(description["ca_file"])
            self.token = Path(description["token_file"]).read_text().strip()
            self.api = Api(self.url, self.token, self.ca_file)
        except BaseException:
            self._reap()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            if kind is None:
                self.wake(*tuple(self._asleep))
                self.stop()
        finally:
            self._reap()

    def kofn(self, *args: str, succeeds: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the command on this cluster."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KOFN_")}
        environment |= {"KOFN_DATA": str(self.directory), "XDG_CONFIG_HOME": str(self.directory / "none"), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "cli.main", *args]
        result = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )
        assert result.returncode == 0 or not succeeds, f"kofn {' '.join(args)}: exit {result.returncode}\n{result.stderr}{self.logs()}"
        return result

    def start(self) -> None:
        """Start whatever does not run, and return when all are ready."""
        self.kofn("local", "start", "--port", "0", "--detach", "--json")
        self._down.clear()

    def stop(self) -> None:
        self.kofn("local", "stop")

    def spread(self, *names: str) -> None:
        """Wait until every node holds these secrets: of what was acknowledged just now some may hold nothing yet (SEM-6)."""
        for name in names:
            eventually(
                lambda name=name: all(len(nodes) == len(self.nodes) for nodes in self.holders(name)), f"every shard of {name} in its place"
            )

    def restart(self, server: str) -> None:
        self.kofn("local", "restart", server)
        self._down.discard(server)

    def kill(self, *servers: str) -> None:
        """kill -9, as ``kofn local kill`` does it but without the time that a command takes to begin.

        Returns when the kernel has closed all that they had open: until then a request may still be written into a dying connection,
        and then its outcome is rightly unknown.
        """
        for server in servers:
            pids = processes.pids(self._server(server))
            processes.kill(self._server(server))
            eventually(lambda pids=pids: all(map(_is_dead, pids)), f"{server} is dead")
            self._down.add(server)

    def pause(self, *servers: str) -> None:
        """SIGSTOP."""
        for server in servers:
            assert self.pause_if_running(server), f"{server} does not run"

    def pause_if_running(self, server: str) -> bool:
        """SIGSTOP; whether there was anything to stop."""
        running = processes.send(self._server(server), signal.SIGSTOP)
        if running:
            self._asleep.add(server)
        return running

    def wake(self, *servers: str) -> None:
        """SIGCONT."""
        for server in servers:
            processes.send(self._server(server), signal.SIGCONT)
            self._asleep.discard(server)

    def heal(self) -> None:
        """Wake what sleeps, start what is down."""
        self.wake(*tuple(self._asleep))
        if self._down:
            self.start()

    def database(self, node: str) -> Path:
        return self._layout.database(node)

    def store_files(self, node: str) -> list[Path]:
        """The database and what SQLite keeps beside it."""
        return sorted(self.database(node).parent.glob("store.db*"))

    def log(self, server: str) -> str:
        path = self._server(server).log
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def logs(self) -> str:
        """Everything that any process has ever written to its output."""
        return "".join(f"--- {server}\n{self.log(server)}" for server in (*self.nodes, "gateway"))

    def shards(self, node: str, name: str) -> list[theft.Shard]:
        """What a node's database holds of a secret, oldest version first."""
        return theft.shards(self.database(node), SecretId("default", name))

    def holders(self, name: str) -> list[tuple[str, ...]]:
        """For each version held anywhere, oldest first, the nodes that hold their shard of it."""
        by_version: dict[int, list[str]] = {}
        for node in self.nodes:
            for shard in self.shards(node, name):
                by_version.setdefault(shard.header.sequence, []).append(node)
        return [tuple(nodes) for _, nodes in sorted(by_version.items())]

    def coordinator_of(self, name: str) -> str:
        """The node that coordinated the newest write of a secret: its record's tag says so."""
        return next(shards[-1].header.tag.node for node in self.nodes if (shards := self.shards(node, name)))

    def unfinished(self) -> int:
        """How many records of all nodes are not known to be chosen, or tombstones not carried out."""
        return sum(_count(self.database(node), "SELECT count(*) FROM register WHERE unfinished") for node in self.nodes)

    def forget_disk(self, node: str) -> None:
        """A node that does not run loses its database."""
        for path in self.store_files(node):
            path.unlink()

    def add_token(self, identifier: str, secret_digest: str, namespaces: Iterable[str]) -> None:
        """Let the gateway know another token by its digest (hex), with every capability; it reads the file again when that changes."""
        path, listed = self._layout.access_file, ", ".join(f'"{namespace}"' for namespace in namespaces)
        capabilities = ", ".join(f'"{capability}"' for capability in CAPABILITIES)
        rule = f'namespaces = [{listed}]\npaths = ["**"]\ncapabilities = [{capabilities}]\n'
        token = f'[tokens.{identifier}]\ndigest = "{secret_digest}"\nprincipal = "{identifier}"\n'
        path.write_text(f"{path.read_text()}\n[[principals.{identifier}.allow]]\n{rule}{token}")

    def _server(self, identifier: str) -> processes.Server:
        return self._layout.gateway if identifier == "gateway" else self._layout.node(identifier)

    def _reap(self) -> None:
        for server in (*self.nodes, "gateway"):
            processes.kill(self._server(server))


def eventually(holds: Callable[[], Any], what: str, seconds: float = HEALING_SECONDS) -> None:
    """Wait until ``holds``; fails after ``seconds``, saying what was waited for and what it was last."""
    deadline = time.monotonic() + seconds
    while not (last := holds()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what} (last: {last!r})"
        time.sleep(0.05)


def disguises(data: bytes) -> set[bytes]:
    """The ways in which a value may stand in a file: as it is, in base64 wherever it begins, in hex, as Python shows it."""
    encoded = {base64.b64encode(b"\0" * lead + data)[4 if lead else 0 :].rstrip(b"=")[:-1] for lead in range(3)}
    return {data, data.hex().encode(), data.hex().upper().encode(), repr(data)[2:-1].encode(), *encoded}


def files_with(paths: Iterable[Path], secrets: Iterable[bytes]) -> list[Path]:
    """Those files in whose raw bytes any of ``secrets`` stands, in any of its disguises."""
    needles = {needle for secret in secrets for needle in disguises(secret)}
    return [path for path in paths if any(needle in content for content in [path.read_bytes()] for needle in needles)]


def _is_dead(pid: int) -> bool:
    """Whether nothing is left of a process but, perhaps, its entry in the process table."""
    folder = Path(f"/proc/{pid}")
    try:
        return len(list((folder / "task").iterdir())) == 1 and (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _count(database: Path, sql: str) -> int:
    try:
        with closing(connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            return int(connection.execute(sql).fetchone()[0])
    except OperationalError:
        return 1
