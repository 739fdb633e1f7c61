"""The cases that are explored: what a few nodes, three of which any two serve a secret if nothing else is said, and their clients do."""

from __future__ import annotations

from exploration_parts import Case, Faults, Job, Mend, Past, Rejoin, Settle

from model.operation import Create, Delete, History, NewValue, Read, Retry, SecretId, Update
from model.quorum import Quorum

SECRET = SecretId("default", "a")
OTHER = SecretId("default", "b")
KEY = Retry(b"k" * 32, b"r" * 32)


def create(value: str, *secrets: SecretId) -> Create:
    return Create(tuple(NewValue(secret, value.encode()) for secret in secrets or (SECRET,)), now=1000)


def update(value: str, *, expected: int | None = None, retry: Retry | None = None) -> Update:
    return Update(NewValue(SECRET, value.encode()), now=2000, expected_version=expected, retry=retry)


DELETE = Delete(SECRET, now=3000)
READ = Read(SECRET)
HISTORY = History(SECRET)
GROUP = create("x", SECRET, OTHER)
FOUNDED = Past("n1", create("one"))

CASES = (
    Case(
        "creates",
        "two creates of one name",
        (Job("n1", create("x")), Job("n2", create("y"))),
        faults=Faults(lost=1, rounds=1),
    ),
    Case(
        "updates",
        "two updates",
        (Job("n1", update("x")), Job("n2", update("y"))),
        (FOUNDED,),
        Faults(rounds=1),
    ),
    Case(
        "matches",
        "two updates that expect the same version",
        (Job("n1", update("x", expected=1)), Job("n2", update("y", expected=1))),
        (FOUNDED,),
        Faults(lost=1, rounds=1),
    ),
    Case(
        "faults",
        "an update and a read, with a message lost, one doubled, one reply late",
        (Job("n1", update("x")), Job("n3", READ)),
        (FOUNDED,),
        Faults(lost=1, doubled=1, late=1, rounds=1),
    ),
    Case(
        "doubt",
        "an update meets one that reached a single node, whose other messages are late; somebody reads",
        (Job("n2", update("y")), Job("n3", READ)),
        (FOUNDED, Past("n1", update("x"), writes="1", marks="", late=True)),
        Faults(rounds=1),
    ),
    Case(
        "reads",
        "two reads, one after the other, of an update that reached a single node",
        (Job("n2", READ), Job("n3", READ, after=0)),
        (FOUNDED, Past("n1", update("x"), writes="1", marks="", late=True)),
        Faults(lost=1),
    ),
    Case(
        "ballots",
        "a delete and an update that reached one node each; the delete is settled",
        (Job("n2", Settle(SECRET)),),
        (FOUNDED, Past("n1", DELETE, votes="13", writes="1"), Past("n3", update("x"), votes="23", writes="3")),
        Faults(lost=1, rounds=2),
    ),
    Case(
        "delete",
        "a delete and an update",
        (Job("n1", DELETE), Job("n2", update("x"))),
        (FOUNDED,),
        Faults(rounds=1),
    ),
    Case(
        "erased",
        "a delete of what a late repair is on its way for, and a create after it",
        (Job("n1", DELETE), Job("n2", create("y"), after=0)),
        (Past("n1", create("one"), writes="12", marks="12"), Past("n1", Mend(SECRET), marks="", late=True)),
        Faults(doubled=1),
    ),
    Case(
        "retries",
        "an update and its retry at another node after its coordinator stopped",
        (Job("n1", update("x", retry=KEY)), Job("n2", update("x", retry=KEY), after=0)),
        (FOUNDED,),
        Faults(stopped=1, rounds=1),
    ),
    Case(
        "buried",
        "an update in doubt below another, a delete of both, and a retry of that update",
        (Job("n3", DELETE), Job("n2", update("x", retry=KEY), after=0)),
        (
            FOUNDED,
            Past("n1", update("x", retry=KEY), writes="12", marks=""),
            Past("n3", update("y"), votes="13", writes="13"),
        ),
        Faults(rounds=1),
    ),
    Case(
        "history",
        "two histories, one after the other, above an update that may yet have been chosen",
        (Job("n3", HISTORY), Job("n1", HISTORY, after=0)),
        (
            FOUNDED,
            Past("n1", update("x"), writes="1", marks="", late=True),
            Past("n3", update("y"), votes="23", writes="23", marks="", late=True),
        ),
    ),
    Case(
        "mends",
        "two repairs of one share, and an update",
        (Job("n1", Mend(SECRET)), Job("n2", Mend(SECRET)), Job("n2", update("x"))),
        (Past("n1", create("one"), writes="12", marks="12"),),
    ),
    Case(
        "repaired",
        "an update while a late repair is on its way to a node that has promised more",
        (Job("n1", update("x")),),
        (
            Past("n1", create("one"), writes="12", marks="12"),
            Past("n1", Mend(SECRET), marks="", late=True),
            Past("n3", update("a"), votes="3"),
            Past("n3", update("b"), votes="3"),
        ),
        Faults(lost=1, doubled=1, rounds=1),
    ),
    Case(
        "rejoin",
        "a node loses its disk and recovers while an update is made",
        (Job("n2", update("x")), Job("n1", Rejoin(SECRET))),
        (FOUNDED,),
        Faults(rounds=1, disks=1),
    ),
    Case(
        "rejoin_unfenced",
        "a node of four loses its disk and recovers without having fenced one of the others, which is late with an update",
        (Job("n1", Rejoin(SECRET)),),
        (
            Past("n1", create("one"), votes="1234", writes="1234", marks="1234"),
            Past("n4", update("x"), votes="1234", writes="13", marks="", late=True),
        ),
        Faults(lost=1, disks=1),
        Quorum(4, 2),
    ),
    Case(
        "group_pair",
        "two creates in one, and a create of one of the names, on two nodes that must both accept",
        (Job("n1", GROUP), Job("n2", create("y"))),
        faults=Faults(lost=1, rounds=1),
        quorum=Quorum(2, 2),
    ),
    Case(
        "group_left",
        "a create of a name that a group left provisional on a single node, and a read of its other name",
        (Job("n2", create("y")), Job("n3", Read(OTHER))),
        (Past("n1", GROUP, writes="1", marks=""),),
    ),
    Case(
        "halved",
        "a delete that reached a single node, an update, and a read",
        (Job("n2", update("x")), Job("n3", READ)),
        (FOUNDED, Past("n1", DELETE, writes="1", marks="", late=True)),
        Faults(rounds=1),
        large=True,
    ),
    Case(
        "rejoin_rivals",
        "a node loses its disk and recovers between two updates",
        (Job("n2", update("x")), Job("n3", update("y")), Job("n1", Rejoin(SECRET))),
        (FOUNDED,),
        Faults(disks=1),
        large=True,
    ),
    Case(
        "updates_read",
        "two updates and a read",
        (Job("n1", update("x")), Job("n2", update("y")), Job("n3", READ)),
        (FOUNDED,),
        Faults(rounds=1),
        large=True,
    ),
    Case(
        "creates_read",
        "two creates of one name and a read",
        (Job("n1", create("x")), Job("n2", create("y")), Job("n3", READ)),
        faults=Faults(rounds=1),
        large=True,
    ),
    Case(
        "delete_read",
        "a delete, an update and a read",
        (Job("n1", DELETE), Job("n2", update("x")), Job("n3", READ)),
        (FOUNDED,),
        large=True,
    ),
    Case(
        "recreate",
        "a delete and a create after it, an update and a read",
        (Job("n1", DELETE), Job("n2", create("y"), after=0), Job("n3", update("x"))),
        (FOUNDED,),
        large=True,
    ),
    Case(
        "retries_rival",
        "an update and its retry at another node after its coordinator stopped, and another update",
        (Job("n1", update("x", retry=KEY)), Job("n2", update("x", retry=KEY), after=0), Job("n3", update("y"))),
        (FOUNDED,),
        Faults(stopped=1, rounds=1),
        large=True,
    ),
    Case(
        "rejoin_doubt",
        "a node loses its disk and recovers while an update in doubt is settled and another is made",
        (Job("n2", update("y")), Job("n1", Rejoin(SECRET))),
        (FOUNDED, Past("n1", update("x"), writes="12", marks="", late=True)),
        Faults(rounds=2, disks=1),
        large=True,
    ),
    Case(
        "doubted",
        "a delete that reached a single node stands on two updates in doubt; two histories; it is settled; a retry of the lower update",
        (Job("n3", HISTORY), Job("n3", HISTORY, after=0), Job("n1", Settle(SECRET), after=1), Job("n2", update("x", retry=KEY), after=2)),
        (
            FOUNDED,
            Past("n1", update("x", retry=KEY), writes="1", marks=""),
            Past("n3", update("y"), votes="13", writes="13", marks=""),
            Past("n1", DELETE, votes="12", writes="1", marks=""),
        ),
        Faults(rounds=1),
        large=True,
    ),
    Case(
        "buried_read",
        "an update that reached a single node below another, a delete of both, a retry of that update, and a history",
        (Job("n3", DELETE), Job("n2", update("x", retry=KEY), after=0), Job("n1", HISTORY)),
        (
            FOUNDED,
            Past("n1", update("x", retry=KEY), writes="1", marks="", late=True),
            Past("n3", update("y"), votes="13", writes="13"),
        ),
        large=True,
    ),
    Case(
        "group_read",
        "two creates in one, a create of one of the names, and a read of the other, on two nodes that must both accept",
        (Job("n1", GROUP), Job("n2", create("y")), Job("n1", Read(OTHER))),
        faults=Faults(lost=1, rounds=1),
        quorum=Quorum(2, 2),
        large=True,
    ),
    Case(
        "group_lost",
        "a create of a name that a group left provisional on a single node, and a read of its other name, with a message lost",
        (Job("n2", create("y")), Job("n3", Read(OTHER))),
        (Past("n1", GROUP, writes="1", marks=""),),
        Faults(lost=1, rounds=1),
        large=True,
    ),
)
