"""A node's settings are read once, checked whole, and refused with a text that names the file and the setting."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from model.quorum import Quorum
from node.config import CONFIG_VARIABLE, ConfigError, Settings, from_environment, load

GOOD = """
id = "node-1"
trust_domain = "kofn.local"
bind = "127.0.0.1:8201"
database = "store.db"
certificate = "cert.pem"
key = "/keys/key.pem"
ca = "../ca.pem"
threshold = 2
[nodes]
node-1 = "https://127.0.0.1:8201"
node-2 = "https://[::1]:8202"
node-3 = "https://node-3.example:8203"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "node.toml"
    path.write_text(GOOD)
    return path


def test_paths_are_relative_to_the_file(file: Path) -> None:
    settings = load(file)
    assert settings.database == file.parent / "store.db"
    assert settings.key == Path("/keys/key.pem")
    assert settings.ca == file.parent / "../ca.pem"


def test_the_file_is_found_through_the_environment(file: Path) -> None:
    assert from_environment({CONFIG_VARIABLE: str(file)}) == load(file)
    with pytest.raises(ConfigError, match=CONFIG_VARIABLE):
        from_environment({})


def test_peers_are_all_nodes_but_this(file: Path) -> None:
    settings = load(file)
    assert set(settings.peers) == {"node-2", "node-3"}
    assert settings.quorum() == Quorum(3, 2)


def test_settings_cannot_be_changed(file: Path) -> None:
    for field in msgspec.structs.fields(Settings):
        with pytest.raises(AttributeError):
            setattr(load(file), field.name, None)


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ('id = "node-1"', 'id = "node-9"', "own id"),
        ("threshold = 2", "threshold = 4", "threshold"),
        ("threshold = 2", "threshold = 1", "threshold"),
        ("threshold = 2", 'threshold = "2"', "threshold"),
        ("threshold = 2", "threshold = 2\nwrite_quorum = 4", "write_raised"),
        ("threshold = 2", "threshold = 2\nlease_ms = 0", "lease_ms"),
        ("threshold = 2", "threshold = 2\nvoting_timeout_ms = 4000", "voting_timeout_ms"),
        ("threshold = 2", "threshold = 2\nsurprise = 1", "surprise"),
        ('trust_domain = "kofn.local"', 'trust_domain = "KOFN"', "trust domain"),
        ("https://127.0.0.1:8201", "http://127.0.0.1:8201", "https://HOST:PORT"),
        ("https://127.0.0.1:8201", "https://127.0.0.1", "https://HOST:PORT"),
        ("https://127.0.0.1:8201", "https://127.0.0.1:8201/", "https://HOST:PORT"),
        ("https://127.0.0.1:8201", "https://user@127.0.0.1:8201", "https://HOST:PORT"),
        ("https://127.0.0.1:8201", "https://127.0.0.1:99999", "node-1"),
        ("node-3 =", '"../up" =', "up"),
        ('ca = "../ca.pem"', "", "ca"),
        ("[nodes]", "[nodes", "node.toml"),
    ],
)
def test_settings_that_cannot_work_are_refused(file: Path, before: str, after: str, complaint: str) -> None:
    file.write_text(GOOD.replace(before, after, 1))
    with pytest.raises(ConfigError, match=complaint) as error:
        load(file)
    assert str(file) in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="absent"):
        load(tmp_path / "absent.toml")


def test_every_setting_says_what_it_is_for() -> None:
    source = Path(__import__("node.config", fromlist=["config"]).__file__).read_text()
    for field in msgspec.structs.fields(Settings):
        line = source.index(f"\n    {field.name}: ")
        assert source[line:].split("\n")[2].strip().startswith('"""'), field.name
