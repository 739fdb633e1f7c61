"""Who is connected, and what is kept for those that are slow: bounded, whatever clients do.

A connection that waits for its client costs a greenlet and the bytes that are held for it: of a request that is not whole, or of an answer
that is not taken. Where there is no room, those that wait give way.
"""

from __future__ import annotations

from typing import Protocol

HELD_BYTES = 67_108_864
"""How much is held at a time, requests that are being served included."""


class Member(Protocol):
    """A connection. ``served`` tells whether it has ever had an answer."""

    served: bool

    def drop(self) -> None:
        """End it: who waits for its client gets OSError, and closes it."""


class Crowd:
    """At most ``most`` connections."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[Member, int] = {}
        self._held_bytes = 0
        self._holding: dict[Member, None] = {}
        self._waiting: dict[Member, None] = {}

    def __len__(self) -> int:
        return len(self._held)

    def join(self, member: Member) -> None:
        """Take a new connection, which waits; where there is no room, in place of another, or, if all are being served, not at all."""
        if len(self._held) >= self._most and not self.make_room():
            member.drop()
            return
        self._held[member] = 0
        self.wait(member)

    def leave(self, member: Member) -> None:
        """Forget a connection and what is held for it. One that was dropped may be said to leave again."""
        self._waiting.pop(member, None)
        self._holding.pop(member, None)
        self._held_bytes -= self._held.pop(member, 0)

    def wait(self, member: Member) -> None:
        """From now on ``member`` waits for its client, and may be dropped."""
        self._waiting[member] = None

    def serve(self, member: Member) -> None:
        """From now on ``member`` does not wait for its client."""
        self._waiting.pop(member, None)

    def hold(self, member: Member, size: int) -> None:
        """From now on ``size`` bytes are held for ``member``. If that is too much, those give way for whom something is held for longest.

        To push somebody out, others must send as much as may be held in the time that an honest request takes.
        """
        self._held_bytes += size - self._held.get(member, 0)
        self._held[member] = size
        if size:
            self._holding[member] = None
        else:
            self._holding.pop(member, None)
        if self._held_bytes > HELD_BYTES:
            for oldest in [each for each in self._holding if each in self._waiting]:
                self._drop(oldest)
                if self._held_bytes <= HELD_BYTES:
                    break

    def make_room(self) -> bool:
        """Drop the one that has been waiting for longest, of those that were never answered if there are any; False if nobody waits."""
        oldest = next((member for member in self._waiting if not member.served), next(iter(self._waiting), None))
        if oldest is not None:
            self._drop(oldest)
        return oldest is not None

    def drop_idle(self) -> None:
        """Drop those that wait and have nothing held."""
        for member in [each for each in self._waiting if not self._held[each]]:
            self._drop(member)

    def _drop(self, member: Member) -> None:
        self.leave(member)
        member.drop()
