"""Room for clients: who gives way when there are too many, or when too much is kept for them."""

from __future__ import annotations

from gateway.crowd import HELD_BYTES, Crowd


class Client:
    def __init__(self, crowd: Crowd, *, served: bool = False) -> None:
        self.served = served
        self.dropped = False
        crowd.join(self)

    def drop(self) -> None:
        self.dropped = True


def dropped(*clients: Client) -> list[bool]:
    return [client.dropped for client in clients]


def test_beyond_the_room_the_one_that_never_had_an_answer_and_waits_for_longest_gives_way() -> None:
    crowd = Crowd(3)
    regular, first, second = Client(crowd, served=True), Client(crowd), Client(crowd)
    Client(crowd)
    assert dropped(regular, first, second) == [False, True, False]
    assert len(crowd) == 3


def test_who_is_being_served_does_not_give_way() -> None:
    crowd = Crowd(1)
    busy = Client(crowd)
    crowd.serve(busy)
    newcomer = Client(crowd)
    assert dropped(busy, newcomer) == [False, True]


def test_the_one_for_whom_something_is_held_for_longest_gives_way_when_too_much_is() -> None:
    crowd = Crowd(10)
    busy, idle, hoarder, honest = Client(crowd), Client(crowd), Client(crowd), Client(crowd)
    crowd.hold(busy, 10)
    crowd.serve(busy)
    crowd.hold(hoarder, 10)
    crowd.hold(honest, HELD_BYTES - 20)
    assert dropped(busy, idle, hoarder, honest) == [False] * 4, "so much is held, and not more"
    crowd.hold(honest, HELD_BYTES - 19)
    assert dropped(busy, idle, hoarder, honest) == [False, False, True, False], "who is being served, or holds nothing, does not give way"
    crowd.leave(busy)
    crowd.hold(honest, HELD_BYTES)
    assert not honest.dropped, "what was held for those who left counts no more"
    crowd.hold(honest, HELD_BYTES + 1)
    assert honest.dropped


def test_who_holds_nothing_for_a_while_is_new_among_those_who_do() -> None:
    crowd = Crowd(10)
    first, second = Client(crowd), Client(crowd)
    crowd.hold(first, 1)
    crowd.hold(second, 1)
    crowd.hold(first, 0)
    crowd.hold(first, HELD_BYTES)
    assert dropped(first, second) == [False, True]


def test_the_idle_are_dropped_and_those_with_half_a_request_are_not() -> None:
    crowd = Crowd(10)
    idle, half = Client(crowd), Client(crowd)
    crowd.hold(half, 1)
    crowd.drop_idle()
    assert dropped(idle, half) == [True, False]
    crowd.leave(idle)
    assert len(crowd) == 1


def test_a_newcomer_takes_the_place_of_the_one_that_has_been_idle_for_longest() -> None:
    crowd = Crowd(2)
    first, second = Client(crowd, served=True), Client(crowd, served=True)
    crowd.serve(first)
    crowd.wait(first)  # it has been idle for less long than the second
    newcomer = Client(crowd)
    assert dropped(first, second, newcomer) == [False, True, False]
