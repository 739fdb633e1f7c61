"""The gateway's settings: read once from one TOML file into a frozen object.

The file is named by the environment variable ``KOFN_GATEWAY_CONFIG``; relative paths in it are relative to the file. What is not a setting
here is a constant beside the code that needs it.
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

CONFIG_VARIABLE = "KOFN_GATEWAY_CONFIG"
MAX_VALUE_BYTES = 1_048_576

_PATHS = ("certificate", "key", "ca", "access", "audit")


class ConfigError(ValueError):
    """The settings cannot be used; the text names the file and the setting, for the operator."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Every setting of a gateway. Sizes are bytes, times are seconds."""

    id: str
    """This gateway's id, the last part of its SPIFFE ID ``spiffe://TRUST_DOMAIN/gateway/ID``."""
    trust_domain: str
    """The trust domain of every certificate in the cluster."""
    bind: str
    """Where to listen, ``HOST:PORT``."""
    certificate: Path
    """The gateway's certificate (PEM, with its chain), shown to clients and to nodes. Re-read when the file changes."""
    key: Path
    """The certificate's private key (PEM). Re-read when the file changes."""
    ca: Path
    """The certificate authority (PEM) that nodes' and clients' certificates must come from. Re-read when the file changes."""
    access: Path
    """The TOML file of principals, token digests and client certificates (docs/access.md). Re-read when it changes."""
    audit: Path
    """The audit log; this gateway's own, in a folder that it can write to (docs/access.md)."""
    threshold: Annotated[int, msgspec.Meta(ge=2, le=255)]
    """How many nodes rebuild a secret (k)."""
    nodes: dict[str, str]
    """Every node of the cluster: its id and its URL, ``https://HOST:PORT``."""
    connections: Annotated[int, msgspec.Meta(ge=16, le=100_000)] = 4_000
    """How many clients may be connected; beyond that, the one that has been idle for longest is disconnected."""
    principal_requests_per_second: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 500
    """How many requests of one principal are served in a second."""
    source_requests_per_second: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1_000
    """How many requests from one address are served in a second; raise it behind a proxy, whose address stands for all."""
    bad_credentials_per_minute: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 100
    """After how many requests with bad credentials an address is locked out for the rest of a minute."""
    audit_bytes: Annotated[int, msgspec.Meta(ge=4_096, le=1_099_511_627_776)] = 67_108_864
    """How large a file of the audit log may grow before the next one is begun."""
    value_bytes: Annotated[int, msgspec.Meta(ge=1, le=MAX_VALUE_BYTES)] = 65_536
    """The largest value of a secret; at most 1 MiB."""
    request_bytes: Annotated[int, msgspec.Meta(ge=65_536, le=1_073_741_824)] = 8_388_608
    """The largest request body."""
    flights_per_node: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2
    """How many requests to one node are under way at a time; what comes meanwhile rides together in the next one."""
    read_timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=600)] = 2.5
    """How long a node may take to answer what only reads; after so long no other node is asked any more."""
    answer_timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=600)] = 4.5
    """How long a node may take to answer anything else, before the outcome is unknown."""
    answer_bytes: Annotated[int, msgspec.Meta(ge=1_048_576, le=1_073_741_824)] = 67_108_864
    """The largest answer taken from a node."""
    read_retry_seconds: Annotated[float, msgspec.Meta(ge=0, le=60)] = 2.0
    """How long a read that met a write under way is asked again before it is ``unavailable``."""
    write_retry_seconds: Annotated[float, msgspec.Meta(ge=0, le=60)] = 5.0
    """How long a write that met another write is asked again before it is ``write_conflict``."""

    def quorum(self) -> Quorum:
        """The cluster's counts: one share for each node."""
        return Quorum(len(self.nodes), self.threshold)


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
    """The settings in the file that ``KOFN_GATEWAY_CONFIG`` names. Raises ConfigError."""
    path = environment.get(CONFIG_VARIABLE)
    if not path:
        raise ConfigError(f"{CONFIG_VARIABLE} must name the gateway's TOML file")
    return load(Path(path))


def _check(settings: Settings) -> None:
    """What types cannot say. Raises ValueError."""
    settings.quorum()
    Identity(settings.trust_domain, Role.GATEWAY, settings.id)
    for node, url in settings.nodes.items():
        try:
            Identity(settings.trust_domain, Role.NODE, node)
            parts = urlsplit(url)
            port = parts.port
        except (IdentityError, ValueError) as error:
            raise ValueError(f"node {node}: {error}") from error
        if parts.scheme != "https" or not parts.hostname or port is None or url != f"https://{parts.netloc}" or "@" in parts.netloc:
            raise ValueError(f"node {node}: the URL must be https://HOST:PORT")
