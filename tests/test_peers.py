"""The road to a peer: whatever the other side does, every parcel is answered for, in time, and the road stays open."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from inner_tls import Host, Party, answer

from model.identity import Role
from model.message import Addressed, Confirm, Noted, Query, Release, Replies, Reply, Snapshot, Vote, decode_exchange, encode
from model.operation import SecretId
from model.record import ZERO, Ballot
from node.api import answer as answered
from node.parcel import Delivery, Parcel
from node.peers import Roads
from node.store import Store

SECRET = SecretId("default", "app/db")
EMPTY = Snapshot(ZERO, ZERO, ())
ASKED = (Addressed(SECRET, Query()),)
STORE = b"store-of-node-2"

Serve = Callable[[ssl.SSLSocket, bytes], None]


class Yard:
    """node-1's roads, and node-2 at the end of one of them."""

    def __init__(self, folder: Path) -> None:
        self.party = Party(folder / "ca")
        self.hosts: list[Host] = []

    def open(self, serve: Serve, *, role: Role = Role.NODE, name: str = "node-2", party: Party | None = None) -> Roads:
        """Roads to a host that shows the certificate of ``role`` and ``name``; all times are short, answers at most 1 MiB."""
        party = party or self.party
        host = Host(party.context(ssl.Purpose.CLIENT_AUTH, party.issue(role, name)), serve)
        self.hosts.append(host)
        ports = {"node-1": 1, "node-2": host.port}
        return Roads(self.party.settings("node-1", ports, exchange_timeout_ms=500, connect_timeout_ms=500, exchange_bytes=1_048_576))

    @property
    def bodies(self) -> list[bytes]:
        return self.hosts[-1].bodies

    def close(self) -> None:
        for host in self.hosts:
            host.close()
        self.hosts.clear()


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    yard = Yard(tmp_path)
    yield yard
    yard.close()


def good(connection: ssl.SSLSocket, body: bytes) -> None:
    answer(connection, reply_to(body))


def reply_to(body: bytes, store: bytes = STORE) -> bytes:
    """What an empty node answers."""
    exchange = decode_exchange(body)
    if exchange.store not in (b"", store):
        return encode(Replies(store, None))
    replies: list[Reply] = [EMPTY if isinstance(each.message, Query) else Noted(False) for each in exchange.messages]
    return encode(Replies(store, tuple(replies)))


def ask(roads: Roads, messages: tuple[Addressed, ...] = ASKED, seconds: float = 5.0) -> Delivery:
    mailbox = roads.mailbox()
    roads.post("node-2", Parcel(messages, ("token",), mailbox))
    return mailbox.get(timeout=seconds)


def test_a_parcel_comes_back_with_its_tokens_and_a_reply_for_each_message(yard: Yard) -> None:
    roads = yard.open(good)
    assert ask(roads) == Delivery(("token",), (EMPTY,))
    assert roads.reachable() == ("node-2",)
    assert roads.store_of("node-2") == STORE
    exchange = decode_exchange(yard.bodies[0])
    assert (exchange.sender, exchange.store, exchange.messages) == ("node-1", b"", ASKED)


def test_what_waits_rides_together(yard: Yard) -> None:
    first = threading.Event()
    go_on = threading.Event()

    def serve(connection: ssl.SSLSocket, body: bytes) -> None:
        first.set()
        assert go_on.wait(5)
        good(connection, body)

    roads = yard.open(serve)
    mailbox = roads.mailbox()
    roads.post("node-2", Parcel(ASKED, (0,), mailbox))
    assert first.wait(5)
    for number in range(1, 101):
        roads.post("node-2", Parcel(ASKED, (number,), mailbox))
    go_on.set()
    deliveries = [mailbox.get(timeout=5) for _ in range(101)]
    assert sorted(delivery.tokens[0] for delivery in deliveries) == list(range(101))
    assert all(delivery.replies == (EMPTY,) for delivery in deliveries)
    assert len(yard.bodies) < 10


def test_messages_that_nobody_waits_for_leave_by_themselves_or_ride_along(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    roads = yard.open(good)
    roads.post("node-2", Parcel((Addressed(SECRET, Confirm(Ballot(1, "node-1", 1))),), (), None))
    _until(lambda: len(yard.bodies) == 1)
    monkeypatch.setattr("node.lane.RIDE_SECONDS", 60.0)
    roads.post("node-2", Parcel((Addressed(SECRET, Confirm(Ballot(2, "node-1", 1))),), (), None))
    release = (Addressed(SECRET, Release(Ballot(3, "node-1", 1))),)
    assert ask(roads, release) == Delivery(("token",), (Noted(False),))
    assert [len(decode_exchange(body).messages) for body in yard.bodies] == [1, 2]


def test_a_release_never_overtakes_its_vote(yard: Yard) -> None:
    """If it did, the vote would start a lease that nobody ends, and the next proposal of the same client would be locked out by it."""
    first = threading.Event()
    go_on = threading.Event()

    def serve(connection: ssl.SSLSocket, body: bytes) -> None:
        first.set()
        assert go_on.wait(5)
        good(connection, body)

    roads = yard.open(serve)
    mailbox = roads.mailbox()
    votes = [Addressed(SECRET, Vote(Ballot(number, "node-1", number), 3000)) for number in (1, 2)]
    releases = [Addressed(SECRET, Release(Ballot(number, "node-1", number))) for number in (1, 2)]
    roads.post("node-2", Parcel((votes[0],), (1,), mailbox))
    assert first.wait(5)
    roads.post("node-2", Parcel((releases[0],), (), None))
    roads.post("node-2", Parcel((votes[1],), (2,), mailbox))
    roads.post("node-2", Parcel((releases[1],), (), None))
    go_on.set()
    assert [mailbox.get(timeout=5).tokens for _ in range(2)] == [(1,), (2,)]
    _until(lambda: len(yard.bodies) == 2)
    arrived = [message for body in yard.bodies for message in decode_exchange(body).messages]
    assert arrived == [votes[0], releases[0], votes[1], releases[1]]


def garbage(connection: ssl.SSLSocket, body: bytes) -> None:
    connection.sendall(b"\x00\xff this is not HTTP \r\n\r\n" * 10)


def no_list(connection: ssl.SSLSocket, body: bytes) -> None:
    answer(connection, b"\xc1\xc1\xc1")


def no_text(connection: ssl.SSLSocket, body: bytes) -> None:
    answer(connection, b"\x92\xa1\xff\x90")


def too_short_a_list(connection: ssl.SSLSocket, body: bytes) -> None:
    answer(connection, encode(Replies(STORE, ())))


def error(connection: ssl.SSLSocket, body: bytes) -> None:
    answer(connection, reply_to(body), "500 Internal Server Error")


def redirect(connection: ssl.SSLSocket, body: bytes) -> None:
    answer(connection, b"", "307 Temporary Redirect", f"Location: https://127.0.0.1:{connection.getsockname()[1]}/elsewhere\r\n")


def hang_up(connection: ssl.SSLSocket, body: bytes) -> None:
    connection.close()


def huge_header(connection: ssl.SSLSocket, body: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000)


def oversized(connection: ssl.SSLSocket, body: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n")
    for _ in range(100):
        connection.sendall(b"x" * 1_048_576)


def silent(connection: ssl.SSLSocket, body: bytes) -> None:
    assert connection.recv(1) == b"", "who waits for an answer asks nothing else"


def dripping(connection: ssl.SSLSocket, body: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
    _drip(connection)


def dripping_header(connection: ssl.SSLSocket, body: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    _drip(connection)


def _drip(connection: ssl.SSLSocket) -> None:
    for _ in range(40):
        connection.sendall(b"x")
        time.sleep(0.1)


BAD: list[Serve] = [
    garbage,
    no_list,
    no_text,
    too_short_a_list,
    error,
    redirect,
    hang_up,
    huge_header,
    oversized,
    silent,
    dripping,
    dripping_header,
]


@pytest.mark.parametrize("bad", BAD)
def test_an_answer_that_cannot_be_used_is_no_answer_and_the_road_goes_on(yard: Yard, bad: Serve) -> None:
    behaviour: list[Serve] = [bad] * 2 + [good] * 100

    def serve(connection: ssl.SSLSocket, body: bytes) -> None:
        behaviour.pop(0)(connection, body)

    roads = yard.open(serve)
    begun = time.monotonic()
    deliveries = [ask(roads) for _ in range(2)]
    assert time.monotonic() - begun < 3.0, "each is answered for within its time-out"
    assert {delivery.replies for delivery in deliveries} == {None}
    assert not roads.reachable()
    assert ask(roads).replies == (EMPTY,)
    assert roads.reachable() == ("node-2",)


@pytest.mark.parametrize(("role", "name"), [(Role.NODE, "node-3"), (Role.GATEWAY, "node-2")])
def test_a_peer_that_shows_the_certificate_of_somebody_else_is_told_nothing(yard: Yard, role: Role, name: str) -> None:
    roads = yard.open(good, role=role, name=name)
    assert ask(roads).replies is None
    assert yard.bodies == []


def test_a_certificate_of_another_authority_or_trust_domain_is_not_believed(yard: Yard, tmp_path: Path) -> None:
    roads = yard.open(good, party=Party(tmp_path / "foreign"))
    assert ask(roads).replies is None
    assert yard.bodies == []


def test_a_refused_connection_is_noticed_at_once(yard: Yard) -> None:
    roads = yard.open(good)
    yard.close()
    begun = time.monotonic()
    assert ask(roads).replies is None
    assert time.monotonic() - begun < 0.4


def test_a_connection_that_died_while_it_rested_costs_nothing(yard: Yard) -> None:
    roads = yard.open(good)
    assert ask(roads).replies == (EMPTY,)
    yard.hosts[0].hang_up()
    assert ask(roads).replies == (EMPTY,)


def test_a_write_meant_for_a_store_that_is_gone_is_not_carried_out_by_the_new_one(yard: Yard) -> None:
    stores = [b"old store"]
    roads = yard.open(lambda connection, body: answer(connection, reply_to(body, stores[0])))
    assert ask(roads).replies == (EMPTY,)
    stores[0] = b"new store"
    confirm = (Addressed(SECRET, Confirm(Ballot(1, "node-1", 1))),)
    assert ask(roads, confirm).replies is None
    assert roads.store_of("node-2") == b"new store"
    assert ask(roads, confirm).replies == (Noted(False),)


def test_a_question_that_any_store_may_answer_is_asked_again_of_the_new_one(yard: Yard) -> None:
    stores = [b"old store"]
    roads = yard.open(lambda connection, body: answer(connection, reply_to(body, stores[0])))
    assert ask(roads).replies == (EMPTY,)
    stores[0] = b"new store"
    assert ask(roads).replies == (EMPTY,)


def test_what_waits_behind_a_peer_that_hangs_is_told_together_and_does_not_pile_up(yard: Yard) -> None:
    roads = yard.open(silent)
    mailbox = roads.mailbox()
    begun = time.monotonic()
    for number in range(5000):
        roads.post("node-2", Parcel(ASKED, (number,), mailbox))
    deliveries = [mailbox.get(timeout=5) for _ in range(5000)]
    assert time.monotonic() - begun < 2.5
    assert {delivery.replies for delivery in deliveries} == {None}


def test_a_peer_that_fails_is_asked_last(yard: Yard, tmp_path: Path) -> None:
    yard.open(good)
    ports = {"node-1": 1, "node-2": yard.hosts[0].port, "node-3": 1}
    roads = Roads(yard.party.settings("node-1", ports))
    mailbox = roads.mailbox()
    roads.post("node-3", Parcel(ASKED, (), mailbox))
    assert mailbox.get(timeout=5).replies is None
    assert roads.order() == ("node-2", "node-3")


def test_a_store_answers_over_the_road_as_it_does_at_home(yard: Yard) -> None:
    store = Store.found(yard.party.folder / "store.db", "node-2")
    roads = yard.open(lambda connection, body: answer(connection, encode(answered(store, decode_exchange(body)))))
    assert ask(roads).replies == (EMPTY,)
    assert roads.store_of("node-2") == store.id


def _until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)
