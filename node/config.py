"""A node's settings: read once from one TOML file into a frozen object.

The file is named by the environment variable ``KOFN_NODE_CONFIG``; relative paths in it are relative to the file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from model.identity import Identity, IdentityError, Role
from model.quorum import Quorum

CONFIG_VARIABLE = "KOFN_NODE_CONFIG"

_PATHS = ("database", "certificate", "key", "ca")
_Milliseconds = Annotated[int, msgspec.Meta(ge=1, le=600_000)]


class ConfigError(ValueError):
    """The settings cannot be used; the text names the file and the setting, for the operator."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Every setting of a node. Sizes are bytes; times are in the unit that the name ends with."""

    id: str
    """This node's id, the last part of its SPIFFE ID ``spiffe://TRUST_DOMAIN/node/ID`` and a key of ``nodes``."""
    trust_domain: str
    """The trust domain of every certificate in the cluster."""
    bind: str
    """Where to listen, ``HOST:PORT``."""
    database: Path
    """The SQLite file that holds this node's shards. Beside it lie its write-ahead log and a lock: one process at a time works on it."""
    certificate: Path
    """The node's certificate (PEM, with its chain). Re-read when the file changes."""
    key: Path
    """The certificate's private key (PEM). Re-read when the file changes."""
    ca: Path
    """The certificate authority (PEM) that the cluster's certificates must come from. Re-read when the file changes."""
    threshold: Annotated[int, msgspec.Meta(ge=2, le=255)]
    """How many nodes rebuild a secret (k)."""
    nodes: dict[str, str]
    """Every node of the cluster, this one included: its id and its URL, ``https://HOST:PORT``."""
    write_quorum: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0
    """Raises the number of nodes that must accept a write (W) above what safety needs; 0 leaves it there."""
    repair_trigger_buffer: Annotated[int, msgspec.Meta(ge=0, le=255)] = 1
    """A latest version found on k to k + this many nodes is restored to all of them."""
    lease_ms: _Milliseconds = 3_000
    """How long a proposal keeps others from voting on the same secret, unless it ends before."""
    patience_ms: _Milliseconds = 150
    """How long a silent node is waited for before others are asked in its place."""
    voting_timeout_ms: _Milliseconds = 2_000
    """How long one operation may vote or read on this node. What is being written then goes on."""
    operation_timeout_ms: _Milliseconds = 4_000
    """How long one operation may take on this node, writing included."""
    connect_timeout_ms: _Milliseconds = 1_000
    """How long a connection to a peer may take to open."""
    exchange_timeout_ms: _Milliseconds = 4_000
    """How long a peer may take to answer one exchange."""
    sweep_seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 5.0
    """How often the node looks for writes left unfinished and, after an absence, for what it missed."""
    catch_up_seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 60.0
    """How often the node asks its peers what changed, even when it noticed no absence."""
    threads: Annotated[int, msgspec.Meta(ge=4, le=512)] = 32
    """How many inner requests are served at a time; a kept-alive inner connection keeps its thread for a while."""
    exchange_bytes: Annotated[int, msgspec.Meta(ge=1_048_576, le=1_073_741_824)] = 67_108_864
    """The largest body taken from a peer or a gateway."""

    def quorum(self) -> Quorum:
        """The cluster's counts: one share for each node."""
        return Quorum(len(self.nodes), self.threshold, self.write_quorum)

    @property
    def peers(self) -> dict[str, str]:
        """Every other node and its URL."""
        return {node: url for node, url in self.nodes.items() if node != self.id}


def load(path: Path) -> Settings:
    """The settings in the TOML file at ``path``, with absolute paths. Raises ConfigError."""
    try:
        settings = msgspec.toml.decode(path.read_bytes(), type=Settings, dec_hook=lambda kind, value: kind(value))
        _check(settings)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error
    folder = path.resolve().parent
    return msgspec.structs.replace(settings, **{name: folder / getattr(settings, name) for name in _PATHS})


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings in the file that ``KOFN_NODE_CONFIG`` names. Raises ConfigError."""
    path = environment.get(CONFIG_VARIABLE)
    if not path:
        raise ConfigError(f"{CONFIG_VARIABLE} must name the node's TOML file")
    return load(Path(path))


def _check(settings: Settings) -> None:
    """What types cannot say. Raises ValueError."""
    settings.quorum()
    if settings.id not in settings.nodes:
        raise ValueError("nodes must list this node's own id too")
    if settings.voting_timeout_ms >= settings.operation_timeout_ms:
        raise ValueError("voting_timeout_ms must be less than operation_timeout_ms: writing takes time too")
    for node, url in settings.nodes.items():
        try:
            Identity(settings.trust_domain, Role.NODE, node)
            parts = urlsplit(url)
            port = parts.port
        except (IdentityError, ValueError) as error:
            raise ValueError(f"node {node}: {error}") from error
        if parts.scheme != "https" or not parts.hostname or port is None or url != f"https://{parts.netloc}" or "@" in parts.netloc:
            raise ValueError(f"node {node}: the URL must be https://HOST:PORT")
