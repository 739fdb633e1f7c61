"""Shares that are not what they should be, on the disks of a real cluster's nodes and in messages between them."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress

import msgspec
import pytest
from hostile_cluster import MARK, HostileVault
from hostile_inside import exchange, operate, replace, share_of, value_at
from real_cluster import RealCluster, eventually

from model import shamir
from model.envelope import EnvelopeError
from model.message import Accepted, Noted, Promised, Query, Refused, Repair, Snapshot, Unfit, Vote, Write
from model.operation import Found, Read, SecretId
from model.record import Ballot, open_value
from model.shamir import ShamirError

pytest_plugins = ["hostile_fixtures"]
pytestmark = pytest.mark.slow

WHOLE = shamir.SHARE_BYTES


def planted(vault: HostileVault, versions: int = 1) -> tuple[str, str]:
    """A new secret whose every shard is in its place, and its latest value. Nobody has read it yet."""
    name = f"shares/{secrets.token_hex(6)}"
    values = [f"{MARK} {name} {number}" for number in range(versions)]
    assert vault.api.create(name, values[0]).status == 201
    for value in values[1:]:
        assert vault.api.update(name, value).status == 200
    eventually(lambda: [len(nodes) for nodes in vault.cluster.holders(name)] == [5] * versions, "every shard in its place")
    return name, values[-1]


def of_another_secret(vault: HostileVault, name: str) -> bytes:
    return share_of(vault.cluster, "node-2", planted(vault)[0])


def of_an_earlier_life(vault: HostileVault, name: str) -> bytes:
    """What node-2 had of this name before it was deleted and created again with the same value."""
    old = share_of(vault.cluster, "node-2", name)
    value = vault.api.get(name).body["value"]
    assert vault.api.delete(name).status == 204
    assert vault.api.create(name, value).status == 201
    eventually(lambda: [len(nodes) for nodes in vault.cluster.holders(name)] == [5], "every shard in its place")
    return old


Damage = Callable[[HostileVault, str], bytes]
SHARES: dict[str, Damage] = {
    "another node's (an index twice)": lambda vault, name: share_of(vault.cluster, "node-3", name),
    "a byte too short": lambda vault, name: share_of(vault.cluster, "node-2", name)[:-1],
    "a byte too long": lambda vault, name: share_of(vault.cluster, "node-2", name) + b"\0",
    "empty": lambda vault, name: b"",
    "zeros": lambda vault, name: bytes(WHOLE),
    "above the field": lambda vault, name: b"\xff" * WHOLE,
    "one bit off": lambda vault, name: (
        share_of(vault.cluster, "node-2", name)[:-1] + bytes([share_of(vault.cluster, "node-2", name)[-1] ^ 1])
    ),
    "another version's": lambda vault, name: vault.cluster.shards("node-2", name)[0].share,
    "another secret's": of_another_secret,
    "an earlier life's": of_an_earlier_life,
}


@pytest.mark.parametrize("kind", SHARES)
def test_a_share_that_is_not_the_right_one_is_passed_over_and_made_good(vault: HostileVault, kind: str) -> None:
    name, value = planted(vault, versions=2 if "version" in kind else 1)
    wrong = SHARES[kind](vault, name)
    right = share_of(vault.cluster, "node-2", name)
    assert wrong != right
    replace(vault.cluster, "node-2", name, "share", wrong)
    for node in vault.cluster.nodes:
        assert value_at(vault.cluster, node, name) == value.encode(), node
    eventually(lambda: share_of(vault.cluster, "node-2", name) == right, "the very share that was there before")


@pytest.mark.parametrize("kind", ["one bit off", "another secret's"])
def test_a_sealed_value_that_is_not_the_right_one_is_passed_over_and_made_good(vault: HostileVault, kind: str) -> None:
    """It is found out where it lies: other nodes do not ask for what they hold themselves."""
    name, value = planted(vault)
    right = vault.cluster.shards("node-2", name)[-1].sealed
    wrong = right[:-1] + bytes([right[-1] ^ 1]) if kind == "one bit off" else vault.cluster.shards("node-2", planted(vault)[0])[-1].sealed
    replace(vault.cluster, "node-2", name, "sealed", wrong)
    for node in vault.cluster.nodes:
        assert value_at(vault.cluster, node, name) == value.encode(), node
    eventually(lambda: vault.cluster.shards("node-2", name)[-1].sealed == right, "the very bytes that were there before")


def test_the_node_whose_share_was_corrupt_is_named_in_a_log(vault: HostileVault) -> None:
    name, value = planted(vault)
    right = share_of(vault.cluster, "node-2", name)
    before = {node: len(vault.cluster.log(node)) for node in vault.cluster.nodes}
    replace(vault.cluster, "node-2", name, "share", bytes(WHOLE))
    assert vault.api.get(name).body["value"] == value
    eventually(lambda: share_of(vault.cluster, "node-2", name) == right, "it is made good")
    said = "".join(vault.cluster.log(node)[length:] for node, length in before.items())
    assert any("node-2" in line and ("repair" in line or "corrupt" in line) for line in said.splitlines())


def test_with_k_sound_shares_among_corrupt_ones_the_value_is_right_and_the_others_are_made_good(vault: HostileVault) -> None:
    name, value = planted(vault)
    right = {node: share_of(vault.cluster, node, name) for node in vault.cluster.nodes}
    replace(vault.cluster, "node-1", name, "share", right["node-2"])
    replace(vault.cluster, "node-4", name, "share", bytes(WHOLE))
    for node in vault.cluster.nodes:
        assert value_at(vault.cluster, node, name) == value.encode(), node
    eventually(lambda: all(share_of(vault.cluster, node, name) == share for node, share in right.items()), "all are as they were")


def test_with_fewer_than_k_sound_shares_there_is_no_value_and_never_another_one(vault: HostileVault) -> None:
    name, value = planted(vault)
    right = {node: share_of(vault.cluster, node, name) for node in vault.cluster.nodes}
    damaged = {"node-1": right["node-2"], "node-4": right["node-5"], "node-5": bytes(WHOLE)}
    for node, share in damaged.items():
        replace(vault.cluster, node, name, "share", share)
    for node in vault.cluster.nodes:
        assert value_at(vault.cluster, node, name) == "unavailable", node
    answer = vault.api.get(name)
    assert answer.told == (503, "unavailable", None, None)
    assert {node: share_of(vault.cluster, node, name) for node in damaged} == damaged, "nothing was repaired from too little"
    replace(vault.cluster, "node-5", name, "share", right["node-5"])
    assert vault.api.get(name).body["value"] == value


def test_shares_of_two_splits_open_nothing(vault: HostileVault) -> None:
    """Of every choice of three shares from two versions' splits, those that are not of one split alone give no value."""
    name, value = planted(vault, versions=2)
    shards = {node: vault.cluster.shards(node, name) for node in vault.cluster.nodes}
    secret, header, sealed = SecretId("default", name), shards["node-1"][-1].header, shards["node-1"][-1].sealed
    for mixed in range(1, 7):
        nodes = ("node-1", "node-2", "node-3")
        shares = {node: shards[node][0 if mixed >> place & 1 else 1].share for place, node in enumerate(nodes)}
        with pytest.raises((ShamirError, EnvelopeError)):
            open_value(secret, header, shares, sealed)
    assert open_value(secret, header, {node: shards[node][1].share for node in ("node-1", "node-2", "node-3")}, sealed) == value.encode()


# In messages. The sender has the certificate of a node of the cluster; that it says wrong or old things is the network's fault or its own.


def newest(cluster: RealCluster, node: str, name: str) -> tuple[SecretId, Snapshot]:
    secret = SecretId("default", name)
    (snapshot,) = exchange(cluster, "node-2", node, secret, Query(shares=True, sealed=True, lineage=True))
    assert isinstance(snapshot, Snapshot)
    return secret, snapshot


def test_a_repair_with_a_wrong_share_replaces_nothing(vault: HostileVault) -> None:
    name, value = planted(vault)
    secret, snapshot = newest(vault.cluster, "node-1", name)
    view = snapshot.views[-1]
    assert view.header is not None
    right = share_of(vault.cluster, "node-1", name)
    for wrong in (share_of(vault.cluster, "node-3", name), right[:-1], right + b"\0", b"", bytes(WHOLE), b"\xff" * WHOLE):
        exchange(vault.cluster, "node-2", "node-1", secret, Repair(view.header, wrong, view.sealed))
        assert share_of(vault.cluster, "node-1", name) == right
    exchange(vault.cluster, "node-2", "node-1", secret, Repair(view.header, right, b"not the sealed value"))
    (stored,) = vault.cluster.shards("node-1", name)
    assert (stored.share, stored.sealed) == (right, view.sealed)
    assert value_at(vault.cluster, "node-1", name) == value.encode()


HEADERS = {
    "no commitments": {"commitments": ()},
    "too few commitments": {"commitments": (b"",)},
    "an empty placement": {"placement": (), "commitments": ()},
    "a node twice": {"placement": ("node-1", "node-1", "node-1", "node-1", "node-1")},
    "a threshold of none": {"threshold": 0},
    "a threshold below zero": {"threshold": -1},
    "a version of none": {"version": -1},
    "numbers that no database can hold": {"sequence": 2**63, "version": 2**63},
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_record_that_cannot_be_spoils_nothing_but_itself(vault: HostileVault, kind: str) -> None:
    """A header of its own, with a tag that no other record has, for a name that nobody uses: whatever the node makes of it, it serves."""
    name, value = planted(vault)
    _, snapshot = newest(vault.cluster, "node-1", name)
    header = snapshot.views[-1].header
    assert header is not None
    forged = msgspec.structs.replace(header, **HEADERS[kind])
    secret = SecretId("default", f"forged/{secrets.token_hex(6)}")
    replies = exchange(
        vault.cluster, "node-2", "node-1", secret, Write(header.tag, forged, bytes(WHOLE), b"sealed"), Repair(forged, b"", b"")
    )
    assert all(isinstance(reply, Accepted | Refused | Unfit | Noted) for reply in replies)
    for node in vault.cluster.nodes:
        assert not isinstance(operate(vault.cluster, node, Read(secret)), Found)
        assert value_at(vault.cluster, node, name) == value.encode()
    vault.serves()


def test_old_messages_said_again_are_refused_by_their_ballot(vault: HostileVault) -> None:
    name, _ = planted(vault)
    secret, before = newest(vault.cluster, "node-1", name)
    old = before.views[-1]
    assert old.header is not None
    share = share_of(vault.cluster, "node-1", name)
    assert vault.api.update(name, f"{MARK} newer").status == 200
    eventually(lambda: [len(nodes) for nodes in vault.cluster.holders(name)] == [5, 5], "every shard in its place")
    _, now = newest(vault.cluster, "node-1", name)
    replayed = (Vote(old.ballot, 3_000), Write(old.ballot, old.header, share, old.sealed))
    for _ in range(2):
        replies = exchange(vault.cluster, "node-2", "node-1", secret, *replayed)
        assert [type(reply) for reply in replies] == [Refused, Refused]
    after = newest(vault.cluster, "node-1", name)[1]
    assert (after.promised, [(view.tag, view.ballot) for view in after.views]) == (
        now.promised,
        [(view.tag, view.ballot) for view in now.views],
    )
    assert vault.api.get(name).body["value"] == f"{MARK} newer"


def test_nothing_that_was_deleted_comes_back_by_a_message_said_again(vault: HostileVault) -> None:
    name, _ = planted(vault)
    secret, before = newest(vault.cluster, "node-1", name)
    old = before.views[-1]
    assert old.header is not None
    shares = {node: share_of(vault.cluster, node, name) for node in vault.cluster.nodes}
    assert vault.api.delete(name).status == 204
    eventually(lambda: not vault.cluster.holders(name), "erased everywhere")
    higher = Ballot(old.ballot.counter + 100, "node-2", 1)
    for node in ("node-1", "node-3", "node-4", "node-5"):
        again = (Write(old.ballot, old.header, shares[node], old.sealed), Repair(old.header, shares[node], old.sealed))
        said = exchange(vault.cluster, "node-2", node, secret, *again, Write(higher, old.header, shares[node], old.sealed))
        assert not any(isinstance(reply, Accepted) for reply in said)
    assert not vault.cluster.holders(name)
    assert vault.api.get(name).code == "secret_not_found"
    assert vault.api.create(name, f"{MARK} again").body["version"] == 1
    assert vault.api.get(name).body["value"] == f"{MARK} again"


def test_a_vote_for_the_highest_ballot_there_is_keeps_nobody_from_writing_other_secrets(vault: HostileVault) -> None:
    """A peer that claims the last ballots of one name spoils that name at most."""
    secret = SecretId("default", f"claimed/{secrets.token_hex(6)}")
    for counter in (2**63 - 1, 2**63, 2**64 - 1):
        with suppress(ConnectionError):
            (reply,) = exchange(vault.cluster, "node-2", "node-1", secret, Vote(Ballot(counter, "node-2", 1), 1))
            assert isinstance(reply, Promised | Refused | Unfit)
    for _ in range(5):
        vault.serves()
