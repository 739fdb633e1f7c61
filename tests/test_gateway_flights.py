"""Combining: requests that wait for the same node ride together, and each gets exactly its own results."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import gevent
import pytest
from gevent.event import Event
from gevent.pool import Pool

from gateway.flights import FLIGHT_BYTES, FLIGHT_OPERATIONS, HELD_UP_SECONDS, Flights, Landing, Loss, size_bytes
from model.operation import Create, Deleted, Failed, NewValue, Operation, Read, Result, SecretId

LATE_SECONDS = 20.0
SOON_SECONDS = 0.1


def ask(flights: Flights, operations: list[Read], *, patient: bool = True) -> Landing:
    return flights.ask(operations, patient=patient)


def read(name: str) -> Read:
    return Read(SecretId("default", name))


def echo(operations: Sequence[Operation]) -> list[Result]:
    """A result for each operation that tells which one it was."""
    return [Failed("unavailable", operation.secret.name) for operation in operations if isinstance(operation, Read)]


class Gate:
    """A ``send`` whose flights all wait until ``open`` is called; ``crews`` are the operations of each."""

    def __init__(self) -> None:
        self.crews: list[list[Operation]] = []
        self._open = Event()

    def send(self, operations: list[Operation]) -> Landing:
        self.crews.append(operations)
        assert self._open.wait(10)
        return echo(operations)

    def wait_for(self, count: int) -> None:
        """Until ``count`` flights have left."""
        with gevent.Timeout(10):
            while len(self.crews) < count:
                gevent.sleep(0.001)

    def open(self) -> None:
        self._open.set()


def wait_until_waiting(flights: Flights, count: int) -> None:
    """Until ``count`` requests wait for a flight."""
    with gevent.Timeout(10):
        while len(flights._waiting) != count:
            gevent.sleep(0.001)


def test_a_free_flight_leaves_at_once() -> None:
    flights = Flights(echo, 1, LATE_SECONDS)
    assert ask(flights, [read("a"), read("b")]) == echo([read("a"), read("b")])


def test_those_who_wait_ride_together_in_the_next_flight() -> None:
    gate = Gate()
    flights = Flights(gate.send, 2, LATE_SECONDS)
    pool = Pool(12)
    first = [pool.spawn(ask, flights, [read(f"first-{i}")]) for i in range(2)]
    gate.wait_for(2)
    later = [pool.spawn(ask, flights, [read(f"{i}-a"), read(f"{i}-b")]) for i in range(10)]
    wait_until_waiting(flights, 10)
    gate.open()
    assert [future.get(timeout=10) for future in first] == [echo([read(f"first-{i}")]) for i in range(2)]
    assert [future.get(timeout=10) for future in later] == [echo([read(f"{i}-a"), read(f"{i}-b")]) for i in range(10)]
    assert [len(crew) for crew in gate.crews] == [1, 1, 20]


def test_another_flight_leaves_beside_the_first_only_when_that_keeps_somebody_waiting() -> None:
    gate = Gate()
    flights = Flights(gate.send, 2, LATE_SECONDS)
    pool = Pool(4)
    begun = time.monotonic()
    first = pool.spawn(ask, flights, [read("first")])
    gate.wait_for(1)
    later = [pool.spawn(ask, flights, [read(f"later-{i}")]) for i in range(3)]
    gate.wait_for(2)
    waited = time.monotonic() - begun
    gate.open()
    assert first.get(timeout=10) == echo([read("first")])
    assert [future.get(timeout=10) for future in later] == [echo([read(f"later-{i}")]) for i in range(3)]
    assert waited >= 0.9 * HELD_UP_SECONDS, "timers count in the event loop's own time"
    assert sum(len(crew) for crew in gate.crews) == 4


def test_a_flight_is_bounded_by_operations_and_by_bytes() -> None:
    gate = Gate()
    flights = Flights(gate.send, 1, LATE_SECONDS)
    big = FLIGHT_OPERATIONS // 2 + 1
    pool = Pool(4)
    futures = [pool.spawn(ask, flights, [read("first")])]
    gate.wait_for(1)
    for i in range(3):
        futures.append(pool.spawn(ask, flights, [read(f"{i}")] * big))
        wait_until_waiting(flights, i + 1)
    gate.open()
    for future in futures:
        future.get(timeout=10)
    assert [len(crew) for crew in gate.crews] == [1, big, big, big]
    values = Create(tuple(NewValue(SecretId("n", str(i)), b"x" * 1_048_576) for i in range(4)), 0)
    assert size_bytes(values) > FLIGHT_BYTES


def test_after_a_loss_those_who_waited_were_never_sent() -> None:
    entered, go = Event(), Event()
    sent: list[int] = []

    def send(operations: list[Operation]) -> Landing:
        sent.append(len(operations))
        entered.set()
        assert go.wait(10)
        return Loss.NO_ANSWER

    flights = Flights(send, 1, LATE_SECONDS)
    pool = Pool(4)
    first = pool.spawn(ask, flights, [read("a")])
    assert entered.wait(10)
    later = [pool.spawn(ask, flights, [read("b")]) for _ in range(3)]
    wait_until_waiting(flights, 3)
    go.set()
    assert first.get(timeout=10) is Loss.NO_ANSWER
    assert [future.get(timeout=10) for future in later] == [Loss.NOT_RECEIVED] * 3
    assert sent == [1]
    go.set()
    assert ask(flights, [read("c")]) is Loss.NO_ANSWER


@pytest.mark.parametrize("patient", [True, False])
def test_who_waits_behind_a_flight_that_is_overdue_was_never_sent_and_leaves(patient: bool) -> None:
    gate = Gate()
    flights = Flights(gate.send, 1, SOON_SECONDS)
    pool = Pool(4)
    first = pool.spawn(flights.ask, [read("first")], patient=patient)
    gate.wait_for(1)
    assert ask(flights, [read("later")]) is Loss.NOT_RECEIVED
    assert flights.overdue
    if not patient:
        assert first.get(timeout=10) is Loss.NO_ANSWER
        assert flights.overdue, "although nobody waits for it any more"
    gate.open()
    first.join(10)
    gevent.sleep(0.01)
    assert not patient or first.get() == echo([read("first")])
    assert not flights.overdue
    assert [len(crew) for crew in gate.crews] == [1]


@pytest.mark.parametrize("who", ["pilot", "passenger", "nobody"])
def test_only_who_is_not_patient_leaves_a_flight_that_is_overdue(who: str) -> None:
    gate, second = Gate(), Gate()
    gates = iter([gate, second])

    def send(operations: list[Operation]) -> Landing:
        return next(gates).send(operations)

    flights = Flights(send, 1, SOON_SECONDS)
    pool = Pool(4)
    first = pool.spawn(flights.ask, [read("first")], patient=True)
    gate.wait_for(1)
    riders = {name: pool.spawn(flights.ask, [read(name)], patient=name != who) for name in ("pilot", "passenger")}
    wait_until_waiting(flights, 2)
    gate.open()
    assert first.get(timeout=10) == echo([read("first")])
    second.wait_for(1)
    if who in riders:
        assert riders.pop(who).get(timeout=10) is Loss.NO_ANSWER
    gevent.sleep(3 * SOON_SECONDS)
    assert not any(rider.ready() for rider in riders.values())
    second.open()
    for name, rider in riders.items():
        assert rider.get(timeout=10) == echo([read(name)])


def test_a_defect_in_one_flight_neither_hangs_the_others_nor_closes_the_road() -> None:
    def send(operations: list[Operation]) -> Landing:
        if operations[0] == read("bad"):
            raise RuntimeError
        return echo(operations)

    flights = Flights(send, 1, LATE_SECONDS)
    with pytest.raises(RuntimeError):
        ask(flights, [read("bad")])
    assert ask(flights, [read("good")]) == echo([read("good")])


def test_under_load_nothing_is_lost_mixed_or_sent_twice_and_flights_stay_within_their_limit() -> None:
    under_way, most, seen = 0, 0, []
    chance = random.Random(7)

    def send(operations: list[Operation]) -> Landing:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        seen.extend(operation.secret.name for operation in operations if isinstance(operation, Read))
        gevent.sleep(0.002 if chance.random() < 0.2 else 0)
        under_way -= 1
        return [
            Deleted() if isinstance(o, Read) and o.secret.name.endswith("0") else r
            for o, r in zip(operations, echo(operations), strict=True)
        ]

    flights = Flights(send, 2, LATE_SECONDS)

    def client(number: int) -> None:
        for i in range(60):
            names = [f"{number}-{i}-{j}" for j in range(1 + (number + i) % 3)]
            landing = ask(flights, [read(name) for name in names])
            assert landing == [Deleted() if name.endswith("0") else Failed("unavailable", name) for name in names]

    pool = Pool(24)
    for future in [pool.spawn(client, number) for number in range(24)]:
        future.get(timeout=30)
    assert most <= 2
    assert len(seen) == len(set(seen)) == sum(1 + (number + i) % 3 for number in range(24) for i in range(60))
