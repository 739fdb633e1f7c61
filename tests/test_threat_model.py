"""docs/threat-model.md cites what is there: every test, file and rule that it rests on exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCUMENT = (ROOT / "docs" / "threat-model.md").read_text()


def test_every_test_that_a_claim_rests_on_exists() -> None:
    cited = re.findall(r"`((?:test_\w+\.py)?)::(test_\w+)`", DOCUMENT)
    assert len(cited) > 30
    file = ""
    for name, test in cited:
        file = name or file
        assert f"def {test}(" in (ROOT / "tests" / file).read_text(), (file, test)


def test_every_file_that_a_claim_rests_on_exists() -> None:
    cited = re.findall(r"`((?:model|node|gateway|cli|deploy|requirements)/[\w./]*)`", DOCUMENT)
    assert cited
    assert [path for path in cited if not (ROOT / path).exists()] == []


def test_every_rule_that_a_claim_rests_on_is_in_the_specs() -> None:
    specs = "".join(path.read_text() for path in (ROOT / "specs").glob("*.md"))
    rules = re.findall(r"\b(?:PROTO|SEM|STORE)-\d+", DOCUMENT)
    assert rules
    assert [rule for rule in rules if not re.search(rf"\*\*{rule}\b", specs)] == []
