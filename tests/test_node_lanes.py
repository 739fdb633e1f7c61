"""The lanes of a road to a peer: what waits leaves together and in order, what nobody waits for rides along or leaves by itself."""

from __future__ import annotations

import time
from queue import SimpleQueue

from model.message import Addressed, Query, Release
from model.operation import SecretId
from model.record import ZERO
from node.peers import FLIGHT_MESSAGES, RIDE_SECONDS, Delivery, Parcel, _Lane

MAILBOX: SimpleQueue[Delivery] = SimpleQueue()
RIDER = Parcel((Addressed(SecretId("default", "a"), Release(ZERO)),), (), None)


def awaited(count: int) -> Parcel:
    messages = tuple(Addressed(SecretId("default", str(number)), Query()) for number in range(count))
    return Parcel(messages, tuple(range(count)), MAILBOX)


def filled(*parcels: Parcel) -> _Lane:
    lane = _Lane()
    for parcel in parcels:
        lane.put(parcel)
    return lane


def test_all_that_waits_leaves_together_and_in_the_order_it_was_posted() -> None:
    parcels = [awaited(2), RIDER, awaited(3), RIDER]
    assert filled(*parcels).load() == parcels


def test_a_list_is_bounded_but_a_parcel_is_never_split() -> None:
    parcels = [awaited(FLIGHT_MESSAGES + 1), awaited(FLIGHT_MESSAGES - 1), awaited(1), awaited(1)]
    lane = filled(*parcels)
    assert [lane.load() for _ in range(3)] == [parcels[:1], parcels[1:3], parcels[3:]]


def test_what_nobody_waits_for_leaves_by_itself_after_a_moment() -> None:
    lane = filled(RIDER)
    begun = time.monotonic()
    assert lane.load() == [RIDER]
    assert time.monotonic() - begun >= RIDE_SECONDS


def test_a_lane_that_is_given_up_is_empty_and_goes_on() -> None:
    lane = filled(awaited(1), RIDER)
    assert len(lane.give_up()) == 2
    lane.put(awaited(2))
    assert lane.load() == [awaited(2)]
