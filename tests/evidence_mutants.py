"""Mutation testing of the modules that decide: whether the tests notice when one thing in the code is changed.

    python tests/evidence_mutants.py                    every mutant of every module
    python tests/evidence_mutants.py quorum judging     of these
    python tests/evidence_mutants.py --every 5          a fifth of them, evenly spread
    python tests/evidence_mutants.py --record           and keep the result in docs/evidence.toml
    python tests/evidence_mutants.py --again            only those that survived then: after tests were added

Each mutant is one change (``evidence_changes``) to one module of ``model/``. The unit tests of the decision modules run on it
(``evidence_loading``): first the module's own, then, if those notice nothing, the others'. A mutant is *noticed* if a test fails, or if
it takes far longer than the tests do; otherwise it *survives*, and ``evidence_survivors`` has to say why. Exits with 1 if one survives
unexplained, or with a reason that leaves it open.

Why not mutmut: as of 3.8.1 it changes no function with a decorator but ``staticmethod`` or ``classmethod``, so no property, which
``Quorum.write`` is, and nothing outside functions, so no default of a record's fields.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import evidence_figures
from evidence_changes import Mutant, mutants, mutated
from evidence_loading import TESTS, passes, source_of
from evidence_survivors import explained

MODULES = (
    "quorum",
    "placement",
    "judging",
    "participant",
    "retrying",
    "deciding",
    "drafting",
    "intent",
    "snapshots",
    "proposal",
    "reading",
    "repairing",
    "restoring",
    "group",
)
"""The decision modules. The tests of each that are its own are in ``test_MODULE.py`` and ``test_MODULE_*.py``."""
OTHER_TESTS = ("test_session.py", "test_selection.py")


class Result(NamedTuple):
    """What became of the mutants of one module."""

    mutants: int
    survivors: tuple[Mutant, ...]
    seconds: float


def own_tests(module: str) -> list[str]:
    """The names of the files of a module's own tests."""
    return [f"test_{module}.py", *sorted(path.name for path in TESTS.glob(f"test_{module}_*.py"))]


def examine(module: str, every: int = 1, only: Collection[str] | None = None) -> Result:
    """Try every so manieth mutant, of those with the names ``only`` if given.

    Raises ValueError if the tests fail without any change: then nothing can be learnt from them.
    """
    began = time.monotonic()
    own = own_tests(module)
    others = [*(tests for each in MODULES if each != module for tests in own_tests(each)), *OTHER_TESTS]
    if not passes(f"model.{module}", None, own, others):
        raise ValueError(f"the tests of {module} fail without any change")
    chosen = [mutant for mutant in mutants(source_of(f"model.{module}"))[::every] if only is None or mutant.name in only]
    survivors = tuple(_surviving(f"model.{module}", chosen, own, others))
    return Result(len(chosen), survivors, time.monotonic() - began)


def _surviving(module: str, chosen: Sequence[Mutant], *runs: Sequence[str]) -> Iterator[Mutant]:
    for number, mutant in enumerate(chosen, start=1):
        if sys.stderr.isatty():
            print(f"{module} {number} of {len(chosen)}", end="\r", file=sys.stderr, flush=True)
        if passes(module, mutated(source_of(module), mutant.number), *runs):
            print(f"  survives: {module} line {mutant.line}, {mutant.name}", flush=True)
            yield mutant


def main() -> int:
    parser = argparse.ArgumentParser(description="change the decision modules, one thing at a time, and see whether the tests notice")
    parser.add_argument("modules", nargs="*", metavar="MODULE")
    parser.add_argument("--every", type=int, default=1, help="take every so manieth mutant only")
    parser.add_argument("--again", action="store_true", help="only what survived when it was last recorded, which is brought up to date")
    parser.add_argument("--record", action="store_true", help="keep the result in docs/evidence.toml")
    asked = parser.parse_args()
    if unknown := set(asked.modules) - set(MODULES):
        parser.error(f"no such module: {', '.join(sorted(unknown))}")
    unexplained = 0
    for module in asked.modules or MODULES:
        recorded = evidence_figures.load()["mutants"][module] if asked.again else None
        result = examine(module, recorded["every"], recorded["survivors"]) if recorded is not None else examine(module, asked.every)
        survivors = [survivor.name for survivor in result.survivors]
        counts = f"{result.mutants:5} mutants, {result.mutants - len(survivors):5} noticed, {len(survivors):4} survive"
        print(f"{module:12} {counts} {result.seconds:6.0f} s", flush=True)
        unexplained += sum(not explained(module, name) for name in survivors)
        if asked.record or recorded is not None:
            row = recorded if recorded is not None else {"mutants": result.mutants, "every": asked.every}
            evidence_figures.record("mutants", {module: {**row, "survivors": survivors}})
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
