"""The changes that mutation testing makes to a module: each takes one thing out, turns it round, or is off by one.

Comparisons are turned and moved by one; one side of an ``and`` or ``or`` is left out, or the one is put for the other; a condition
always holds, or never; a statement, a keyword argument or a ``case`` is left out; numbers are one more; ``max`` is put for ``min``,
``any`` for ``all``, and so on. What is left as it is: annotations, docstrings, assertions and what an error says.
"""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
REPLACED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.BitXor: ast.BitOr,
}
CALLED = {"max": "min", "min": "max", "any": "all", "all": "any"}


class Mutant(NamedTuple):
    """The ``number``-th change to a module. ``name``: the function, and what was put for what; no other of the module has it."""

    number: int
    name: str
    line: int


class Change(NamedTuple):
    """``apply`` changes the tree; ``before`` and ``after`` say what, ``scope`` and ``line`` where."""

    scope: str
    line: int
    before: str
    after: str
    apply: Callable[[], object]


def mutants(path: Path) -> list[Mutant]:
    """One mutant for each change, in the order of the text."""
    found: list[Mutant] = []
    seen: Counter[str] = Counter()
    for number, change in enumerate(_changes(_parsed(path))):
        name = f"{change.scope}: {change.before} -> {change.after}"
        seen[name] += 1
        found.append(Mutant(number, name if seen[name] == 1 else f"{name} ({seen[name]})", change.line))
    return found


def mutated(path: Path, number: int) -> CodeType:
    """The module with one change."""
    tree = _parsed(path)
    next(islice(_changes(tree), number, None)).apply()
    return compile(ast.fix_missing_locations(tree), str(path), "exec")


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _changes(tree: ast.AST, scope: str = "module") -> Iterator[Change]:
    """Every change to the nodes below, in the order of the text."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Assert | ast.Raise | ast.Import | ast.ImportFrom):
            continue
        inner = scope
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            inner = node.name if scope == "module" else f"{scope}.{node.name}"
        yield from _of(node, inner)
        yield from _changes(_without_annotation(node), inner)


def _without_annotation(node: ast.AST) -> ast.AST:
    """What of a node is evaluated when the module runs."""
    match node:
        case ast.arg():
            return ast.Module([], [])
        case ast.AnnAssign(value=value):
            return ast.Module([ast.Expr(value)] if value is not None else [], [])
        case ast.ClassDef(body=body):
            return ast.Module(body, [])
        case ast.FunctionDef(args=arguments, body=body):
            defaults = [ast.Expr(each) for each in (*arguments.defaults, *arguments.kw_defaults) if each is not None]
            return ast.Module([*defaults, *body], [])
    return node


def _of(node: ast.AST, scope: str) -> Iterator[Change]:
    """The changes to this very node."""
    for before, after, apply in _kinds(node):
        yield Change(scope, getattr(before, "lineno", 0), _text(before), after if isinstance(after, str) else _text(after), apply)


def _text(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())


Kind = tuple[ast.AST, ast.AST | str, Callable[[], object]]


def _kinds(node: ast.AST) -> Iterator[Kind]:
    for field in ("test", "guard"):
        condition = getattr(node, field, None)
        if isinstance(condition, ast.expr):
            yield from (_set(node, field, condition, ast.Constant(value)) for value in (True, False))
    match node:
        case ast.Compare(ops=operators):
            for place, operator in enumerate(operators):
                for other in COMPARED[type(operator)]:
                    yield _become(node, _with(node, ops=[*operators[:place], other(), *operators[place + 1 :]]))
        case ast.BoolOp(op=operator, values=values):
            yield _become(node, _with(node, op=ast.Or() if isinstance(operator, ast.And) else ast.And()))
            for place in range(len(values)):
                rest = [*values[:place], *values[place + 1 :]]
                yield _become(node, rest[0] if len(rest) == 1 else _with(node, values=rest))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield _become(node, operand)
        case ast.BinOp(op=operator) if type(operator) in REPLACED:
            yield _become(node, _with(node, op=REPLACED[type(operator)]()))
        case ast.Constant(value=bool(value)):
            yield _become(node, ast.Constant(not value))
        case ast.Constant(value=int(value)):
            yield _become(node, ast.Constant(value + 1))
        case ast.Call(func=ast.Name(id=name)) if name in CALLED:
            yield _become(node, _with(node, func=ast.Name(CALLED[name], ast.Load())))
        case ast.comprehension(ifs=conditions):
            for place, condition in enumerate(conditions):
                yield condition, "left out", _emptier(conditions, place)
        case ast.Match(cases=cases):
            for place, case in enumerate(cases):
                yield case.pattern, "case left out", _emptier(cases, place)
    if isinstance(node, ast.Call):
        for place, keyword in enumerate(node.keywords):
            if keyword.arg is not None:
                yield node, f"without {keyword.arg}", _emptier(node.keywords, place)
    for field in ("body", "orelse"):
        body = getattr(node, field, None)
        if isinstance(body, list) and not isinstance(node, ast.Module | ast.ClassDef):
            for place, statement in enumerate(body):
                if isinstance(statement, ast.Assign | ast.AugAssign | ast.Continue | ast.Break) or _is_call(statement):
                    yield _left_out(body, place, statement)


def _is_call(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and not isinstance(statement.value, ast.Constant | ast.Yield | ast.YieldFrom)


def _left_out(body: list[ast.stmt], place: int, statement: ast.stmt) -> Kind:
    return statement, "left out", lambda: body.__setitem__(place, ast.Pass())


def _emptier(items: list[Any], place: int) -> Callable[[], object]:
    return lambda: items.pop(place)


def _with(node: ast.expr, **fields: object) -> ast.expr:
    other = copy.copy(node)
    for field, value in fields.items():
        setattr(other, field, value)
    return other


def _set(node: ast.AST, field: str, before: ast.expr, after: ast.expr) -> Kind:
    return before, after, lambda: setattr(node, field, after)


def _become(node: ast.expr, other: ast.expr) -> Kind:
    """``node`` itself is turned into ``other``: whoever holds it need not be known."""

    def apply() -> None:
        fields = dict(vars(other))
        node.__class__ = other.__class__
        vars(node).clear()
        vars(node).update(fields)

    return node, other, apply
