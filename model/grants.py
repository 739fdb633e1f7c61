"""What a principal may do: capabilities on path patterns in namespaces. Nothing is granted by default, and a denial wins.

A pattern is segments joined by ``/``, each a segment of a name, ``*`` (exactly one segment) or ``**`` (any number of segments, none
included): ``app/*/password`` matches ``app/db/password``, ``app/**`` matches ``app``, ``app/db`` and ``app/db/password``. A rule that
denies takes back what any rule allows, however the patterns compare.

Patterns become regular expressions over the name with a ``/`` behind it, once, when the rules are read. All runs between two ``**`` are
matched at their first possible place and held there (atomic groups, as in ``fnmatch.translate``), so that matching stays linear for
each ``**`` whatever the name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Annotated, Literal, get_args

import msgspec

from model.errors import InvalidRequest
from model.name import check_name, check_namespace

Capability = Literal["create", "read", "update", "delete", "history", "list", "status"]
CAPABILITIES: tuple[Capability, ...] = get_args(Capability)

_ONE, _ANY = "*", "**"
_SOME = msgspec.Meta(min_length=1)


class GrantError(ValueError):
    """A rule that cannot be; the text tells the rule for rules."""


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``capabilities`` on all names that any of ``paths`` matches, in each of ``namespaces``; to status no name matters."""

    namespaces: Annotated[tuple[str, ...], _SOME]
    paths: Annotated[tuple[str, ...], _SOME]
    capabilities: Annotated[tuple[Capability, ...], _SOME]


class Principal(msgspec.Struct, frozen=True):
    """Who may do what: ``id``, the ``namespaces`` that any rule allows something in, and the rules, compiled by ``compile_rules``."""

    id: str
    namespaces: tuple[str, ...]
    _allowed: Mapping[tuple[str, Capability], re.Pattern[str]]
    _denied: Mapping[tuple[str, Capability], re.Pattern[str]]
    _starts: Mapping[str, tuple[str, ...]]
    _status: bool

    def __repr__(self) -> str:
        return f"Principal({self.id!r})"

    def may(self, capability: Capability, namespace: str, name: str) -> bool:
        """Whether ``capability`` on the secret ``name`` in ``namespace`` is granted."""
        allowed = self._allowed.get((namespace, capability))
        if allowed is None or allowed.fullmatch(f"{name}/") is None:
            return False
        denied = self._denied.get((namespace, capability))
        return denied is None or denied.fullmatch(f"{name}/") is None

    def may_see_status(self) -> bool:
        """Whether a rule allows status and none denies it, in whatever namespace: the status belongs to all of them."""
        return self._status

    def may_list_in(self, namespace: str) -> bool:
        """Whether any name at all may be listed in ``namespace``."""
        return (namespace, "list") in self._allowed

    def list_starts(self, namespace: str, prefix: str) -> tuple[str, ...]:
        """The beginnings, sorted and none of them the beginning of another, of all names with ``prefix`` that may be listed."""
        starts = self._starts.get(namespace, ())
        return _shortest(max(start, prefix, key=len) for start in starts if start.startswith(prefix) or prefix.startswith(start))


def compile_rules(principal: str, allow: Sequence[Rule], deny: Sequence[Rule]) -> Principal:
    """The principal of these rules. Raises GrantError."""
    listed: dict[str, list[str]] = {}
    for rule in allow:
        if "list" in rule.capabilities:
            for namespace in rule.namespaces:
                listed.setdefault(namespace, []).extend(map(_start, rule.paths))
    return Principal(
        principal,
        tuple(sorted({namespace for rule in allow for namespace in rule.namespaces})),
        _patterns(allow),
        _patterns(deny),
        {namespace: _shortest(starts) for namespace, starts in listed.items()},
        _mentions_status(allow) and not _mentions_status(deny),
    )


def _patterns(rules: Sequence[Rule]) -> dict[tuple[str, Capability], re.Pattern[str]]:
    """One expression for each namespace and capability that ``rules`` speak of."""
    expressions: dict[tuple[str, Capability], list[str]] = {}
    for rule in rules:
        found = [expression(path) for path in rule.paths]
        for namespace in rule.namespaces:
            try:
                check_namespace(namespace)
            except InvalidRequest as error:
                raise GrantError(error.detail) from None
            for capability in rule.capabilities:
                expressions.setdefault((namespace, capability), []).extend(found)
    return {key: re.compile("|".join(each)) for key, each in expressions.items()}


def expression(pattern: str) -> str:
    """The regular expression that matches ``NAME/`` if and only if ``pattern`` matches NAME. Raises GrantError."""
    runs = [""]
    for segment in pattern.split("/"):
        if segment == _ANY:
            runs.append("")
        else:
            runs[-1] += "[^/]+/" if segment == _ONE else f"{re.escape(_literal(segment))}/"
    first, *others = runs
    if not others:
        return first
    *middle, last = others
    return first + "".join(f"(?>(?:[^/]+/)*?{run})" for run in middle) + f"(?:[^/]+/)*{last}"


def _literal(segment: str) -> str:
    try:
        return check_name(segment)
    except InvalidRequest:
        raise GrantError("A path pattern is segments joined by '/', each '*', '**' or a segment of a name") from None


def _start(pattern: str) -> str:
    """What every name that ``pattern`` matches begins with."""
    segments = pattern.split("/")
    literals = list(takewhile(lambda segment: segment not in {_ONE, _ANY}, segments))
    if literals and _ONE in segments[len(literals) : len(literals) + 1]:
        literals.append("")  # another segment follows for certain
    return "/".join(literals)


def _shortest(starts: Iterable[str]) -> tuple[str, ...]:
    """``starts``, sorted, without those that begin with another of them."""
    kept: list[str] = []
    for start in sorted(starts):
        if not kept or not start.startswith(kept[-1]):
            kept.append(start)
    return tuple(kept)


def _mentions_status(rules: Sequence[Rule]) -> bool:
    return any("status" in rule.capabilities for rule in rules)
