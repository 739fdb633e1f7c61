"""docs/hostile-input.md is true: every test that it names exists, every line names one, and no test of the suite is left out."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
ROWS = [
    line
    for line in (TESTS.parent / "docs" / "hostile-input.md").read_text().splitlines()
    if line.startswith("| ") and not re.match(r"\| (input|what) \|", line)
]


def cited() -> set[tuple[str, str]]:
    """File and name of every test that the document names; each line must name one."""
    found = set()
    for row in ROWS:
        tests = re.findall(r"`((?:test_\w+\.py)?)::(test_\w+)`", row)
        assert tests, row
        file = ""
        for name, test in tests:
            file = name or file
            found.add((file, test))
    return found


def test_every_line_names_tests_that_exist() -> None:
    assert len(ROWS) > 60
    for file, test in cited():
        assert f"def {test}(" in (TESTS / file).read_text(), (file, test)


def test_every_test_of_the_suite_has_its_line() -> None:
    files = [path for path in TESTS.glob("test_hostile_*.py") if path.name != Path(__file__).name] + list(TESTS.glob("test_fuzz_*.py"))
    assert len(files) > 10
    suite = {(path.name, test) for path in files for test in re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE)}
    assert suite - cited() == set()
