"""Which vault to talk to, and as whom: environment, then config file, then the local cluster.

Each setting comes from the first place that has it. The local cluster is a last resort and is taken as a whole: only when
neither environment nor config file names a URL do its URL, CA file and token fill what is missing, so that its token never
travels to another vault. This module reads files; ``cli.client`` does the talking.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cli.failure import Exit, Failure

_KEYS = {"url", "token_file", "ca_file", "namespace"}


@dataclass(frozen=True)
class Settings:
    """``ca_file`` is None to trust the usual public authorities; ``namespace`` is None for callers that have only one.

    ``is_local`` tells whether this is the cluster that ``kofn local start`` made.
    """

    url: str
    token: str = field(repr=False)
    ca_file: Path | None
    namespace: str | None
    is_local: bool


def config_file(environment: Mapping[str, str]) -> Path:
    """``KOFN_CONFIG``, or ``kofn/config.toml`` under the XDG configuration directory."""
    if named := environment.get("KOFN_CONFIG"):
        return Path(named)
    return Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "kofn" / "config.toml"


def local_data(environment: Mapping[str, str]) -> Path:
    """The local cluster's folder: ``KOFN_DATA``, or ``kofn/local`` under the XDG data directory."""
    if named := environment.get("KOFN_DATA"):
        return Path(named)
    return Path(environment.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "kofn" / "local"


def load(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings in force. Raises Failure (usage) when there is no vault, no token, or a file that cannot be read."""
    config = _read_config(config_file(environment), required="KOFN_CONFIG" in environment)
    url = environment.get("KOFN_URL") or config.get("url")
    ca_file = environment.get("KOFN_CA_FILE") or config.get("ca_file")
    token_file = environment.get("KOFN_TOKEN_FILE") or config.get("token_file")
    next_step = "check KOFN_TOKEN_FILE and the file's permissions"
    is_local = url is None
    if url is None:
        cluster = _read_cluster(local_data(environment))
        url = cluster["url"]
        ca_file = ca_file or cluster["ca_file"]
        if token_file is None:
            token_file = cluster["token_file"]
            next_step = f"restore it, or get another: kofn token issue local --out {token_file}"
    if not url.startswith("https://"):
        raise Failure("the vault's URL does not start with https://", "tokens and values travel over TLS only; check KOFN_URL", Exit.USAGE)
    if "@" in url:
        raise Failure("the vault's URL holds a user", "a token says who you are; check KOFN_URL", Exit.USAGE)
    token = environment.get("KOFN_TOKEN") or _read_token(token_file, next_step)
    if not (token.isascii() and token.isprintable()):
        raise Failure("the token holds characters that no token has", "check KOFN_TOKEN, or the token file", Exit.USAGE)
    return Settings(
        url=url.rstrip("/"),
        token=token,
        ca_file=Path(ca_file) if ca_file else None,
        namespace=environment.get("KOFN_NAMESPACE") or config.get("namespace"),
        is_local=is_local,
    )


def _read_config(path: Path, *, required: bool) -> dict[str, str]:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        if required:
            raise Failure(f"there is no config file {path}", "KOFN_CONFIG names it: correct or unset it", Exit.USAGE) from None
        return {}
    except (OSError, UnicodeDecodeError):
        raise Failure(f"cannot read the config file {path}", "check its permissions and encoding", Exit.USAGE) from None
    try:
        config = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise Failure(f"the config file {path} is not TOML", f"it may set {', '.join(sorted(_KEYS))}", Exit.USAGE) from None
    if not (config.keys() <= _KEYS and all(isinstance(value, str) for value in config.values())):
        raise Failure(f"the config file {path} sets something else", f"it may set {', '.join(sorted(_KEYS))}, each to a text", Exit.USAGE)
    return {key: str(path.parent / Path(value).expanduser()) if key.endswith("_file") else value for key, value in config.items()}


def _read_cluster(directory: Path) -> dict[str, str]:
    path = directory / "cluster.json"
    try:
        cluster = json.loads(path.read_bytes())
        return {key: str(cluster[key]) for key in ("url", "ca_file", "token_file")}
    except FileNotFoundError:
        what = f"no vault is configured, and there is no cluster in {directory}"
        raise Failure(what, "run: kofn local start, or set KOFN_URL", Exit.USAGE) from None
    except (OSError, ValueError, KeyError, TypeError):
        raise Failure(f"cannot read {path}", "run: kofn local start, which writes it anew, or set KOFN_URL", Exit.USAGE) from None


def _read_token(token_file: str | None, next_step: str) -> str:
    if token_file is None:
        raise Failure("no token is configured", "set KOFN_TOKEN_FILE (or KOFN_TOKEN)", Exit.USAGE)
    try:
        return Path(token_file).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise Failure(f"cannot read the token file {token_file}", next_step, Exit.USAGE) from None
