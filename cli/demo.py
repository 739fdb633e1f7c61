"""``kofn demo``: the whole story on a fresh cluster, with real commands, each of whose claims is checked as it is told.

Every command that is shown is run as shown, by a shell, with ``kofn`` on its PATH. The cluster lives in a temporary folder and
goes with it, whatever happens.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from cli import local_plan, processes, theft
from cli.failure import Exit, Failure, RunExit
from cli.local_plan import Layout
from model.operation import SecretId

_THRESHOLD = 3
_NODES = tuple(f"node-{number}" for number in range(1, 6))
_KILLED = ("node-2", "node-4")
_STOLEN = ("node-1", "node-3")
_PATIENCE_SECONDS = 30.0


@click.command()
def demo() -> None:
    """Walk through everything on a fresh cluster in a temporary folder, and check each step.

    Exits with 0 only if each step was seen to hold. Takes less than a minute and leaves nothing behind.
    """
    with _folder() as folder:
        story = _Story(folder)
        for chapter in (
            story.starts,
            story.keeps_versions,
            story.encrypts_a_file,
            story.runs_a_program,
            story.survives_two_nodes,
            story.repairs_them,
            story.resists_theft,
            story.forgets,
        ):
            chapter()
        click.secho("\nEach step was seen to hold.", bold=True)


class _Story:
    """The chapters, in order; ``folder`` is the working directory of every command."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._layout = Layout(folder / "cluster")
        programs = folder / "bin"
        programs.mkdir()
        (programs / "kofn").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cli.main "$@"\n')
        (programs / "kofn").chmod(0o700)
        self._environment = {name: value for name, value in processes.environment().items() if name != "HOME"} | {
            "PATH": f"{programs}:{os.environ.get('PATH', os.defpath)}",
            "HOME": str(folder),
            "KOFN_DATA": str(self._layout.directory),
        }
        self._password, self._new_password = f"first-{secrets.token_hex(8)}", f"second-{secrets.token_hex(8)}"
        self._api_key = f"key-{secrets.token_hex(8)}"
        self._late = f"late-{secrets.token_hex(8)}"
        for name, value in (("password.txt", self._password), ("new-password.txt", self._new_password), ("late.txt", self._late)):
            (folder / name).write_text(value + "\n")
        (folder / ".env").write_text(
            f"# Settings of the app\nAPI_KEY={self._api_key}\nDATABASE_URL='postgres://app@db.internal/app'\n"
        )

    def starts(self) -> None:
        _title("A cluster of one gateway and five nodes, any three of which serve")
        self._run("kofn local start --port 0 --detach")
        self._run("kofn status")
        status = json.loads(self._quietly("kofn status --json"))
        _check(status["reads"] and status["writes"] and not status["degraded"], "it serves reads and writes, and nothing is amiss")

    def keeps_versions(self) -> None:
        _title("Create, update, history, and a read in the past")
        self._run("kofn create app/db-password < password.txt")
        self._run("kofn get app/db-password")
        _check(self._value("app/db-password") == self._password, "what was created is read")
        self._run("kofn create app/db-password < new-password.txt", exits=Exit.CONFLICT)
        self._run("kofn update app/db-password < new-password.txt")
        _check(self._value("app/db-password") == self._new_password, "the new version is read")
        self._run("kofn history app/db-password")
        versions = json.loads(self._quietly("kofn history app/db-password --json"))["versions"]
        _check([each["version"] for each in versions] == [1, 2], "both versions are there")
        _check(versions[0]["valid_to"] == versions[1]["valid_from"], "the second is valid from the moment that the first is not")
        past = self._run(f"kofn get app/db-password --at {versions[0]['valid_from']}")
        _check(past == self._password, "a read at a time of the first version gives the first value")

    def encrypts_a_file(self) -> None:
        _title("A real .env file")
        self._run("cat .env")
        self._run("kofn env encrypt .env --prefix app/ --key API_KEY")
        with (self._folder / ".env").open("a") as file:
            file.write("DATABASE_PASSWORD=secret(app/db-password)\n")
        shown = self._run("cat .env")
        _check("API_KEY=secret(app/API_KEY)" in shown and self._api_key not in shown, "the file holds a reference where the value was")
        _check(shown.startswith("# Settings of the app\n"), "the rest of the file is as it was")
        _check(self._value("app/API_KEY") == self._api_key, "the vault holds the value")

    def runs_a_program(self) -> None:
        _title("A program that gets the values, and knows nothing of the vault")
        shown = self._run("kofn run -- sh -c 'echo \"key $API_KEY, password $DATABASE_PASSWORD, token ${KOFN_TOKEN:-none}\"'")
        _check(shown == f"key {self._api_key}, password {self._new_password}, token none", "it has the values, and no token of the vault's")
        self._run("kofn run -- sh -c 'exit 42'", exits=42)
        (self._folder / "bad.env").write_text("A=secret(app/API_KEY)\nB=secret(app/misspelt)\n")
        shown = self._run("kofn run -f bad.env -- touch started", exits=RunExit.NOT_STARTED)
        _check("bad.env:2: secret(app/misspelt)" in shown, "a bad reference is named with file and line")
        _check(not (self._folder / "started").exists(), "nothing was started then")

    def survives_two_nodes(self) -> None:
        _title("Two of five nodes die")
        for node in _KILLED:
            self._run(f"kofn local kill {node}")
        self._run("kofn local status")
        _check(all(processes.master(self._layout.node(node)) is None for node in _KILLED), "both are gone")
        self._run("kofn get app/db-password")
        _check(self._value("app/db-password") == self._new_password, "reads go on")
        self._run("kofn create app/late < late.txt")
        self._run("kofn update app/API_KEY < late.txt")
        _check(self._value("app/late") == self._late and self._value("app/API_KEY") == self._late, "writes go on")
        _check(json.loads(self._quietly("kofn status --json"))["degraded"], "the vault says that it is degraded")

    def repairs_them(self) -> None:
        _title("They come back and are repaired")
        for node in _KILLED:
            _check(not self._shards(node, "app/late"), f"{node} holds nothing yet of what was written without it")
            self._run(f"kofn local restart {node}")
        missed = {"app/late": 1, "app/API_KEY": 2}

        def repaired() -> bool:
            return all(self._latest(node, name) == version for node in _KILLED for name, version in missed.items())

        self._await(repaired, "both hold their own shares of everything that was written without them", "repair")
        self._run("kofn local status")
        survivors = {node: self._shards(node, "app/late")[-1] for node in (*_KILLED, "node-1")}
        _check(theft.open_with(_secret("app/late"), survivors) == self._late.encode(), "their repaired shares open the value, with a third")

    def resists_theft(self) -> None:
        _title("A thief takes two nodes' databases")
        for node in _STOLEN:
            self._run(f"mkdir -p stolen/{node} && cp cluster/{node}/store.db* stolen/{node}/")
        values = [value.encode() for value in (self._password, self._new_password, self._api_key, self._late)]
        stolen = [self._folder / "stolen" / node for node in _STOLEN]
        _check(not theft.files_with(stolen, values), "no value stands in any of the files")
        secret = _secret("app/db-password")
        taken = {node: theft.shards(self._folder / "stolen" / node / "store.db", secret)[-1] for node in _STOLEN}
        _check(all(shard.header.threshold == _THRESHOLD for shard in taken.values()), "each holds one share, of which three are needed")
        _check(theft.open_with(secret, taken) is None, "the two shares together open nothing")
        third = taken | {"node-5": self._shards("node-5", "app/db-password")[-1]}
        _check(theft.open_with(secret, third) == self._new_password.encode(), "a third one would have: so that was a fair attempt")

    def forgets(self) -> None:
        _title("Delete, and nothing is left")
        names = ("app/db-password", "app/API_KEY", "app/late")
        held = [shard for node in _NODES for name in names for shard in self._shards(node, name)]
        needles = [part for shard in held for part in (shard.share, shard.sealed)]
        directories = [self._layout.node(node).directory for node in _NODES]
        _check(len(held) >= _THRESHOLD * 5 and bool(theft.files_with(directories, needles)), "shares of all versions are there before")
        for name in names:
            self._run(f"kofn delete {name} --yes")
        for command in ("kofn get app/db-password", "kofn history app/db-password"):
            self._run(command, exits=Exit.NOT_FOUND)
        _check(self._quietly("kofn list") == "", "the list is empty")
        self._await(lambda: not any(self._shards(node, name) for node in _NODES for name in names), "no node has a share", "erasure")
        self._await(lambda: not theft.files_with(directories, needles), "no share stands in the raw bytes of any node's files", "erasure")
        self._run("kofn local stop")

    def _run(self, command: str, exits: int = 0) -> str:
        """Show and run ``command``; its output, without the last newline. Raises Failure for an exit code other than ``exits``."""
        click.echo(click.style("$ ", dim=True) + click.style(command, bold=True))
        lines = []
        with self._shell(command) as process:
            assert process.stdout is not None
            for line in process.stdout:
                click.echo("  " + line.rstrip("\n"))
                lines.append(line)
            process.wait()
        if process.returncode != exits:
            raise Failure(f"this exited with {process.returncode} instead of {exits}", "the demonstration ends here")
        if exits:
            click.secho(f"  (exit code {exits})", dim=True)
        return "".join(lines).removesuffix("\n")

    def _quietly(self, command: str) -> str:
        with self._shell(command) as process:
            output, _ = process.communicate()
        return output

    @contextmanager
    def _shell(self, command: str) -> Iterator[subprocess.Popen[str]]:
        """``command`` in a process group of its own, which is ended first when this process is told to end."""
        process = subprocess.Popen(  # noqa: S602 - the commands are this file's own
            command,
            shell=True,
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        try:
            with process:
                yield process
        except KeyboardInterrupt:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise

    def _value(self, name: str) -> str:
        return self._quietly(f"kofn get {name}")

    def _shards(self, node: str, name: str) -> list[theft.Shard]:
        return theft.shards(self._layout.database(node), _secret(name))

    def _latest(self, node: str, name: str) -> int:
        return max((shard.header.version for shard in self._shards(node, name)), default=0)

    @staticmethod
    def _await(holds: Callable[[], bool], claim: str, what: str) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not holds() and time.monotonic() < deadline:
            click.echo(f"  waiting for {what}")
            time.sleep(0.5)
        _check(holds(), claim)


@contextmanager
def _folder() -> Iterator[Path]:
    """A temporary folder; at the end every process of the cluster in it is ended and the folder removed, on SIGTERM and SIGHUP too."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="kofn-demo-")).resolve()
    try:
        yield folder
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        layout = Layout(folder / "cluster")
        plan = local_plan.read_plan(layout)
        for server in (layout.gateway, *(layout.node(node) for node in (plan.node_ports if plan is not None else ()))):
            processes.kill(server)
        shutil.rmtree(folder, ignore_errors=True)


def _title(text: str) -> None:
    click.secho(f"\n{text}", bold=True, fg="cyan")


def _check(holds: Any, claim: str) -> None:
    if not holds:
        raise Failure(f"NOT seen to hold: {claim}", "the demonstration ends here")
    click.secho(f"  ok: {claim}", fg="green")


def _secret(name: str) -> SecretId:
    return SecretId("default", name)
