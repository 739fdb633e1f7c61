"""Listing names: merging the pages of several nodes (SEM-18).

Every live secret is held as live by at least one of any R nodes, so the union of R pages misses nothing, up to where the
shortest full page ends. Names that are held as live somewhere but deleted in truth are weeded out by a reading of each.
"""

from __future__ import annotations

from collections.abc import Sequence

from model.message import NamePage


def merge(pages: Sequence[NamePage], limit: int) -> tuple[list[str], bool]:
    """The first ``limit`` names of the union that is complete, sorted, and whether more may follow."""
    ends = [page.names[-1] for page in pages if page.more]
    union = sorted({name for page in pages for name in page.names if not ends or name <= min(ends)})
    return union[:limit], bool(ends) or len(union) > limit
