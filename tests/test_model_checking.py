"""The formal specification in specs/tla: that it parses, that its smallest case holds, and that its list of checks is whole.

The whole check is ``tox -e model-check``; docs/model-checking.md tells what it covers.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from evidence_figures import load

SPECIFICATIONS = Path(__file__).parent.parent / "specs" / "tla"
PAGE = SPECIFICATIONS.parent.parent / "docs" / "model-checking.md"


def _load_check() -> ModuleType:
    found = importlib.util.spec_from_file_location("check", SPECIFICATIONS / "check.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module
    found.loader.exec_module(module)
    return module


check = _load_check()


@pytest.fixture(scope="module")
def tools() -> tuple[str, Path]:
    try:
        return check.tools(None)
    except check.ToolsMissingError as missing:
        pytest.skip(f"{missing}; tox -e model-check brings it")


def test_every_rule_that_can_be_broken_is_a_mutation_and_every_mutation_breaks_a_rule() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in SPECIFICATIONS.glob("*.tla"))
    rules = set(re.findall(r'"([\w ]+)" \\(?:not)?in Broken', text))
    assert rules == {mutation.rule for mutation in check.MUTATIONS}


def test_every_configuration_is_in_the_list_and_breaks_nothing_by_itself() -> None:
    files = {path.stem: path.read_text(encoding="utf-8") for path in SPECIFICATIONS.glob("*.cfg")}
    assert set(files) == {configuration.name for configuration in check.CONFIGURATIONS}
    assert all("Broken = {}" in text and "INVARIANTS" in text for text in files.values())
    assert {mutation.configuration for mutation in check.MUTATIONS} <= set(files)


def test_every_mutation_and_configuration_is_explained_with_what_was_measured() -> None:
    text = PAGE.read_text(encoding="utf-8")
    measured = load()["specifications"]
    for case in check.CONFIGURATIONS:
        row = measured[case.name]
        assert f"| `{case.name}` | {row['steps']:,} | {row['states']:,} | holds, explored completely |" in text
    for mutation in check.MUTATIONS:
        [noticed] = [each for each in measured[mutation.configuration]["mutations"] if each.startswith(f"{mutation.rule}: ")]
        by = noticed.removeprefix(f"{mutation.rule}: ")
        assert f"| `{mutation.rule}` | `{mutation.configuration}` | {mutation.meaning} | `{by}` |" in text


def test_a_case_that_begins_with_a_past_is_run_from_its_true_beginning_too() -> None:
    past, case = check.runs(["ballots"])[:2]
    assert case.text.startswith("INIT Settling\nNEXT Next\nCONSTANTS")
    assert past.text.startswith("SPECIFICATION Spec\nCONSTANTS")
    assert past.text.endswith("INVARIANTS NeverSettling\n")
    assert (past.refuted, case.refuted) == (True, False)


@pytest.mark.parametrize("output", ["", "Error: Parsing or semantic analysis failed.", "java.lang.OutOfMemoryError"])
def test_a_check_that_did_not_come_to_an_end_is_not_a_success(output: str) -> None:
    assert check.read(output, 1.0).violated is None


def test_a_violation_is_told_by_the_name_of_its_invariant() -> None:
    output = "Error: Invariant OneChain is violated.\n29,062 states generated, 10,581 distinct states found, 5 states left on queue."
    verdict = check.read(output, 1.0)
    assert (verdict.violated, verdict.states, verdict.distinct) == ("OneChain", 29062, 10581)


@pytest.mark.slow
@pytest.mark.parametrize("module", ["Secret", "MCSecret", "Group"])
def test_the_specification_parses(module: str, tools: tuple[str, Path]) -> None:
    java, jar = tools
    assert check.parse(java, jar, module) == ""


@pytest.mark.slow
def test_the_smallest_case_holds_and_notices_a_broken_rule(tools: tuple[str, Path]) -> None:
    java, jar = tools
    assert [check.explore(java, jar, run).violated for run in check.runs(["erasures", "erased"])] == ["", "Shredded"]
