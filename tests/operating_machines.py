"""The machines of docs/operating.md, as folders: its commands run as printed, but for paths, ports, and what needs root.

``Machines`` is a context manager: whatever happens inside, every process is gone afterwards. A block of commands says on its fence which
machine it is for: ``node`` is every node in turn, ``node-3`` that one.
"""

from __future__ import annotations

import getpass
import grp
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "operating.md"
NODES = tuple(f"node-{number}" for number in range(1, 6))
GATEWAY = "gateway-1"
MACHINES = (*NODES, GATEWAY, "authority", "client")
_SECONDS = 60
_MOVED = ("/etc/kofn", "/var/lib/kofn", "/var/backups/kofn")
_STAND_INS = {
    "systemctl": f'exec {shlex.quote(sys.executable)} {shlex.quote(str(Path(__file__).with_name("systemctl_stand_in.py")))} "$@"',
    "journalctl": 'exec cat "$MACHINE/journal"',
    "runuser": 'shift 3; exec "$@"',
    "scp": 'shift; for last; do :; done; host=${last#root@}; exec cp -p "${@:1:$#-1}" "$MACHINES/${host%%.*}${last#*:}"',
}


class Block(NamedTuple):
    """Commands of the document: the heading they stand under, the machine they are for, the text."""

    section: str
    place: str
    text: str


def blocks() -> list[Block]:
    """Every block of shell commands in the document, in its order."""
    found, section = list[Block](), ""
    for match in re.finditer(r"^## (?P<heading>[^\n]+)$|^```sh (?P<place>\S+)\n(?P<text>.*?)^```$", DOCUMENT.read_text(), re.M | re.S):
        section = match["heading"] or section
        if match["place"]:
            found.append(Block(section, match["place"], match["text"]))
    return found


class Machines:
    """Five nodes, a gateway, an authority and a client below ``folder``. Unix sockets need short paths, so notifications go elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports = dict(zip((*NODES, GATEWAY), _free_ports(len(NODES) + 1), strict=True))
        self._sockets = Path(tempfile.mkdtemp(prefix="kofn-"))
        self._tools = folder / "bin"
        self._tools.mkdir()
        for name, command in _STAND_INS.items():
            path = self._tools / name
            path.write_text(f"#!/bin/bash\n{command}\n")
            path.chmod(0o700)
        for machine in MACHINES:
            self.prepare(machine)

    def __enter__(self) -> Machines:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        for machine in MACHINES:
            for unit in ("kofn-node", "kofn-gateway"):
                self.sh(machine, f"systemctl kill {unit}")
        shutil.rmtree(self._sockets)

    @property
    def url(self) -> str:
        return f"https://localhost:{self._ports[GATEWAY]}"

    def prepare(self, machine: str) -> None:
        """A new, empty machine under a name."""
        shutil.rmtree(self.folder / machine, ignore_errors=True)
        (self.folder / machine).mkdir()
        (self.folder / machine / "journal").touch()

    def do(self, section: str, only: slice = slice(None)) -> str:
        """Run the blocks under a heading one after the other, each on all its machines at once; what they printed."""
        chosen = [block for block in blocks() if block.section == section][only]
        assert chosen, section
        printed = list[str]()
        with ThreadPoolExecutor(len(NODES)) as pool:
            for block in chosen:
                places = _machines(block.place)
                printed += pool.map(self.sh, places, [block.text] * len(places))
        return "".join(printed)

    def sh(self, machine: str, commands: str) -> str:
        """Run commands on a machine, as printed but for paths and ports. Fails if any of them does."""
        home = self.folder / machine
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("KOFN_", "XDG_"))} | {
            "PATH": f"{self._tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "MACHINE": str(home),
            "MACHINES": str(self.folder),
            "SOCKETS": str(self._sockets),
        }
        script = f"set -euo pipefail\n{self._translated(machine, commands)}"
        run = subprocess.run(
            ["bash", "-c", script],
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        assert run.returncode == 0, f"on {machine}: exit {run.returncode}\n{script}\n{run.stdout}{run.stderr}{self.journal(machine)}"
        return run.stdout

    def journal(self, machine: str) -> str:
        return (self.folder / machine / "journal").read_text()

    def path(self, machine: str, path: str) -> Path:
        """Where an absolute path of a machine is."""
        return self.folder / machine / path.lstrip("/")

    def _translated(self, machine: str, commands: str) -> str:
        text = commands.replace('id = "node-1"', f'id = "{machine}"') if machine in NODES else commands
        for path in _MOVED:
            text = re.sub(rf"(?<![\w:.-]){path}", f"{self.folder / machine}{path}", text)
        text = text.replace("/opt/kofn/bin", str(Path(sys.executable).parent))
        text = re.sub(r'bind = "0\.0\.0\.0:\d+"', lambda _: f'bind = "127.0.0.1:{self._ports[machine]}"', text)
        text = re.sub(r"(node-\d|gateway-1)\.example\.net:82\d\d", lambda match: f"localhost:{self._ports[match[1]]}", text)
        text = re.sub(r"--host \S+\.example\.net", "--host localhost", text)
        user, group = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
        return re.sub(r"(-o|chown) kofn-(?:node|gateway)( -g |:)kofn-(?:node|gateway)", rf"\1 {user}\g<2>{group}", text)


def _machines(place: str) -> tuple[str, ...]:
    return {"node": NODES, "gateway": (GATEWAY,)}.get(place, (place,))


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, all different because all are held until the last is found."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [int(each.getsockname()[1]) for each in held]
    finally:
        for each in held:
            each.close()
