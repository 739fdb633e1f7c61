"""Any text as a .env file: parsed or refused, never for long; its parts stand where it is said; what is written reads back.

``KOFN_FUZZ_EXAMPLES`` says how many examples each test tries; ``tox -e fuzz`` runs many.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from io import StringIO

import pytest
from dotenv import dotenv_values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_dotenv import SPICE

from model.dotenv import EnvFile, parse, render, variables
from model.errors import InvalidEnv, KofnError, TooLarge, ValueNotRenderable

EXAMPLES = int(os.environ.get("KOFN_FUZZ_EXAMPLES", "150"))
fuzzed = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), database=None)
counts: Counter[str] = Counter()

PARTS = [
    *SPICE,
    "\nA=",
    "\r\nB=",
    "\nC='",
    '\nD="',
    "secret(a)",
    "secret(b@2)",
    "secret(c/d)",
    "enc(e)",
    "enc(f, x)",
    "export ",
    "K",
    "${A:-",
]
files = st.lists(st.sampled_from(PARTS), max_size=40).map("".join) | st.text(max_size=200)
values = st.lists(st.sampled_from(SPICE), max_size=12).map("".join) | st.text(max_size=60)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if len(name) < 3:
            monkeypatch.delenv(name)


@pytest.fixture(scope="module", autouse=True)
def _told() -> Iterator[None]:
    yield
    print(f"fuzzed .env files: {dict(counts)}")


def parsed(content: str) -> EnvFile | None:
    """The file; None where it is refused, which repeats nothing of it but valid names."""
    counts["files"] += 1
    try:
        file = parse(content)
    except InvalidEnv as refused:
        said = refused.detail
    else:
        counts["understood"] += 1
        return file
    assert said.isascii()
    return None


@fuzzed
@given(content=files)
def test_every_part_stands_where_it_is_said_to(content: str) -> None:
    file = parsed(content)
    if file is None:
        return
    end = 0
    for each in file.assignments:
        assert end <= each.begin <= each.start <= each.end <= each.finish <= len(content)
        end = each.finish
        quoted = content[each.start : each.end]
        assert quoted.startswith(each.quote)
        assert quoted.endswith(each.quote)
        for reference in each.references:
            assert f"secret({reference.name}" in quoted
            assert 1 <= reference.line <= 1 + content.count("\n") + content.count("\r")


@fuzzed
@given(content=files, texts=st.lists(values, min_size=4, max_size=4))
def test_a_file_with_its_values_filled_in_reads_back_or_is_refused_by_name(content: str, texts: list[str]) -> None:
    file = parsed(content)
    if file is None:
        return
    targets = list(dict.fromkeys(reference.target for reference in file.references))
    filled = {target: texts[place % len(texts)] for place, target in enumerate(targets)}
    named: tuple[str, ...] = ()
    try:
        written = render(file, filled, expand=True)
    except TooLarge:
        return
    except ValueNotRenderable as refused:
        named = refused.names
    assert set(named) <= {name for name, _ in targets}
    if named:
        return
    counts["written"] += 1
    read = {key: value for key, value in dotenv_values(stream=StringIO(written)).items() if value is not None}
    assert read == variables(file, filled, expand=True, environment={})


@fuzzed
@given(content=files)
def test_a_file_whose_references_stay_keeps_every_other_byte(content: str) -> None:
    file = parsed(content)
    if file is None:
        return
    kept = render(file, {}, expand=False)
    if not file.encryptions:
        assert kept == content
    again = parse(kept)
    assert {each.target for each in file.references} <= {each.target for each in again.references}
    assert not again.encryptions


REPEATED = [*PARTS, "A=${", "A='\n", 'A="\n', 'A="\\', "A=secret(a)\n", "A=$", "\\", "'", '"', "#", " #", "=", "A=" + "x" * 100 + "\n"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("part", REPEATED)
def test_a_file_of_one_thing_over_and_over_is_read_or_refused_and_does_not_hang(part: str) -> None:
    for count in (1_000, 30_000 // len(part)):
        for content in (part * count, "A=" + part * count, 'A="' + part * count):
            counts["files"] += 1
            try:
                file = parse(content)
                variables(file, {reference.target: "v" for reference in file.references}, expand=True, environment={})
            except KofnError:
                continue
