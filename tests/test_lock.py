"""requirements/*.lock hold what pyproject.toml asks for, with hashes and without an address.

That a lock is whole, pip sees: with ``--require-hashes`` it refuses a dependency that is not in it.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
EXTRAS = [Requirement(text) for extra in PROJECT["project"]["optional-dependencies"].values() for text in extra]
BUILD = [Requirement(text) for text in PROJECT["build-system"]["requires"]]
LOCKS = ("runtime", "dev", "tools")
AGAIN = "run: tox -e lock"


def text_of(lock: str) -> str:
    return (ROOT / "requirements" / f"{lock}.lock").read_text()


def inputs(name: str) -> list[Requirement]:
    return [Requirement(line) for line in (ROOT / "requirements" / f"{name}.in").read_text().splitlines()]


def locked(lock: str) -> dict[str, tuple[Version, frozenset[str]]]:
    """Each distribution in a lock: its version and its hashes."""
    found = {}
    for name, version, rest in re.findall(r"^([a-z0-9-]+)==(\S+)([^\n]*\\\n(?: +--hash=\S+(?: \\)?\n)+)", text_of(lock), re.MULTILINE):
        found[name] = Version(version), frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})\s", rest))
    return found


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [("runtime", RUNTIME + BUILD), ("dev", RUNTIME + EXTRAS + BUILD), ("tools", inputs("tools"))],
    ids=LOCKS,
)
def test_a_lock_holds_everything_that_is_asked_for_in_a_version_that_will_do(lock: str, wanted: list[Requirement]) -> None:
    have = locked(lock)
    for requirement in wanted:
        name = canonicalize_name(requirement.name)
        assert name in have, f"{name} is not in {lock}.lock; {AGAIN}"
        assert requirement.specifier.contains(have[name][0], prereleases=True), f"{name} is too old or too new in {lock}.lock; {AGAIN}"


@pytest.mark.parametrize("lock", LOCKS)
def test_everything_in_a_lock_has_one_version_hashes_and_no_address(lock: str) -> None:
    text = text_of(lock)
    names = re.findall(r"^(\S+?)(?:==|$| )", re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE), re.MULTILINE)
    names = [name for name in names if name]
    assert sorted(names) == sorted(locked(lock))
    assert all(hashes for _, hashes in locked(lock).values())
    assert not re.search(r"://|^-", text, re.MULTILINE)


def test_what_runs_in_production_is_what_was_tested() -> None:
    assert locked("runtime").items() <= locked("dev").items(), AGAIN


def test_what_the_package_is_built_with_is_locked_as_it_is_declared() -> None:
    assert {str(each) for each in inputs("build")} == {str(each) for each in BUILD}
