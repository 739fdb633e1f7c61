"""``python -m benchmarks``: measure the vault against the floor, print what was found as Markdown, and write it wherever it is wanted."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click
from rich.console import Console

from benchmarks import plot, report, scales
from benchmarks.aims import judge
from benchmarks.load import WrongAnswerError
from benchmarks.scales import DEFAULT, FULL, QUICK

_file = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--quick", "scale", flag_value="quick", help="Two to three minutes: shorter runs, up to 10^3 secrets, faults once.")
@click.option("--full", "scale", flag_value="full", help="Up to 10^5 secrets, in shorter runs: ten minutes too.")
@click.option("--output", type=_file, help="Write every run as JSON.")
@click.option("--update", type=_file, help=f"Put the figures between {report.BEGIN} and {report.END} of this file.")
@click.option("--plot", "picture", type=_file, help="Draw the figures as SVG.")
def main(scale: str | None, output: Path | None, update: Path | None, picture: Path | None) -> None:
    """Measure a fresh five-node cluster against a bare Flask route on this machine, in about ten minutes.

    A wrong answer ends the run with an error; an aim that is not met does not.
    """
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _end)
    try:
        results = scales.measure({"quick": QUICK, "full": FULL}.get(scale or "", DEFAULT), Console(stderr=True))
    except WrongAnswerError as error:
        raise click.ClickException(str(error)) from error
    block = report.markdown(results)
    click.echo(block, nl=False)
    if output is not None:
        output.write_bytes(results.json())
    if update is not None:
        report.update(update, block)
    if picture is not None:
        picture.write_text(plot.svg(results), "utf-8")
    aims = judge(results)
    click.echo(f"{sum(aim.met for aim in aims)} of {len(aims)} aims met", err=True)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """Stop, and let nothing interrupt that."""
    del number, frame
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
