"""Many lists of messages in one transaction: threads that come while one is under way are served together by the next.

So many acknowledgements share one sync of the disk (after "flat combining": Hendler, Incze, Shavit, Tzafrir, SPAA 2010).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from model.message import Addressed, Reply, Unfit

_BATCH_MESSAGES = 2048


class _Turn:
    """One thread's messages, waiting for a transaction. ``replies`` is None until one has taken them."""

    __slots__ = ("messages", "replies")

    def __init__(self, messages: Sequence[Addressed]) -> None:
        self.messages = messages
        self.replies: list[Reply] | None = None


class Turns:
    """Turns at ``commit``, which carries out messages in one transaction: a reply to each, or None if nothing came of any.

    It is called by one thread at a time; who else wants to be the only one holds ``alone``.
    """

    def __init__(self, commit: Callable[[Sequence[Addressed]], Sequence[Reply] | None]) -> None:
        self.alone = threading.Lock()
        self._commit = commit
        self._waiting: deque[_Turn] = deque()

    def __len__(self) -> int:
        """How many lists of messages wait for a transaction."""
        return len(self._waiting)

    def ask(self, messages: Sequence[Addressed]) -> list[Reply]:
        """The replies to ``messages``, once they are carried out; ``Unfit`` to each if that came to nothing."""
        turn = _Turn(messages)
        self._waiting.append(turn)
        with self.alone:
            while turn.replies is None:  # more may wait than fit into one transaction
                self._serve()
        return turn.replies

    def _serve(self) -> None:
        """One transaction for those who wait, as far as they fit in."""
        turns: list[_Turn] = []
        count = 0
        while self._waiting and count < _BATCH_MESSAGES:
            turns.append(self._waiting.popleft())
            count += len(turns[-1].messages)
        try:
            if not self._carry_out(turns) and len(turns) > 1:
                for turn in turns:  # one of them may be at fault: the others shall not pay for it
                    self._carry_out([turn])
        finally:
            for turn in turns:
                if turn.replies is None:
                    turn.replies = [Unfit() for _ in turn.messages]

    def _carry_out(self, turns: Sequence[_Turn]) -> bool:
        """One transaction for ``turns``; whether anything came of it."""
        replies = self._commit([message for turn in turns for message in turn.messages])
        if replies is None:
            return False
        rest = iter(replies)
        for turn in turns:
            turn.replies = list(islice(rest, len(turn.messages)))
        return True
