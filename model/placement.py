"""Which nodes hold a secret, and which of them keeps which share.

A secret lives on the nodes whose hashed ids are nearest, by XOR, to the hash of its namespace and name, as in Kademlia (Maymounkov
and Mazieres, IPTPS 2002). Everyone who knows the nodes' ids computes the same answer without asking; adding or removing a node
moves only the secrets that are nearest to it. A record keeps the placement it was written with, so what is stored stays readable
when the set of nodes changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache

DIGEST_BYTES = 32

_SECRET_DOMAIN = b"kofn/secret/1"


def secret_digest(namespace: str, name: str) -> bytes:
    """A secret's point in the key space: SHA-256 over a domain, namespace and name, each preceded by its length. 32 bytes."""
    digest = hashlib.sha256()
    for part in (_SECRET_DOMAIN, namespace.encode(), name.encode()):
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.digest()


def place(secret_digest: bytes, nodes: Iterable[str], share_count: int) -> tuple[str, ...]:
    """The ``share_count`` of ``nodes`` nearest to ``secret_digest`` (32 bytes), nearest first; the i-th (from 1) keeps share i.

    The order in which ``nodes`` come does not matter. Raises ValueError for a digest of wrong length, a node named twice, or
    fewer nodes than shares.
    """
    if len(secret_digest) != DIGEST_BYTES:
        raise ValueError(f"a secret's digest has {DIGEST_BYTES} bytes, got {len(secret_digest)}")
    candidates = tuple(nodes)
    if len(set(candidates)) != len(candidates):
        raise ValueError("a node is named twice")
    if not 1 <= share_count <= len(candidates):
        raise ValueError(f"{share_count} shares cannot be placed on {len(candidates)} nodes")
    target = int.from_bytes(secret_digest)
    return tuple(sorted(candidates, key=lambda node: _point(node) ^ target)[:share_count])


def share_index(placement: tuple[str, ...], node: str) -> int:
    """The index, from 1, of the share that ``node`` keeps under ``placement``. Raises ValueError for a node not in it."""
    return placement.index(node) + 1


@lru_cache(maxsize=1024)
def _point(node: str) -> int:
    """A node's point in the key space: SHA-256 of its id."""
    return int.from_bytes(hashlib.sha256(node.encode()).digest())
