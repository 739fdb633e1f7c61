"""``python -m benchmarks``: measure the vault against the floor, print a table, and with --output write every run as JSON."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from benchmarks import report, servers
from benchmarks.measuring import BASE, DEFAULT, FULL, QUICK, Bench, Scale


@click.command()
@click.option("--quick", "scale", flag_value="quick", help="About a minute: shorter runs, 10^3 secrets.")
@click.option("--full", "scale", flag_value="full", help="Up to 10^5 secrets: many minutes.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write every run as JSON.")
def main(scale: str | None, output: Path | None) -> None:
    """Measure a fresh five-node cluster against a bare Flask route on this machine, about five minutes."""
    chosen = {"quick": QUICK, "full": FULL}.get(scale or "", DEFAULT)
    result = _measure(chosen)
    click.echo(result.table(), nl=False)
    if output is not None:
        report.write(result, output)


def _measure(scale: Scale) -> report.Report:
    _notice("starting the floor and five nodes")
    with servers.floor() as floor, servers.vault() as vault:
        bench = Bench(floor, vault, scale)
        bench.warm_up()
        before = vault.node_megabytes()
        for number in range(scale.rounds):
            _notice(f"round {number + 1} of {scale.rounds}")
            bench.round()
        size = 0
        for count in (BASE, *scale.large):
            _notice(f"a store of {count:,} secrets")
            bench.fill(max(size, BASE), count)
            size = count
            for _ in range(scale.rounds):
                bench.at_size(count)
        _notice("many versions of one secret")
        bench.grow_old()
        for _ in range(scale.rounds):
            bench.at_versions()
        return report.Report(report.this_machine(), bench.points, before, vault.node_megabytes())


def _notice(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
