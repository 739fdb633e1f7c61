"""The lanes of a road to a peer: what waits leaves together and in order, who posts to a free lane carries it, and nobody is forgotten."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Sequence
from queue import Empty
from typing import Any

import pytest

from model.framing import request
from model.message import Addressed, Query, Release, Reply, Snapshot
from model.operation import SecretId
from model.record import ZERO
from node.flight import Flight
from node.inbox import Inbox
from node.lane import FLIGHT_MESSAGES, RIDE_SECONDS, SLOW_SECONDS, Lane
from node.parcel import Delivery, Parcel

NOTHING = Snapshot(ZERO, ZERO, ())
RIDER = Parcel((Addressed(SecretId("default", "a"), Release(ZERO)),), (), None)


class PlainSocket(socket.socket):
    """Says what it wants as a TLS socket does."""

    def recv(self, *arguments: Any) -> bytes:
        try:
            return super().recv(*arguments)
        except BlockingIOError:
            raise ssl.SSLWantReadError from None


class PlainConnection:
    """A connection without TLS to a peer that the test plays; what a Flight needs of ``node.flight.Connection``."""

    host = "peer"
    is_old = False

    def __init__(self) -> None:
        near, self.far = socket.socketpair()
        self.socket = PlainSocket(fileno=near.detach())
        self.socket.setblocking(False)
        self.far.settimeout(5)

    def close(self) -> None:
        self.socket.close()


class PlainRoad:
    """A road whose requests are as many bytes as they have messages, and whose answers are so many bytes too."""

    connect_seconds = 0.2

    def __init__(self) -> None:
        self.connections: list[PlainConnection] = []
        self.connected = threading.Semaphore(0)
        self.failures: list[str] = []
        self.refuses = False

    def connect(self) -> Any:
        if self.refuses:
            raise ConnectionRefusedError
        self.connections.append(PlainConnection())
        self.connected.release()
        return self.connections[-1]

    def depart(self, connection: Any, messages: tuple[Addressed, ...]) -> Flight:
        return Flight(connection, "/", b"m" * len(messages), time.monotonic() + 0.5, 10_000)

    def arrive(self, body: bytes, messages: tuple[Addressed, ...]) -> Sequence[Reply] | None:
        return None if body == b"other store" else [NOTHING] * len(messages)

    def may_repeat(self, messages: tuple[Addressed, ...]) -> bool:
        return all(isinstance(addressed.message, Query) for addressed in messages)

    def fail(self, error: Exception) -> None:
        self.failures.append(type(error).__name__)

    def carried(self, connection: int = -1) -> int:
        """How many messages the next request on a connection carries."""
        far = self.connections[connection].far
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += _some(far, 1)
        size = int(head.split(b"Content-Length: ")[1])
        assert head + _some(far, size) == request("/", "peer", b"m" * size)
        return size

    def answer(self, body: bytes = b"", connection: int = -1) -> None:
        self.connections[connection].far.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def _some(far: socket.socket, size: int) -> bytes:
    data = far.recv(size, socket.MSG_WAITALL)
    assert len(data) == size, "the request is cut off"
    return data


@pytest.fixture
def road() -> PlainRoad:
    return PlainRoad()


def awaited(count: int, inbox: Inbox) -> Parcel:
    messages = tuple(Addressed(SecretId("default", str(number)), Query()) for number in range(count))
    return Parcel(messages, tuple(range(count)), inbox)


def post(lane: Lane, parcel: Parcel) -> bool:
    """Post as a road does; whether the caller carries it."""
    trip = lane.post(parcel)
    if trip is not None:
        assert isinstance(parcel.mailbox, Inbox)
        parcel.mailbox.watch(lane, trip)
    return trip is not None


def opened(road: PlainRoad) -> tuple[Lane, Inbox]:
    """A lane with a connection that rests."""
    lane, inbox = Lane(road), Inbox()
    lane.begin("test-lane")
    assert not post(lane, awaited(1, inbox)), "connecting is the lane's own business"
    assert road.connected.acquire(timeout=5)
    road.carried()
    road.answer()
    assert inbox.get(timeout=5) == Delivery((0,), [NOTHING])
    return lane, inbox


def test_who_posts_to_a_free_lane_carries_the_request_and_what_rides_along(road: PlainRoad, monkeypatch: pytest.MonkeyPatch) -> None:
    lane, inbox = opened(road)
    monkeypatch.setattr("node.lane.RIDE_SECONDS", 60.0)
    assert not post(lane, RIDER)
    assert post(lane, awaited(2, inbox))
    assert road.carried() == 3
    road.answer()
    assert inbox.get(timeout=5) == Delivery((0, 1), [NOTHING] * 2)


def test_what_is_posted_while_a_request_is_under_way_leaves_together_when_it_has_ended(road: PlainRoad) -> None:
    lane, inbox = opened(road)
    others = [Inbox(), Inbox()]
    assert post(lane, awaited(1, inbox))
    assert not any(post(lane, awaited(2, other)) for other in others)
    assert road.carried() == 1
    road.answer()
    assert inbox.get(timeout=5).replies == [NOTHING]
    assert road.carried() == 4
    road.answer()
    assert [other.get(timeout=5).tokens for other in others] == [(0, 1), (0, 1)]


def test_a_list_is_bounded_but_a_parcel_is_never_split(road: PlainRoad) -> None:
    lane, inbox = opened(road)
    assert post(lane, awaited(1, inbox))
    for count in (FLIGHT_MESSAGES + 1, FLIGHT_MESSAGES - 1, 1, 1):
        assert not post(lane, awaited(count, inbox))
    carried = []
    for _ in range(4):
        carried.append(road.carried())
        road.answer()
        inbox.get(timeout=5)
    assert carried == [1, FLIGHT_MESSAGES + 1, FLIGHT_MESSAGES, 1]


def test_what_nobody_waits_for_leaves_by_itself_after_a_moment(road: PlainRoad) -> None:
    lane, _ = opened(road)
    begun = time.monotonic()
    post(lane, RIDER)
    assert road.carried() == 1
    assert time.monotonic() - begun >= RIDE_SECONDS


def test_a_request_that_is_left_behind_is_carried_by_the_lane(road: PlainRoad) -> None:
    lane, hasty = opened(road)
    patient = Inbox()
    assert post(lane, awaited(1, hasty))
    with pytest.raises(Empty):
        hasty.get(timeout=0.01)
    hasty.close()
    assert not post(lane, awaited(2, patient))
    assert road.carried() == 1
    road.answer()
    assert road.carried() == 2
    road.answer()
    assert patient.get(timeout=5).replies == [NOTHING] * 2


def test_a_connection_that_died_while_it_rested_is_replaced_and_nothing_is_lost(road: PlainRoad) -> None:
    lane, inbox = opened(road)
    road.connections[0].far.close()
    post(lane, awaited(1, inbox))
    assert road.connected.acquire(timeout=5)
    assert road.carried() == 1
    road.answer()
    assert inbox.get(timeout=5).replies == [NOTHING]
    assert road.failures == []


def test_a_question_meant_for_another_store_is_asked_once_more_and_no_oftener(road: PlainRoad) -> None:
    lane, inbox = opened(road)
    assert post(lane, awaited(1, inbox))
    road.answer(b"other store")
    with pytest.raises(Empty):
        inbox.get(timeout=0.1)
    assert (road.carried(), road.carried()) == (1, 1)
    road.answer(b"other store")
    assert inbox.get(timeout=5).replies is None
    assert len(road.connections) == 1


def test_when_nobody_answers_all_that_waits_is_told_and_the_lane_goes_on(road: PlainRoad) -> None:
    lane, inbox = opened(road)
    other = Inbox()
    assert post(lane, awaited(1, inbox))
    assert not post(lane, awaited(2, other))
    assert inbox.get(timeout=5) == Delivery((0,), None), "at the deadline"
    assert other.get(timeout=5) == Delivery((0, 1), None)
    road.refuses = True
    assert not post(lane, awaited(1, inbox))
    assert inbox.get(timeout=5).replies is None
    assert road.failures == ["TimeoutError", "ConnectionRefusedError"]
    road.refuses = False
    assert not post(lane, awaited(1, inbox))
    assert road.connected.acquire(timeout=5)
    road.answer()
    assert inbox.get(timeout=5).replies == [NOTHING]


def test_a_lane_is_slow_while_a_request_is_not_answered(road: PlainRoad) -> None:
    lane, inbox = opened(road)
    assert not lane.slow
    assert post(lane, awaited(1, inbox))
    time.sleep(SLOW_SECONDS + 0.05)
    assert lane.slow
    road.answer()
    assert inbox.get(timeout=5).replies == [NOTHING]
    assert not lane.slow


def test_who_waits_for_a_trip_of_their_own_hears_of_other_deliveries_at_once(road: PlainRoad) -> None:
    lane, inbox = opened(road)
    assert post(lane, awaited(1, inbox))
    threading.Timer(0.05, inbox.put, (Delivery(("other",), None),)).start()
    assert inbox.get(timeout=5).tokens == ("other",)
    road.answer()
    assert inbox.get(timeout=5).tokens == (0,)
