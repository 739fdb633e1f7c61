"""Server processes of a local cluster: start them, find them again, signal them.

A server carries a mark in its command line (gunicorn's ``--name``, which its workers inherit by forking). Whoever has the mark is
the server; so no process id is ever trusted from a file, where it may long since belong to somebody else. Each server leads its
own session, and signals go to that whole group: a worker never outlives its master, holding the port and the database. This reads
/proc, so it is for Linux.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_PASSED_ON = {"PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH"}
_GRACE_SECONDS = 10.0
_POLL_SECONDS = 0.05
_ROOT = Path(__file__).resolve().parent.parent
"""What holds the packages ``cli``, ``gateway``, ``node``: the servers come from the same tree as this command."""


@dataclass(frozen=True)
class Server:
    """One server of a local cluster: its folder (absolute), the package it runs and the setting that names its configuration."""

    id: str
    directory: Path
    package: str

    @property
    def configuration(self) -> Path:
        return self.directory / f"{self.package}.toml"

    @property
    def log(self) -> Path:
        return self.directory / "log"

    @property
    def mark(self) -> str:
        """What identifies this server's processes on this machine."""
        return f"kofn:{self.directory}"


def environment() -> dict[str, str]:
    """The little of this process's environment that a server gets: no token, no proxy, no gunicorn option."""
    kept = {name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith("LC_")}
    return kept | {"PYTHONPATH": str(_ROOT)}


def spawn(server: Server) -> subprocess.Popen[bytes]:
    """Start ``server`` in a session of its own; its output is appended to its log, which only the owner can read."""
    setting = f"KOFN_{server.package.upper()}_CONFIG"
    configuration = f"python:{server.package}.gunicorn_conf"
    descriptor = os.open(server.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(  # noqa: S603 - our own interpreter and modules
            [sys.executable, "-m", "gunicorn", "-c", configuration, "--name", server.mark, f"{server.package}.wsgi:app"],
            cwd=server.directory,
            env=environment() | {setting: str(server.configuration)},
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)


def found_node(configuration: Path) -> None:
    """Create a brand-new node's empty database. Raises CalledProcessError, whose ``stderr`` says why."""
    command = [sys.executable, "-m", "node.found", str(configuration)]
    subprocess.run(command, env=environment(), check=True, capture_output=True)  # noqa: S603 - our own interpreter and modules


def pids(server: Server) -> list[int]:
    """The processes of ``server`` that are alive, its master first; zombies have no command line and so do not count."""
    wanted = server.mark.encode()
    found = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal() and _has_mark(entry, wanted)]
    return sorted(found, key=lambda pid: (_session_of(pid) != pid, pid))


def master(server: Server) -> int | None:
    """The process id of ``server``'s master, the leader of its session; None when it is not running."""
    return next((pid for pid in pids(server) if _session_of(pid) == pid), None)


def send(server: Server, number: signal.Signals) -> bool:
    """Signal every process of ``server``; whether there was any."""
    groups = {group for pid in pids(server) if (group := _group_of(pid)) is not None}
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)
    return bool(groups)


def wait_gone(server: Server, seconds: float = _GRACE_SECONDS) -> bool:
    """Whether ``server`` has no process left within ``seconds``."""
    deadline = time.monotonic() + seconds
    while pids(server):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def stop(servers: list[Server]) -> None:
    """End ``servers``, all at once: politely, a paused one too, and after ten seconds by force."""
    for server in servers:
        leader = master(server)
        if leader is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(leader, signal.SIGTERM)
            send(server, signal.SIGCONT)
    deadline = time.monotonic() + _GRACE_SECONDS
    for server in servers:
        if not wait_gone(server, max(0.0, deadline - time.monotonic())):
            kill(server)


def kill(server: Server) -> None:
    """End ``server`` at once, workers included, and return when it is gone."""
    while send(server, signal.SIGKILL):
        time.sleep(_POLL_SECONDS)


def _has_mark(entry: Path, mark: bytes) -> bool:
    """Whether the mark is an argument or, where setproctitle is installed, stands in the title that gunicorn then takes instead."""
    try:
        arguments = (entry / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return mark in arguments or arguments[0] in {b"gunicorn: %s [%s]" % (role, mark) for role in (b"master", b"worker")}


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None
