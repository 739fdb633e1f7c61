"""Showing while checking: commands that are run as they are shown, and claims that are shown once they were seen to hold."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from cli.failure import Failure

_PATIENCE_SECONDS = 30.0


class Stage:
    """Runs shell commands in ``folder`` with ``environment`` and nothing else."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._environment = environment

    def run(self, command: str, exits: int = 0) -> str:
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

    def quietly(self, command: str) -> str:
        """The output of ``command``, which is not shown."""
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


def title(text: str) -> None:
    """Begin a chapter."""
    click.secho(f"\n{text}", bold=True, fg="cyan")


def check(holds: object, claim: str) -> None:
    """Show ``claim`` if it ``holds``; raises Failure if not."""
    if not holds:
        raise Failure(f"NOT seen to hold: {claim}", "the demonstration ends here")
    click.secho(f"  ok: {claim}", fg="green")


def wait_for(holds: Callable[[], bool], claim: str, what: str) -> None:
    """``check`` what may take some seconds; ``what`` is shown while waiting. Raises Failure after half a minute."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not holds() and time.monotonic() < deadline:
        click.echo(f"  waiting for {what}")
        time.sleep(0.5)
    check(holds(), claim)
