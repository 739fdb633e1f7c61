"""docs/evidence.md is what its lists and its data say, what it names exists, and each bug is noticed when it is put back in."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from evidence_bugs import BUGS, Bug
from evidence_changes import mutants
from evidence_figures import load
from evidence_loading import source_of
from evidence_mutants import MODULES
from evidence_promises import FAULTS, PROMISES
from evidence_survivors import REASONS, explained

TESTS = Path(__file__).parent
ROOT = TESTS.parent
NAMED = sorted({test for each in (*PROMISES, *FAULTS) for test in each.tests} | {bug.test for bug in BUGS})


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_page_is_what_the_lists_and_the_data_say() -> None:
    assert run("tests/evidence.py", "--check").returncode == 0, "python tests/evidence.py writes it anew"


def test_every_test_that_is_named_is_collected() -> None:
    files = sorted({test.split("::")[0] for test in NAMED})
    told = run("-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *(f"tests/{file}" for file in files))
    collected = {line.removeprefix("tests/").split("[")[0] for line in told.stdout.splitlines()}
    assert set(NAMED) - collected == set()


def test_every_rule_that_is_named_is_in_the_specs() -> None:
    specs = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "specs").glob("*.md"))
    rules: Iterable[str] = {rule for promise in PROMISES for rule in promise.rules} | {bug.rule for bug in BUGS}
    assert [rule for rule in sorted(rules) if not re.search(rf"\*\*{rule}\b", specs)] == []


def test_every_promise_and_every_fault_has_a_test() -> None:
    assert all(each.tests for each in (*PROMISES, *FAULTS))
    assert all(promise.rules for promise in PROMISES)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_every_bug_can_still_be_put_back_in(bug: Bug) -> None:
    compile(bug.faulty, str(source_of(bug.module)), "exec")


def test_every_bug_put_back_in_is_noticed_by_its_test() -> None:
    told = run("tests/evidence_bugs.py", "all")
    assert told.returncode == 0, told.stdout + told.stderr


def test_every_survivor_of_mutation_testing_is_explained_and_every_explanation_is_of_a_survivor() -> None:
    survivors = {(module, name) for module, row in load()["mutants"].items() if isinstance(row, dict) for name in row["survivors"]}
    assert survivors == {(module, name) for module, reasons in REASONS.items() for name in reasons}


def test_no_survivor_of_mutation_testing_is_left_open() -> None:
    assert [f"{module}: {name}" for module, reasons in REASONS.items() for name in reasons if not explained(module, name)] == []


@pytest.mark.parametrize("module", MODULES)
def test_no_two_changes_to_a_module_have_one_name(module: str) -> None:
    names = [mutant.name for mutant in mutants(source_of(f"model.{module}"))]
    assert len(set(names)) == len(names) > 10
