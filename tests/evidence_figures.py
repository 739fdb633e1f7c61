"""The figures of docs/evidence.md: measured by running what they are of, and kept in docs/evidence.toml with the day and the machine.

Each measure is a command of this repository whose output is read; none of its figures is typed.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).parent.parent
DATA = ROOT / "docs" / "evidence.toml"
SIMULATED_SEEDS = 4000

Row = Mapping[str, object]
Rows = dict[str, Row]


def load() -> dict[str, dict[str, Any]]:
    """By measure: ``on`` (day), ``machine``, and a table for each row."""
    return tomllib.loads(DATA.read_text(encoding="utf-8")) if DATA.exists() else {}


def record(measure: str, rows: Mapping[str, Row], *, anew: bool = False) -> None:
    """Keep ``rows`` beside those of the measure that are there already, or, ``anew``, in their place."""
    data = load()
    kept = {} if anew else {name: row for name, row in data.get(measure, {}).items() if isinstance(row, dict)}
    data[measure] = {"on": datetime.now(UTC).date().isoformat(), "machine": _machine(), **kept, **rows}
    DATA.write_bytes(msgspec.toml.encode(data, order="sorted"))


def _machine() -> str:
    return f"{os.cpu_count()} cores of {platform.machine()}, {platform.system()}, Python {platform.python_version()}"


def specifications() -> Rows:
    """The TLA+ configurations: states, steps, and the mutations that TLC noticed."""
    told = _run(sys.executable, "specs/tla/check.py")
    held = re.findall(r"\] (\w+) \.\.\. all invariants hold: ([\d,]+) states, ([\d,]+) steps", told)
    noticed = re.findall(r"\] (\w+) without '([\w ]+)' \.\.\. (\w+) violated", told)
    return {
        name: {
            "states": _number(states),
            "steps": _number(steps),
            "mutations": [f"{rule}: {by}" for case, rule, by in noticed if case == name],
        }
        for name, states, steps in held
    }


def explorations() -> Rows:
    """The cases of the machines themselves, but for the large ones: states, steps, depth, and whether it was all of them."""
    from exploration_cases import CASES

    told = _run(sys.executable, "tests/explore.py", *(case.name for case in CASES if not case.large))
    lines = re.findall(r"^(\w+) +([\d,]+) +([\d,]+) +(\d+) +[\d.]+  (.*)$", told, re.MULTILINE)
    return {
        name: {"states": _number(states), "steps": _number(steps), "depth": int(depth), "complete": end == "explored completely"}
        for name, states, steps, depth, end in lines
    }


def simulations() -> Rows:
    """Whole clusters from a seed: schedules, the steps that they took, the calls that were judged, the faults that struck."""
    from workload import Run
    from workload_shapes import shape_of

    steps = calls = 0
    for seed in range(SIMULATED_SEEDS):
        run = Run(seed, shape_of(seed))
        run.go()
        steps, calls = steps + run.cluster.steps, calls + len(run.calls)
    return {"machines": {"schedules": SIMULATED_SEEDS, "steps": steps, "calls": calls}}


def histories() -> Rows:
    """Concurrent clients of real clusters under faults: calls, those judged, the longest history of one secret, the faults."""
    files = ("tests/test_concurrent_histories.py", "tests/test_partitions.py")
    told = _run(sys.executable, "-m", "pytest", "-s", "-v", "-p", "no:cacheprovider", *files)
    rows: Rows = {}
    for name, output in re.findall(r"::(test_\w+)(.*?)(?:PASSED|SKIPPED)", told, re.DOTALL):
        counts = re.search(r"(\d+) calls on (\d+) secrets, (\d+) judged", output)
        faults = re.search(r"faults: (.*)\nlongest history of one secret (\d+)", output)
        if counts is not None and faults is not None:
            calls, secrets, judged = map(int, counts.groups())
            rows[name] = {"calls": calls, "secrets": secrets, "judged": judged, "longest": int(faults[2]), "faults": faults[1]}
    return rows


def examples() -> Rows:
    """What Hypothesis made up for the properties: tests, and the examples that passed."""
    files = sorted(path for path in ROOT.glob("tests/test_*.py") if re.search(r"^@given\(", path.read_text(encoding="utf-8"), re.MULTILINE))
    told = _run(
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", "--hypothesis-show-statistics", *map(str, files)
    )
    passing = [int(number) for number in re.findall(r"generate phase.*?- Typical.*?(\d+) passing(?: examples)?,", told, re.DOTALL)]
    return {"properties": {"tests": len(passing), "examples": sum(passing)}}


MEASURES: dict[str, Callable[[], Rows]] = {
    "specifications": specifications,
    "explorations": explorations,
    "simulations": simulations,
    "histories": histories,
    "examples": examples,
}


def measure(names: list[str]) -> None:
    """Raises ValueError if a measure gives nothing: its command failed, or speaks otherwise than it did."""
    for name in names or MEASURES:
        print(f"{name} ...", flush=True)
        rows = MEASURES[name]()
        if not rows:
            raise ValueError(f"{name}: no figures came of it")
        record(name, rows, anew=True)


def _run(*command: str) -> str:
    """What a command prints. Raises CalledProcessError if it fails."""
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def _number(text: str) -> int:
    return int(text.replace(",", ""))
