"""docs/evidence.md, from what is claimed (``evidence_promises``, ``evidence_bugs``, ``evidence_survivors``) and what was measured.

    python tests/evidence.py                      write the page
    python tests/evidence.py --check              say whether it is as it would be written
    python tests/evidence.py --measure            run everything that has figures (about a quarter of an hour), then write the page
    python tests/evidence.py --measure examples   run this only

``tests/evidence_mutants.py --record`` measures the mutation tests.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from broken_clusters import BROKEN
from evidence_bugs import BUGS
from evidence_figures import MEASURES, ROOT, load, measure
from evidence_promises import FAULTS, PROMISES
from evidence_survivors import REASONS

PAGE = ROOT / "docs" / "evidence.md"

HEAD = """# Evidence

Why to believe what the README says: for each promise the rules that state it and the tests that hold it, for each fault where it is
injected, for each bug that was found how to have it back, and what the figures are. This page is written by `python tests/evidence.py`
from the lists in `tests/evidence_*.py` and the figures in [evidence.toml](evidence.toml), which `python tests/evidence.py --measure` and
`tox -e mutate -- --record` measure. A test of the default run checks that the page is what they say, that every test and rule named here
exists, and that every bug, put back in, is noticed.
"""

RULES = """Rules are those of [semantics.md](../specs/semantics.md), [protocol.md](../specs/protocol.md) and
[storage-record.md](../specs/storage-record.md).
"""

BUGS_TOLD = """Each was mended in the rule and the code named, and has a test that fails without the mending.
`python tests/evidence_bugs.py NAME` puts the bug back in, in a process of its own, and shows that test failing; `all` does so for each.
The list was drawn up afterwards, from what the history of the code mended; `found by` is inferred from the commits, few of which name it
for each bug alone.
"""

TESTED = f"""- `pytest tests/test_mutations.py`: machines with one rule of the protocol undone (`tests/broken_machines.py`), noticed by
  simulation.
- `pytest tests/test_exploration.py -k broken`: the same, found by exploring a small case.
- `pytest tests/test_vault_machine.py -k promise`: {len(BROKEN)} vaults that break one promise each, found out by the oracle.
- `tox -e model-check`: the specification with one rule switched off; TLC must violate an invariant.
- `tox -e mutate`: the modules that decide, with one change each, below.
"""

MUTATED = """`tox -e mutate` changes one thing at a time (`tests/evidence_changes.py`: a comparison turned or moved by one, a condition
that always or never holds, a statement, keyword or `case` left out, a number one more) and runs the unit tests of these modules on it,
neither the simulation nor the clusters. A change that none of these tests notices survives.
"""


def page() -> str:
    """The whole text."""
    data = load()
    parts = [HEAD, *_promises(), *_faults(), *_bugs(), *_figures(data), *_broken(), *_mutants(data.get("mutants", {}))]
    return "\n".join(parts)


def _promises() -> Iterator[str]:
    yield "## Promises\n"
    yield RULES
    yield _table(("promise", "rules", "tests"), ((each.says, ", ".join(each.rules), _tests(each.tests)) for each in PROMISES))


def _faults() -> Iterator[str]:
    yield "## Faults\n"
    yield _table(("fault", "injected by", "to know"), ((each.name, _tests(each.tests), each.note) for each in FAULTS))


def _bugs() -> Iterator[str]:
    yield "## Bugs found on the way\n"
    yield BUGS_TOLD
    yield _table(
        ("name", "what went wrong", "found by", "rule", "module", "test"),
        ((f"`{bug.name}`", bug.fault, bug.found, bug.rule, f"`{bug.module}`", _tests([bug.test])) for bug in BUGS),
    )


def _figures(data: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield "## Figures\n"
    missing = [name for name in MEASURES if name not in data]
    if missing:
        yield f"Not measured yet: {', '.join(missing)}.\n"
    specifications = _rows(data, "specifications")
    if specifications:
        yield f"**The specification** ([model-checking.md](model-checking.md)), explored by TLC{_when(data, 'specifications')}:\n"
        yield _table(
            ("configuration", "distinct states", "steps", "broken rules noticed"),
            ((f"`{name}`", f"{row['states']:,}", f"{row['steps']:,}", "; ".join(row["mutations"])) for name, row in specifications),
        )
    explorations = _rows(data, "explorations")
    if explorations:
        yield f"**The machines themselves**, every interleaving of small cases{_when(data, 'explorations')}: `python tests/explore.py`\n"
        yield _table(
            ("case", "states", "steps", "depth", ""),
            (
                (
                    f"`{name}`",
                    f"{row['states']:,}",
                    f"{row['steps']:,}",
                    str(row["depth"]),
                    "explored completely" if row["complete"] else "not complete",
                )
                for name, row in explorations
            ),
        )
    for _, row in _rows(data, "simulations"):
        yield (
            f"**Simulation** of whole clusters{_when(data, 'simulations')}: {row['schedules']:,} schedules, {row['steps']:,} steps,\n"
            f"{row['calls']:,} calls judged for linearizability. `pytest tests/test_machines_fuzz.py`; `KOFN_FUZZ_SEEDS` asks for more.\n"
        )
    histories = _rows(data, "histories")
    if histories:
        yield f"**Concurrent clients of real clusters** under faults{_when(data, 'histories')}:\n"
        yield _table(
            ("test", "calls", "judged", "longest history of one secret", "faults"),
            ((f"`{name}`", f"{row['calls']:,}", f"{row['judged']:,}", f"{row['longest']:,}", row["faults"]) for name, row in histories),
        )
    for _, row in _rows(data, "examples"):
        yield f"**Properties**{_when(data, 'examples')}: {row['tests']} tests, {row['examples']:,} examples made up by Hypothesis.\n"


def _broken() -> Iterator[str]:
    yield "## Who tests the tests\n"
    yield TESTED


def _mutants(measured: dict[str, Any]) -> Iterator[str]:
    yield "## Mutation testing of the modules that decide\n"
    yield MUTATED
    rows = {name: row for name, row in measured.items() if isinstance(row, dict)}
    if not rows:
        return
    yield f"Measured{_when({'mutants': measured}, 'mutants')}:\n"
    yield _table(
        ("module", "mutants run", "of those there are", "noticed", "survive"),
        (
            (
                f"`model/{name}.py`",
                f"{row['mutants']:,}",
                "all" if row["every"] == 1 else f"one in {row['every']}",
                f"{row['mutants'] - len(row['survivors']):,}",
                str(len(row["survivors"])),
            )
            for name, row in rows.items()
        ),
    )
    yield "Why each that survives may:\n"
    yield _table(
        ("module", "change", "why no unit test can or need notice"),
        (
            (f"`{name}`", _code(survivor), REASONS.get(name, {}).get(survivor, ""))
            for name, row in rows.items()
            for survivor in row["survivors"]
        ),
    )


def _rows(data: dict[str, dict[str, Any]], name: str) -> list[tuple[str, dict[str, Any]]]:
    return [(key, row) for key, row in data.get(name, {}).items() if isinstance(row, dict)]


def _when(data: dict[str, dict[str, Any]], name: str) -> str:
    return f" ({data[name]['on']}; {data[name]['machine']})"


def _tests(tests: Iterable[str]) -> str:
    return "<br>".join(f"`{test}`" for test in tests)


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="write docs/evidence.md")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is not what it should be")
    parser.add_argument("--measure", nargs="*", metavar="MEASURE", choices=MEASURES, help="measure everything, or these, first")
    asked = parser.parse_args()
    if asked.measure is not None:
        measure(asked.measure)
    if asked.check:
        return 0 if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page() else 1
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
