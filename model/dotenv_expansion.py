"""What python-dotenv expands in a value: ``${NAME}`` and ``${NAME:-default}``.

The grammar is that of ``dotenv.variables``, whose regular expression takes quadratic time on a value full of ``${``; values come from
strangers, so here it is scanned in linear time, and a test holds the two together.

A value is a sequence of atoms: (None, literal text) or (name, default). Neighbouring literals are one atom and none is empty, so two
texts mean the same exactly if their atoms are equal. The variable without a name cannot exist: ``${:-x}`` is the literal ``x``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

Atom = tuple[str | None, str]

_STOP = re.compile(r"[}:]")


def atoms(text: str) -> list[Atom]:
    """What the expansion of ``text`` consists of."""
    return merge(_scan(text))


def merge(parts: Iterable[Atom]) -> list[Atom]:
    """The same atoms in their normal form: literals joined, empty ones dropped."""
    merged: list[Atom] = []
    literal: list[str] = []
    for name, part in parts:
        if not name:
            literal.append(part)
            continue
        if any(literal):
            merged.append((None, "".join(literal)))
        literal = []
        merged.append((name, part))
    if any(literal):
        merged.append((None, "".join(literal)))
    return merged


def without_expansion(value: str) -> str:
    """``value`` written so that it expands to itself: each ``$``, and a ``{`` that a ``$`` may precede, as the default of no variable."""
    return re.sub(r"\$|\A\{", lambda match: f"${{:-{match[0]}}}", value)


def _scan(text: str) -> Iterator[Atom]:
    done, stop = 0, -1
    start = text.find("${")
    while start >= 0:
        if stop < start + 2:  # otherwise the last one found is still the next one, which is what keeps this linear
            match = _STOP.search(text, start + 2)
            if match is None:
                break
            stop = match.start()
        close = stop if text[stop] == "}" else text.find("}", stop) if text.startswith(":-", stop) else None
        if close == -1:
            break
        if close is not None:
            yield None, text[done:start]
            yield text[start + 2 : stop], text[stop + 2 : close]
            done = close + 1
        start = text.find("${", start + 2 if close is None else done)
    yield None, text[done:]
