"""The grammar of names, prefixes and namespaces."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import InvalidRequest
from model.name import MAX_NAME_BYTES, check_name, check_namespace, check_prefix

names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}){0,5}", fullmatch=True)

NEVER = [
    "/",
    "//",
    "/a",
    "a//b",
    ".",
    "..",
    "a/../b",
    "a/./b",
    ".hidden",
    "a/.hidden",
    "-a",
    "a/-b",
    "a b",
    " a",
    "a ",
    "a\n",
    "a/\n",
    "\n",
    "a\r",
    "a\0",
    "a\tb",
    "a\\b",
    "a@3",
    "a(b)",
    "a,b",
    "a:b",
    "a%2Fb",
    "a?b",
    "a#b",
    "a*",
    "é",
    "\u0430",  # CYRILLIC SMALL LETTER A
    "\u0661",  # ARABIC-INDIC DIGIT ONE
    "\uff41",  # FULLWIDTH LATIN SMALL LETTER A
    "a\u200b",
    "\ud800",
]


def slow_is_name(text: str) -> bool:
    """The slow twin: the grammar, character by character."""
    rest = FIRST_SET | set(".-")
    return len(text) <= MAX_NAME_BYTES and all(
        segment and segment[0] in FIRST_SET and all(character in rest for character in segment) for segment in text.split("/")
    )


FIRST_SET = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")


@pytest.mark.parametrize("text", ["a", "_", "0", "db/password", "DB_PASSWORD", "a.b-c_d/e..f", "a.", "a-", "x" * 255, "a/" * 127 + "b"])
def test_names_that_obey_the_grammar_come_back(text: str) -> None:
    assert check_name(text) == text


@pytest.mark.parametrize("text", ["", "a/", "x" * 256, "a/" * 127 + "bb", *NEVER])
def test_names_that_do_not_are_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_name(text)
    assert caught.value.detail.startswith("A name must be 1 to 255 characters")


@given(st.text(alphabet=st.sampled_from([*"aZ0_.-/", "\n", "é", " "]), max_size=8) | st.text())
def test_the_grammar_agrees_with_its_slow_twin(text: str) -> None:
    try:
        assert check_name(text) == text
    except InvalidRequest:
        assert not slow_is_name(text)
    else:
        assert slow_is_name(text)


@given(names)
def test_every_beginning_of_a_name_is_a_prefix(name: str) -> None:
    for length in range(len(name) + 1):
        assert check_prefix(name[:length]) == name[:length]


@given(st.text(alphabet=st.sampled_from("aZ0_.-/ "), max_size=8))
def test_every_prefix_is_the_beginning_of_a_name(text: str) -> None:
    try:
        check_prefix(text)
    except InvalidRequest:
        for more in ("", "a", "/a"):
            with pytest.raises(InvalidRequest):
                check_name(text + more)
    else:
        assert check_name(text + "a") == text + "a"


@pytest.mark.parametrize("text", ["x" * 256, "a/" * 127 + "b/", *NEVER])
def test_texts_that_begin_no_name_are_no_prefix(text: str) -> None:
    with pytest.raises(InvalidRequest, match="A prefix must be"):
        check_prefix(text)


def test_a_prefix_as_long_as_a_name_is_one_and_one_slash_less() -> None:
    assert check_prefix("x" * 255) == "x" * 255
    assert check_prefix("a/" * 127) == "a/" * 127


@pytest.mark.parametrize("text", ["default", "0", "a-", "team-1", "x" * 63])
def test_namespaces_that_obey_the_grammar_come_back(text: str) -> None:
    assert check_namespace(text) == text


@pytest.mark.parametrize("text", ["", "-a", "A", "a_b", "a.b", "a/b", "a\n", "x" * 64, "é", " a"])
def test_namespaces_that_do_not_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="A namespace must be"):
        check_namespace(text)


@pytest.mark.parametrize("check", [check_name, check_prefix, check_namespace])
@pytest.mark.parametrize("value", [b"name", None, 5, ["name"], bytearray(b"name")])
def test_only_text_is_a_name(check: Any, value: object) -> None:
    with pytest.raises(InvalidRequest):
        check(value)


@pytest.mark.parametrize("check", [check_name, check_prefix, check_namespace])
def test_a_refusal_does_not_repeat_the_text(check: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check("hunter2 is my password")
    assert "hunter2" not in caught.value.detail
