"""The gateway's settings: what a file may say, and that each setting is documented."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

from gateway import config
from gateway.config import ConfigError, Settings, from_environment, load

GOOD = """
id = "gateway-1"
trust_domain = "kofn.local"
bind = "127.0.0.1:8200"
certificate = "cert.pem"
key = "key.pem"
ca = "../ca.pem"
access = "/etc/kofn/access.toml"
audit = "audit.jsonl"
threshold = 2
[nodes]
node-1 = "https://127.0.0.1:8201"
node-2 = "https://127.0.0.1:8202"
node-3 = "https://[::1]:8203"
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "gateway.toml"
    file.write_text(text)
    return file


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    settings = load(write(tmp_path, GOOD))
    assert settings.certificate == tmp_path / "cert.pem"
    assert settings.ca.resolve() == tmp_path.parent / "ca.pem"
    assert settings.access == Path("/etc/kofn/access.toml")
    assert settings.audit == tmp_path / "audit.jsonl"
    assert (settings.quorum().read, settings.quorum().write, settings.quorum().share_count) == (2, 2, 3)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('id = "gateway-1"', ""),
        ('id = "gateway-1"', 'id = "gateway/1"'),
        ('trust_domain = "kofn.local"', 'trust_domain = "KOFN"'),
        ("threshold = 2", "threshold = 4"),
        ("threshold = 2", "threshold = 1"),
        ("threshold = 2", 'threshold = "2"'),
        ("threshold = 2", "threshold = 2\nunknown = 1"),
        ("threshold = 2", "threshold = 2\nvalue_bytes = 1048577"),
        ("threshold = 2", "threshold = 2\nconnections = 0"),
        ("https://127.0.0.1:8201", "http://127.0.0.1:8201"),
        ("https://127.0.0.1:8201", "https://127.0.0.1"),
        ("https://127.0.0.1:8201", "https://127.0.0.1:8201/path"),
        ("https://127.0.0.1:8201", "https://user:pw@127.0.0.1:8201"),
        ("https://127.0.0.1:8201", "https://127.0.0.1:99999"),
        ("node-1 =", '"no de" ='),
        ("[nodes]", "[nodes"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_the_file_named(tmp_path: Path, old: str, new: str) -> None:
    assert old in GOOD
    file = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(ConfigError, match=str(file)):
        load(file)


def test_the_environment_names_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD)
    assert from_environment({"KOFN_GATEWAY_CONFIG": str(file)}) == load(file)
    with pytest.raises(ConfigError, match="KOFN_GATEWAY_CONFIG"):
        from_environment({})
    with pytest.raises(ConfigError, match="missing"):
        from_environment({"KOFN_GATEWAY_CONFIG": str(tmp_path / "missing.toml")})


def test_every_setting_is_documented_where_it_stands() -> None:
    definition = next(
        node for node in ast.parse(inspect.getsource(config)).body if isinstance(node, ast.ClassDef) and node.name == "Settings"
    )
    documented = {
        field.target.id
        for field, text in zip(definition.body, definition.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }
    assert documented == set(Settings.__struct_fields__)
