"""A thief's view of a node: what its database and its other files hold, read as they lie on the disk."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from model import record
from model.envelope import EnvelopeError
from model.operation import SecretId
from model.shamir import ShamirError

_SHARDS = (
    "SELECT header, share, sealed FROM shard JOIN register ON register.id = shard.register_id"
    " WHERE namespace = ? AND name = ? AND share IS NOT NULL ORDER BY sequence"
)


@dataclass(frozen=True)
class Shard:
    """One version of a secret as one node stores it."""

    header: record.Header
    share: bytes = field(repr=False)
    sealed: bytes = field(repr=False)


def shards(database: Path, secret: SecretId) -> list[Shard]:
    """Every shard of ``secret`` in a node's database, oldest version first; the node may be running."""
    with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
        rows = connection.execute(_SHARDS, (secret.namespace, secret.name)).fetchall()
    decode = msgspec.msgpack.Decoder(record.Header).decode
    return [Shard(decode(header), share, sealed) for header, share, sealed in rows]


def open_with(secret: SecretId, stolen: Mapping[str, Shard]) -> bytes | None:
    """The value, if the shards of these nodes (of one version) open it; None if they do not.

    All of them are combined, exactly as a node would combine k of them.
    """
    header, sealed = next((shard.header, shard.sealed) for shard in stolen.values())
    try:
        return record.open_value(secret, header, {node: shard.share for node, shard in stolen.items()}, sealed)
    except (ShamirError, EnvelopeError):
        return None


def files_with(directories: Iterable[Path], needles: Iterable[bytes]) -> list[Path]:
    """The files below ``directories`` in whose raw bytes any of ``needles`` stands."""
    wanted = list(needles)
    found = []
    for directory in directories:
        for path in sorted(directory.rglob("*")):
            with contextlib.suppress(FileNotFoundError):
                if path.is_file() and any(needle in path.read_bytes() for needle in wanted):
                    found.append(path)
    return found
