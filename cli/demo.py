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
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from cli import local_plan, processes, stage, theft
from cli.failure import Exit, RunExit
from cli.local_plan import Layout
from cli.stage import check, title
from model.operation import SecretId

_THRESHOLD = 3
_NODES = tuple(f"node-{number}" for number in range(1, 6))
_KILLED = ("node-2", "node-4")
_STOLEN = ("node-1", "node-3")


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
        self._stage = stage.Stage(
            folder,
            processes.environment()
            | {
                "PATH": f"{programs}:{os.environ.get('PATH', os.defpath)}",
                "HOME": str(folder),
                "KOFN_DATA": str(self._layout.directory),
            },
        )
        self._password, self._new_password = f"first-{secrets.token_hex(8)}", f"second-{secrets.token_hex(8)}"
        self._api_key = f"key-{secrets.token_hex(8)}"
        self._late = f"late-{secrets.token_hex(8)}"
        for name, value in (("password.txt", self._password), ("new-password.txt", self._new_password), ("late.txt", self._late)):
            (folder / name).write_text(value + "\n")
        (folder / ".env").write_text(f"# Settings of the app\nAPI_KEY={self._api_key}\nDATABASE_URL='postgres://app@db.internal/app'\n")

    def starts(self) -> None:
        title("A cluster of one gateway and five nodes, any three of which serve")
        self._stage.run("kofn local start --port 0 --detach")
        self._stage.run("kofn status")
        status = json.loads(self._stage.quietly("kofn status --json"))
        check(status["reads"] and status["writes"] and not status["degraded"], "it serves reads and writes, and nothing is amiss")

    def keeps_versions(self) -> None:
        title("Create, update, history, and a read in the past")
        self._stage.run("kofn create app/db-password < password.txt")
        self._stage.run("kofn get app/db-password")
        check(self._value("app/db-password") == self._password, "what was created is read")
        self._stage.run("kofn create app/db-password < new-password.txt", exits=Exit.CONFLICT)
        self._stage.run("kofn update app/db-password < new-password.txt")
        check(self._value("app/db-password") == self._new_password, "the new version is read")
        self._stage.run("kofn history app/db-password")
        versions = json.loads(self._stage.quietly("kofn history app/db-password --json"))["versions"]
        check([each["version"] for each in versions] == [1, 2], "both versions are there")
        check(versions[0]["valid_to"] == versions[1]["valid_from"], "the second is valid from the moment that the first is not")
        past = self._stage.run(f"kofn get app/db-password --at {versions[0]['valid_from']}")
        check(past == self._password, "a read at a time of the first version gives the first value")

    def encrypts_a_file(self) -> None:
        title("A real .env file")
        self._stage.run("cat .env")
        self._stage.run("kofn env encrypt .env --prefix app/ --key API_KEY")
        with (self._folder / ".env").open("a") as file:
            file.write("DATABASE_PASSWORD=secret(app/db-password)\n")
        shown = self._stage.run("cat .env")
        check("API_KEY=secret(app/API_KEY)" in shown and self._api_key not in shown, "the file holds a reference where the value was")
        check(shown.startswith("# Settings of the app\n"), "the rest of the file is as it was")
        check(self._value("app/API_KEY") == self._api_key, "the vault holds the value")

    def runs_a_program(self) -> None:
        title("A program that gets the values, and knows nothing of the vault")
        shown = self._stage.run("kofn run -- sh -c 'echo \"key $API_KEY, password $DATABASE_PASSWORD, token ${KOFN_TOKEN:-none}\"'")
        check(shown == f"key {self._api_key}, password {self._new_password}, token none", "it has the values, and no token of the vault's")
        self._stage.run("kofn run -- sh -c 'exit 42'", exits=42)
        (self._folder / "bad.env").write_text("A=secret(app/API_KEY)\nB=secret(app/misspelt)\n")
        shown = self._stage.run("kofn run -f bad.env -- touch started", exits=RunExit.NOT_STARTED)
        check("bad.env:2: secret(app/misspelt)" in shown, "a bad reference is named with file and line")
        check(not (self._folder / "started").exists(), "nothing was started then")

    def survives_two_nodes(self) -> None:
        title("Two of five nodes die")
        for node in _KILLED:
            self._stage.run(f"kofn local kill {node}")
        self._stage.run("kofn local status")
        check(all(processes.master(self._layout.node(node)) is None for node in _KILLED), "both are gone")
        self._stage.run("kofn get app/db-password")
        check(self._value("app/db-password") == self._new_password, "reads go on")
        self._stage.run("kofn create app/late < late.txt")
        self._stage.run("kofn update app/API_KEY < late.txt")
        check(self._value("app/late") == self._late and self._value("app/API_KEY") == self._late, "writes go on")
        check(json.loads(self._stage.quietly("kofn status --json"))["degraded"], "the vault says that it is degraded")

    def repairs_them(self) -> None:
        title("They come back and are repaired")
        for node in _KILLED:
            check(not self._shards(node, "app/late"), f"{node} holds nothing yet of what was written without it")
            self._stage.run(f"kofn local restart {node}")
        missed = {"app/late": 1, "app/API_KEY": 2}

        def repaired() -> bool:
            return all(self._latest(node, name) == version for node in _KILLED for name, version in missed.items())

        stage.wait_for(repaired, "both hold their own shares of everything that was written without them", "repair")
        self._stage.run("kofn local status")
        survivors = {node: self._shards(node, "app/late")[-1] for node in (*_KILLED, "node-1")}
        check(theft.open_with(_secret("app/late"), survivors) == self._late.encode(), "their repaired shares open the value, with a third")

    def resists_theft(self) -> None:
        title("A thief takes two nodes' databases")
        for node in _STOLEN:
            self._stage.run(f"mkdir -p stolen/{node} && cp cluster/{node}/store.db* stolen/{node}/")
        values = [value.encode() for value in (self._password, self._new_password, self._api_key, self._late)]
        stolen = [self._folder / "stolen" / node for node in _STOLEN]
        check(not theft.files_with(stolen, values), "no value stands in any of the files")
        secret = _secret("app/db-password")
        taken = {node: theft.shards(self._folder / "stolen" / node / "store.db", secret)[-1] for node in _STOLEN}
        check(all(shard.header.threshold == _THRESHOLD for shard in taken.values()), "each holds one share, of which three are needed")
        check(theft.open_with(secret, taken) is None, "the two shares together open nothing")
        third = taken | {"node-5": self._shards("node-5", "app/db-password")[-1]}
        check(theft.open_with(secret, third) == self._new_password.encode(), "a third one would have: so that was a fair attempt")

    def forgets(self) -> None:
        title("Delete, and nothing is left")
        names = ("app/db-password", "app/API_KEY", "app/late")
        held = [shard for node in _NODES for name in names for shard in self._shards(node, name)]
        needles = [part for shard in held for part in (shard.share, shard.sealed)]
        directories = [self._layout.node(node).directory for node in _NODES]
        check(len(held) >= _THRESHOLD * 5 and bool(theft.files_with(directories, needles)), "shares of all versions are there before")
        for name in names:
            self._stage.run(f"kofn delete {name} --yes")
        for command in ("kofn get app/db-password", "kofn history app/db-password"):
            self._stage.run(command, exits=Exit.NOT_FOUND)
        check(self._stage.quietly("kofn list") == "", "the list is empty")
        stage.wait_for(lambda: not any(self._shards(node, name) for node in _NODES for name in names), "no node has a share", "erasure")
        stage.wait_for(lambda: not theft.files_with(directories, needles), "no share stands in the raw bytes of any node's file", "erasure")
        self._stage.run("kofn local stop")

    def _value(self, name: str) -> str:
        return self._stage.quietly(f"kofn get {name}")

    def _shards(self, node: str, name: str) -> list[theft.Shard]:
        return theft.shards(self._layout.database(node), _secret(name))

    def _latest(self, node: str, name: str) -> int:
        return max((shard.header.version for shard in self._shards(node, name)), default=0)


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


def _secret(name: str) -> SecretId:
    return SecretId("default", name)
