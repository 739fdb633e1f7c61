"""Every setting is documented, with the default that it has."""

from pathlib import Path

import msgspec
import pytest

import gateway.config
import node.config

DOCUMENT = (Path(__file__).parent.parent / "docs" / "settings.md").read_text()


@pytest.mark.parametrize(
    ("title", "settings"), [("Node", node.config.Settings), ("Gateway", gateway.config.Settings)], ids=["node", "gateway"]
)
def test_every_setting_is_documented_with_its_default(title: str, settings: type[msgspec.Struct]) -> None:
    section = DOCUMENT.split(f"## {title}")[1].split("\n## ")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    documented = {row[0].strip("| `"): row[1].strip("`") for row in rows}
    actual = {field.name: "required" if field.default is msgspec.NODEFAULT else field.default for field in msgspec.structs.fields(settings)}
    assert documented.keys() == actual.keys()
    for name, default in actual.items():
        text = documented[name]
        assert text == default if default == "required" else float(text.replace("_", "")) == float(default), name
