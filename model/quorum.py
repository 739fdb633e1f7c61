"""How many nodes are enough: the numbers behind every read, vote, write, delete and repair.

A secret is split over ``share_count`` nodes (n) so that ``threshold`` of them (k) rebuild it. Two facts carry the protocol:
R + W > n, so every read meets every acknowledged write, and 2W > n, so two proposals cannot both win a vote (Gifford, "Weighted
Voting for Replicated Data", 1979). Because also W >= n - k + 1, at most k - 1 shares are left once W nodes have erased theirs.

This module only counts. What counts as a yes is decided by the machines above it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

MAX_SHARES = 255
"""The largest n: a share's index is one byte, and index 0 is the secret itself."""

Tally = Literal["pending", "won", "lost"]


class Quorum(msgspec.Struct, frozen=True):
    """The cluster's counts: ``share_count`` n, ``threshold`` k, and optionally a larger W, with 2 <= k <= n <= 255.

    ``write_raised`` asks for more acceptances than the protocol needs, so that more shares exist at the moment of
    acknowledgement. It can raise W up to n; a smaller number than the protocol's own has no effect.
    Raises ValueError for counts that cannot work.
    """

    share_count: int
    threshold: int
    write_raised: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.threshold <= self.share_count <= MAX_SHARES:
            raise ValueError(f"need 2 <= threshold <= share_count <= {MAX_SHARES}, got {self.threshold} of {self.share_count}")
        if not 0 <= self.write_raised <= self.share_count:
            raise ValueError(f"need 0 <= write_raised <= share_count, got {self.write_raised} with {self.share_count} shares")

    @property
    def read(self) -> int:
        """R: the snapshots a read needs before it may judge. Equal to k."""
        return self.threshold

    @property
    def write(self) -> int:
        """W: the votes, acceptances or erasures that settle a vote, a write or a delete. R + W > n and 2W > n."""
        return max(self.threshold, self.share_count - self.threshold + 1, self.write_raised)

    def may_be_chosen(self, possible_holders: int) -> bool:
        """Whether a record can have been chosen, when this many nodes hold it or have not said that they do not."""
        return possible_holders >= self.write

    def repair_due(self, found: int, buffer: int) -> bool:
        """Whether a read that found so many shares of the latest version should restore the missing ones.

        True from k to k + ``buffer`` shares found, as long as some are missing. Below k there is nothing to rebuild them from.
        """
        return self.threshold <= found <= self.threshold + buffer and found < self.share_count


def tally(yes: int, open_: int, need: int) -> Tally:
    """Where a count stands with ``yes`` answers in favour and ``open_`` still to come, when ``need`` decide it.

    "won" and "lost" are final: no answer still open can change them.
    """
    if yes >= need:
        return "won"
    if yes + open_ < need:
        return "lost"
    return "pending"
