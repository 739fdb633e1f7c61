"""Path patterns and rules: what is granted, what is denied, and which names a list may begin with."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from gateway_fakes import EVERYTHING, rule, token_entry
from hypothesis import given
from hypothesis import strategies as st

from model.callers import CallersError, decode, digest, split_token
from model.grants import CAPABILITIES, Capability, GrantError, Principal, Rule, compile_rules

NS = "default"
segments = st.sampled_from(["a", "b", "ab", "a.b", "a-b", "_"])
names = st.lists(segments, min_size=1, max_size=6).map("/".join)
patterns = st.lists(segments | st.sampled_from(["*", "**"]), min_size=1, max_size=6).map("/".join)


def principal(*allow: tuple[Capability, str], deny: tuple[tuple[Capability, str], ...] = ()) -> Principal:
    """Rules as (capability, path) in the namespace default."""

    def rules(pairs: tuple[tuple[Capability, str], ...]) -> list[Rule]:
        return [Rule((NS,), (path,), (capability,)) for capability, path in pairs]

    return compile_rules("someone", rules(allow), rules(deny))


def slowly_matches(pattern: list[str], name: list[str]) -> bool:
    """The obvious twin."""
    if not pattern:
        return not name
    if pattern[0] == "**":
        return any(slowly_matches(pattern[1:], name[skipped:]) for skipped in range(len(name) + 1))
    return bool(name) and pattern[0] in {"*", name[0]} and slowly_matches(pattern[1:], name[1:])


@given(pattern=patterns, name=names)
def test_a_pattern_matches_as_its_segments_say(pattern: str, name: str) -> None:
    expected = slowly_matches(pattern.split("/"), name.split("/"))
    assert principal(("read", pattern)).may("read", NS, name) == expected


@given(allowed=st.lists(patterns, max_size=3), denied=st.lists(patterns, max_size=3), name=names)
def test_a_denial_wins_whatever_is_allowed(allowed: list[str], denied: list[str], name: str) -> None:
    someone = principal(*(("read", path) for path in allowed), deny=tuple(("read", path) for path in denied))
    matches = [slowly_matches(path.split("/"), name.split("/")) for path in allowed]
    refuses = [slowly_matches(path.split("/"), name.split("/")) for path in denied]
    assert someone.may("read", NS, name) == (any(matches) and not any(refuses))


@given(paths=st.lists(patterns, max_size=4), prefix=st.sampled_from(["", "a", "a/", "ab", "a/b", "b/a/"]), name=names)
def test_every_name_that_may_be_listed_has_exactly_one_start(paths: list[str], prefix: str, name: str) -> None:
    someone = principal(*(("list", path) for path in paths))
    starts = someone.list_starts(NS, prefix)
    assert list(starts) == sorted(starts)
    assert all(start.startswith(prefix) for start in starts)
    if someone.may("list", NS, name) and name.startswith(prefix):
        assert sum(name.startswith(start) for start in starts) == 1


@pytest.mark.parametrize(
    ("path", "start"),
    [("**", ""), ("*", ""), ("app", "app"), ("app/**", "app"), ("app/*", "app/"), ("app/*/x", "app/"), ("app/x/**", "app/x")],
)
def test_a_list_begins_with_what_the_pattern_fixes(path: str, start: str) -> None:
    assert principal(("list", path)).list_starts(NS, "") == (start,)
    assert principal(("list", path)).list_starts("other", "") == ()


def test_nothing_is_granted_by_default() -> None:
    nobody = compile_rules("nobody", [], [])
    assert nobody.namespaces == ()
    assert not nobody.may_see_status()
    assert not nobody.may_list_in(NS)
    assert not any(nobody.may(capability, NS, "app") for capability in CAPABILITIES)


def test_a_rule_grants_only_what_it_says() -> None:
    someone = compile_rules("someone", [Rule(("one", "two"), ("app/**",), ("read", "history"))], [Rule(("two",), ("app/root",), ("read",))])
    assert someone.namespaces == ("one", "two")
    assert someone.may("read", "one", "app/root")
    assert not someone.may("read", "two", "app/root")
    assert someone.may("history", "two", "app/root")
    assert not someone.may("read", "three", "app/x")
    assert not someone.may("read", "one", "apple")
    assert not any(someone.may(capability, "one", "app/x") for capability in set(CAPABILITIES) - {"read", "history"})
    assert repr(someone) == "Principal('someone')"


def test_the_status_is_seen_where_a_rule_allows_it_and_none_denies_it() -> None:
    assert principal(("status", "x")).may_see_status()
    assert not principal(("read", "**")).may_see_status()
    assert not principal(("status", "**"), deny=(("status", "x"),)).may_see_status()


def test_matching_a_hostile_name_against_many_wildcards_stays_quick() -> None:
    someone = principal(("read", "/".join(["**", "a"] * 20) + "/b"))
    began = time.perf_counter()
    assert not someone.may("read", NS, "/".join(["a"] * 127))
    assert time.perf_counter() - began < 0.1


@pytest.mark.parametrize("path", ["", "/", "a/", "/a", "a//b", "a*", "***", "a/../b", ".a", "a/?", "[a]", "ä", "a\n"])
def test_a_path_that_is_no_pattern_is_refused(path: str) -> None:
    with pytest.raises(GrantError, match="path pattern"):
        principal(("read", path))


# The access file


GOOD = (
    rule("allow", "app", [NS], ["app/**"], ["read"])
    + token_entry("abcdefgh", "app")
    + '[clients."spiffe://d/client/ci"]\nprincipal = "app"\n'
)


def test_an_access_file_says_who_is_who() -> None:
    callers = decode(GOOD.encode())
    assert callers.tokens["abcdefgh"].principal == callers.clients["spiffe://d/client/ci"].principal == "app"
    assert callers.principals["app"].may("read", NS, "app/db")
    assert decode(b"") == decode(b"# nobody\n")
    assert callers.tokens["abcdefgh"].digest not in repr(callers)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("['read']", "['write']"),
        ("['read']", "[]"),
        ("['app/**']", "[]"),
        ("['app/**']", "['app/**/']"),
        ("['default']", "['Default']"),
        ("['default']", "[]"),
        ("capabilities", "capability"),
        ("principals.app.allow", "principals.App.allow"),
        ("principals.app.allow", "principals.other.allow"),
        ("principals.app.allow", "principals.app.permit"),
        ("tokens.abcdefgh", "tokens.short"),
        ("tokens.abcdefgh", "tokens.ABCDEFGH"),
        ('digest = "', 'digest = "0'),
        ("spiffe://d/client/ci", "spiffe://d/node/ci"),
        ("spiffe://d/client/ci", "https://d/client/ci"),
        ("[tokens", "[tokens"[:-1]),
    ],
)
def test_an_access_file_that_cannot_be_is_refused(old: str, new: str) -> None:
    assert old in GOOD
    with pytest.raises(CallersError):
        decode(GOOD.replace(old, new, 1).encode())


def test_what_is_wrong_with_an_access_file_is_told_without_a_digest() -> None:
    with pytest.raises(CallersError) as refused:
        decode(GOOD.replace("\nprincipal", "0\nprincipal").replace('"0\n', '0"\n').encode())
    assert digest("A" * 41 + "_-")[:16] not in str(refused.value)
    with pytest.raises(CallersError):
        decode(b"\xff")


@pytest.mark.parametrize(
    "token", ["", "kofn_abcdefgh", "kofn_abc_" + "A" * 43, "kofn_abcdefgh_" + "A" * 42, "kofn_abcdefgh_" + "A" * 43 + "\n"]
)
def test_a_text_that_is_no_token_has_no_parts(token: str) -> None:
    assert split_token(token) is None


def test_a_token_is_split_at_its_first_two_underscores() -> None:
    assert split_token("kofn_abcdefgh_" + "_" * 43) == ("abcdefgh", "_" * 43)


def test_the_fakes_grant_every_capability_that_there_is() -> None:
    assert EVERYTHING == CAPABILITIES


def test_the_example_of_the_documentation_is_an_access_file_and_means_what_it_says() -> None:
    text = (Path(__file__).parent.parent / "docs" / "access.md").read_text()
    callers = decode(text.split("```toml\n")[1].split("```")[0].encode())
    deploy, team = callers.principals["deploy"], callers.principals["team"]
    assert deploy.may("read", "default", "app/db")
    assert not deploy.may("read", "default", "app/root/key")
    assert deploy.may_see_status()
    assert team.namespaces == ("team-dev", "team-prod")
    assert team.may("read", "team-prod", "web/public/key")
    assert not team.may("read", "team-prod", "web/private")
    assert all(f"| `{capability}` |" in text for capability in CAPABILITIES)
