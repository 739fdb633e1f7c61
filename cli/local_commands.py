"""``kofn local``: a whole cluster on this machine, for development, tests and demonstrations."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import click

from cli import local as clusters
from cli import output, processes
from cli.failure import Exit, Failure
from cli.local import Cluster
from cli.progress import progress
from cli.settings import local_data

_WATCH_SECONDS = 0.5

_data = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="The cluster's folder.  [default: KOFN_DATA, or ~/.local/share/kofn/local]",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print the content of cluster.json.")


class _Signal(click.ParamType[signal.Signals]):
    """A signal by its name, with or without SIG."""

    name = "signal"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> signal.Signals:  # noqa: ARG002 - click's signature
        try:
            return signal.Signals[f"SIG{str(value).upper().removeprefix('SIG')}"]
        except KeyError:
            raise Failure("there is no such signal", "name one such as TERM, KILL, STOP or CONT", Exit.USAGE) from None


@click.group()
def local() -> None:
    """A gateway and its nodes on this machine, over mutual TLS on 127.0.0.1."""


@local.command()
@_data
@click.option("--nodes", type=click.IntRange(2, 255), help="How many nodes a new cluster gets.  [default: 5]")
@click.option("--threshold", type=click.IntRange(min=2), help="How many of them are needed, and are enough.  [default: 3]")
@click.option("--port", type=click.IntRange(0, 65535), help="The gateway's port, the nodes' follow; 0 finds free ones.  [default: 8200]")
@click.option("--detach", is_flag=True, help="Return when it is ready, and leave it running.")
@_json
def start(*, data: Path | None, nodes: int | None, threshold: int | None, port: int | None, detach: bool, as_json: bool) -> None:
    """Start a cluster, created when absent, and wait until it is ready.

    On an existing folder this starts what is not running; all data is kept. Without --detach it stays in the foreground and stops
    everything on Ctrl-C or SIGTERM.
    """
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)
    with clusters.locked(_directory(data)) as layout, progress("preparing the cluster") as notice:
        cluster = clusters.find_or_create(layout, nodes, threshold, port)
        try:
            cluster.start(cluster.servers, notice)
        except KeyboardInterrupt:
            raise click.Abort from None
        description = cluster.record()
    try:
        by_default = cluster.layout.directory == local_data(os.environ).absolute().resolve()
        text = json.dumps(description) if as_json else _introduction(cluster, by_default=by_default, detached=detach)
        output.show(text, lost="the cluster runs; run: kofn local stop, to end it")
        if not detach:
            _watch(cluster)
    except KeyboardInterrupt:
        if detach:
            raise
        _end(cluster)
    if not detach:
        click.echo("stopped", err=True)


@local.command()
@_data
def stop(data: Path | None) -> None:
    """Stop every process of the cluster; its data stays."""
    with clusters.locked(_existing(data)) as layout, progress("stopping the cluster"):
        cluster = clusters.find(layout)
        cluster.stop(cluster.servers)
    click.echo("stopped", err=True)


@local.command()
@_data
@_json
def status(data: Path | None, as_json: bool) -> None:
    """Print each server's state: ready, running (but not answering), or stopped."""
    with clusters.locked(_existing(data)) as layout:
        cluster = clusters.find(layout)
        description = cluster.record()
    if as_json:
        output.show(json.dumps(description))
        return
    for server in cluster.servers:
        pid = processes.master(server)
        state = "stopped" if pid is None else "ready" if cluster.is_ready(server) else "running"
        output.show(f"{server.id}\t{state}\t{pid or '-'}\thttps://127.0.0.1:{cluster.port(server)}")


@local.command()
@_data
@click.argument("identifier", metavar="ID")
@click.option("--signal", "number", type=_Signal(), metavar="NAME", default="KILL", show_default=True, help="The signal, such as TERM.")
def kill(data: Path | None, identifier: str, number: signal.Signals) -> None:
    """Signal every process of the node ID (or of: gateway)."""
    with clusters.locked(_existing(data)) as layout:
        cluster = clusters.find(layout)
        server = cluster.server(identifier)
        cluster.send(server, number)
    click.echo(f"sent {number.name} to {server.id}", err=True)


@local.command()
@_data
@click.argument("identifier", metavar="ID")
def restart(data: Path | None, identifier: str) -> None:
    """Stop the node ID (or: gateway) if it runs, start it, and wait until it is ready."""
    with clusters.locked(_existing(data)) as layout:
        cluster = clusters.find(layout)
        server = cluster.server(identifier)
        with progress(f"restarting {server.id}") as notice:
            cluster.stop([server])
            cluster.start([server], notice)
    click.echo(f"restarted {server.id}", err=True)


def _directory(data: Path | None) -> Path:
    return local_data(os.environ) if data is None else data


def _existing(data: Path | None) -> Path:
    directory = _directory(data)
    if not directory.is_dir():
        raise clusters.no_cluster(directory)
    return directory


def _introduction(cluster: Cluster, *, by_default: bool, detached: bool) -> str:
    layout = cluster.layout
    setting = "" if by_default else f"KOFN_DATA={layout.directory} "
    authorization = f'"Authorization: Bearer $(cat {layout.token_file})"'
    where = "here" if detached else "in another terminal"
    return f"""\
url         {cluster.plan.url}
token file  {layout.token_file}
ca file     {layout.authority.certificate_file}

Any {cluster.plan.threshold} of its {len(cluster.plan.node_ports)} nodes serve. Try, {where}:
  echo correct horse | {setting}kofn create app/password
  {setting}kofn get app/password
  curl --cacert {layout.authority.certificate_file} -H {authorization} {cluster.plan.url}/api/v1/status"""


def _watch(cluster: Cluster) -> None:
    """Say which servers end, and keep ``cluster.json`` current; returns when all have ended."""
    running = {server.id for server in cluster.servers}  # all were ready; one that has ended since is news
    while running:
        _reap()
        now = _running(cluster)
        for identifier in sorted(running - now):
            click.echo(f"{identifier} ended", err=True)
        if now != running:
            with clusters.locked(cluster.layout.directory):
                cluster.record()
        running = now
        time.sleep(_WATCH_SECONDS)


def _end(cluster: Cluster) -> None:
    """Stop everything, whatever signal comes now."""
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.SIG_IGN)
    with clusters.locked(cluster.layout.directory), progress("stopping the cluster"):
        cluster.stop(cluster.servers)


def _running(cluster: Cluster) -> set[str]:
    return {server.id for server in cluster.servers if processes.master(server) is not None}


def _reap() -> None:
    """Take note of ended children, so that they do not linger as zombies."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        return
