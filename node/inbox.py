"""The mailbox of a thread that carries requests itself: it polls for all of them, and for what others deliver, at once."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from queue import Empty, SimpleQueue

from node.flight import wait
from node.lane import Lane, Trip
from node.parcel import Delivery


class Inbox:
    """The mailbox of one thread, which carries its own trips while it waits. Implements ``Mailbox``."""

    def __init__(self) -> None:
        self._owner = threading.get_ident()
        self._arrived: SimpleQueue[Delivery] = SimpleQueue()
        self._trips: list[tuple[Lane, Trip]] = []
        self._bell: _Bell | None = None

    def put(self, item: Delivery) -> None:
        self._arrived.put(item)
        if self._bell is not None and threading.get_ident() != self._owner:
            self._bell.ring()

    def get(self, *, timeout: float) -> Delivery:
        until = time.monotonic() + timeout
        while True:
            left = until - time.monotonic()
            if not self._trips:
                return self._arrived.get(timeout=max(0.0, left))
            if not self._arrived.empty():
                return self._arrived.get()
            if left <= 0:
                raise Empty
            end = min(trip.flight.deadline for _, trip in self._trips) - time.monotonic()
            assert self._bell is not None, "there is one wherever there are trips"
            wait((trip.flight for _, trip in self._trips), self._bell.number, min(left, end))
            self._bell.hush()
            self._trips = [(lane, trip) for lane, trip in self._trips if not lane.carry(trip)]

    def close(self) -> None:
        """What is still under way is left to the lanes."""
        for lane, trip in self._trips:
            lane.take_over(trip)
        self._trips.clear()

    def watch(self, lane: Lane, trip: Trip) -> None:
        """Carry ``trip`` from now on."""
        if lane.carry(trip):
            return
        self._trips.append((lane, trip))
        if self._bell is None:
            self._bell = _Bell()


class _Bell:
    """Wakes a thread that polls for its trips, when something else is delivered."""

    def __init__(self) -> None:
        self.number = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def ring(self) -> None:
        os.eventfd_write(self.number, 1)

    def hush(self) -> None:
        """Forget that it was rung; who was told looks for what has come."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.number)

    def __del__(self) -> None:  # not before the last one who may ring it has gone
        os.close(self.number)
