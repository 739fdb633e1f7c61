"""Further gateways of a running cluster, real processes whose clocks are wrong (``wrong_clock``)."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import TracebackType

from http_vault import Api
from real_cluster import RealCluster

from cli import processes
from cli.local_plan import Layout
from model.identity import Role

READY_SECONDS = 40.0


class GatewayApart:
    """A further gateway of ``cluster`` whose clock is ``offset_seconds`` ahead (behind, if negative). A context manager."""

    def __init__(self, cluster: RealCluster, identifier: str, offset_seconds: int) -> None:
        self._cluster = cluster
        self._identifier = identifier
        self._offset_seconds = offset_seconds
        self._server = processes.Server(identifier, cluster.directory / identifier, "gateway")

    def __enter__(self) -> GatewayApart:
        try:
            self.start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._stop()

    def start(self) -> None:
        """Configure it like the first one, at a port of its own, and return when it is ready."""
        layout, directory = Layout(self._cluster.directory), self._server.directory
        directory.mkdir(mode=0o700)
        port = _free_port()
        layout.authority.issue(Role.GATEWAY, self._identifier, directory, ("localhost", "127.0.0.1"))
        settings = layout.gateway.configuration.read_text()
        settings = re.sub(r"(?m)^id = .*$", f'id = "{self._identifier}"', settings)
        settings = re.sub(r"(?m)^bind = .*$", f'bind = "127.0.0.1:{port}"', settings)
        self._server.configuration.write_text(settings)
        shutil.copy(layout.access_file, directory)
        self._spawn()
        self.url = f"https://127.0.0.1:{port}"
        _await_ready(self.url, self._cluster.ca_file, self._server.log)
        self.api = Api(self.url, self._cluster.token, self._cluster.ca_file)

    def _spawn(self) -> None:
        clock = [sys.executable, str(Path(__file__).with_name("wrong_clock.py")), str(self._offset_seconds)]
        gunicorn = ["gunicorn", "-c", "python:gateway.gunicorn_conf", "--name", self._server.mark, "gateway.wsgi:app"]
        environment = processes.environment() | {"KOFN_GATEWAY_CONFIG": str(self._server.configuration)}
        with self._server.log.open("ab") as log:
            subprocess.Popen(
                [*clock, *gunicorn],
                cwd=self._server.directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _stop(self) -> None:
        processes.kill(self._server)


def _await_ready(url: str, ca_file: Path, log: Path) -> None:
    context = ssl.create_default_context(cafile=str(ca_file))
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{url}/readyz", context=context, timeout=5):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{url} is not ready\n{log.read_text('utf-8', 'replace')}") from None
            time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])
