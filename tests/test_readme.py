"""The README is true: what it cites exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DOCUMENTS = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("specs/*.md")])


def test_every_guarantee_names_a_test_that_exists() -> None:
    rows = [line for line in README.splitlines() if line.startswith("| ") and "`test_" in line]
    assert len(rows) > 10
    for row in rows:
        cited = re.findall(r"`((?:test_\w+\.py)?)(?:::)?(test_\w+)?`", row)
        file = ""
        for name, test in cited:
            file = name or file
            source = (ROOT / "tests" / file).read_text()
            assert not test or f"def {test}(" in source, (file, test)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file(document: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text()):
        assert link.startswith("http") or (document.parent / link).exists(), link


def test_every_rule_that_code_cites_is_in_the_specs() -> None:
    specs = "".join(path.read_text() for path in (ROOT / "specs").glob("*.md"))
    for source in (path for folder in ("model", "node", "gateway", "cli") for path in (ROOT / folder).glob("*.py")):
        for rule in re.findall(r"\b(?:PROTO|SEM|STORE)-\d+", source.read_text()):
            assert re.search(rf"\*\*{rule}\b", specs), f"{source.name} cites {rule}"
