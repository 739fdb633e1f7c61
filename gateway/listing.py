"""A page of names of which the caller may see only some: further pages are asked for until this one is full.

Whatever tells where a page ends, ``next`` included, is a name that the caller may list; of others not even their number shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gateway.access import Listing
from model.operation import List, Names

MAX_NAMES = 1000


def page(ask: Callable[[List], Names], listing: Listing, after: str, limit: int) -> tuple[list[str], bool]:
    """The first ``limit`` names of ``listing`` that sort after ``after``, and whether there are more. ``ask`` asks the nodes."""
    names: list[str] = []
    for name in _visible(ask, listing, after, min(limit + 1, MAX_NAMES)):
        if len(names) == limit:
            return names, True
        names.append(name)
    return names, False


def _visible(ask: Callable[[List], Names], listing: Listing, after: str, at_once: int) -> Iterator[str]:
    """Every name of ``listing`` after ``after``, sorted: its starts are, and no name has two of them."""
    for start in listing.starts:
        if start < after and not after.startswith(start):
            continue  # so do all its names
        last, more = after, True
        while more:
            found = ask(List(listing.namespace, start, last, at_once))
            yield from filter(listing.visible, found.names)
            more = found.more and bool(found.names)
            last = found.names[-1] if found.names else last
            at_once = MAX_NAMES
