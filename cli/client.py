"""The public API, called with care: TLS 1.3, one token, no proxies, no redirects, and honest outcomes.

A read is asked once. A write carries an idempotency key and is repeated with it while the vault says that it could not serve it
or the connection is lost, a few times within a deadline. Whether a write took effect is never guessed: once one attempt's outcome
is unknown, only an answer that the nodes gave after looking at the key settles it.
"""

from __future__ import annotations

import ssl
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import requests.adapters
import urllib3.exceptions

from cli.failure import Exit, Failure
from cli.refusal import CHECK, START_LOCAL, Lost, Problem
from cli.settings import Settings

_BASE = "/api/v1"
_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 30.0
_PAGE = 1000
_JUDGED = {"secret_not_found", "secret_exists", "version_mismatch", "idempotency_key_reused"}
"""Refusals that the nodes give only after they have looked for the idempotency key: they settle what became of the write."""

_HANDSHAKE_FAILURES = {"CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER", "TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL"}


@dataclass(frozen=True)
class Retrying:
    """How long a write goes on: at most ``attempts``, none begun more than ``deadline_seconds`` after the first."""

    attempts: int = 6
    deadline_seconds: float = 30.0
    first_wait_seconds: float = 0.25


class _Tls13(requests.adapters.HTTPAdapter):
    """HTTPS that refuses anything older than TLS 1.3, and retries nothing by itself."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_minimum_version=ssl.TLSVersion.TLSv1_3, **kwargs)


class Client:
    """One vault as one caller. ``notice`` hears, in a line each, why a write is tried again."""

    def __init__(self, settings: Settings, notice: Callable[[str], None], retrying: Retrying = Retrying()) -> None:
        self._url = settings.url
        self._is_local = settings.is_local
        self._notice = notice
        self._retrying = retrying
        if settings.ca_file is not None:
            _check_ca_file(settings.ca_file)
        self._session = _session(str(settings.ca_file) if settings.ca_file else True)
        self._session.headers["Authorization"] = f"Bearer {settings.token}"
        if settings.namespace is not None:
            self._session.headers["Kofn-Namespace"] = settings.namespace

    def read(self, path: str, params: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """GET ``path``, or POST a ``body`` that asks and changes nothing. Raises Problem for an error, Lost without an answer."""
        return self._ask("GET" if body is None else "POST", path, params=params, body=body)

    def names(self, prefix: str) -> Iterator[str]:
        """Every name that starts with ``prefix``, sorted, page by page."""
        params = {"prefix": prefix, "limit": str(_PAGE)}
        while True:
            page = self.read("/secrets", params)
            yield from page["names"]
            if page["next"] is None:
                return
            params["after"] = page["next"]

    def write(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, key: str | None = None, if_match: int | None = None
    ) -> dict[str, Any]:
        """Write with the idempotency ``key`` (a fresh one when None), repeating while a retry can help.

        Raises Problem for a definite refusal and Lost when nothing was ever sent; Failure with ``Exit.UNKNOWN``, naming the key, when
        the write may have taken effect or may yet, Ctrl-C included.
        """
        key = key or new_key()
        learn = f"the write may have taken effect; repeat it with --idempotency-key {key} to learn"
        try:
            return self._repeat(method, path, body, key, if_match, learn)
        except KeyboardInterrupt:
            raise Failure("Aborted!", learn, Exit.UNKNOWN) from None

    def _repeat(self, method: str, path: str, body: Mapping[str, Any] | None, key: str, if_match: int | None, learn: str) -> dict[str, Any]:
        headers = {"Idempotency-Key": key} | ({} if if_match is None else {"If-Match": f'"{if_match}"'})
        unknown = False
        began, wait = time.monotonic(), self._retrying.first_wait_seconds
        for attempt in range(1, self._retrying.attempts + 1):
            try:
                return self._ask(method, path, body=body, headers=headers)
            except Problem as problem:
                failure: Failure = problem
                if problem.code in _JUDGED:
                    raise
                unknown = unknown or not problem.not_applied
                pause = problem.retry_after
            except Lost as lost:
                failure = lost
                unknown = unknown or lost.sent
                pause = wait
            if pause is None or attempt == self._retrying.attempts or time.monotonic() - began + pause > self._retrying.deadline_seconds:
                break
            self._notice(f"{failure.what}; trying again in {pause:.1f} s")
            time.sleep(pause)
            wait *= 2
        if not unknown:
            raise failure
        raise Failure(failure.what, learn, Exit.UNKNOWN)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        try:
            response = self._session.request(
                method,
                f"{self._url}{_BASE}{path}",
                params=params,
                json=body,
                headers=headers,
                timeout=(_CONNECT_SECONDS, _ANSWER_SECONDS),
                allow_redirects=False,
            )
            answer = _json(response)
        except requests.exceptions.SSLError as error:
            sent = not _handshake_failed(error)
            raise Lost(f"no trusted TLS connection to {self._url}", sent=sent, next_step=CHECK if sent else None) from None
        except requests.exceptions.ConnectTimeout:
            raise Lost(f"{self._url} does not answer", sent=False) from None
        except requests.exceptions.ConnectionError as error:
            if _never_connected(error):
                raise Lost(f"cannot connect to {self._url}", sent=False, next_step=START_LOCAL if self._is_local else None) from None
            raise Lost(f"the connection to {self._url} was lost", sent=True) from None
        except requests.exceptions.InvalidURL:
            raise Failure("the vault's URL is malformed", "check KOFN_URL", Exit.USAGE) from None
        except requests.exceptions.RequestException:
            raise Lost(f"{self._url} did not answer in time, or not in full", sent=True) from None
        if 200 <= response.status_code < 300 and answer is not None:
            return answer
        raise Problem(response.status_code, answer or {}, _seconds(response.headers.get("Retry-After")))


def _check_ca_file(path: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except FileNotFoundError:
        raise Failure(f"there is no CA file {path}", "check KOFN_CA_FILE", Exit.USAGE) from None
    except ssl.SSLError:
        raise Failure(f"the CA file {path} holds no certificate", "check KOFN_CA_FILE: it must be PEM", Exit.USAGE) from None
    except OSError as error:
        raise Failure(f"cannot read the CA file {path}: {error.strerror}", "check KOFN_CA_FILE", Exit.USAGE) from None


def new_key() -> str:
    """A fresh idempotency key."""
    return str(uuid.uuid4())


def _session(verify: str | bool) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.verify = verify
    session.mount("https://", _Tls13(max_retries=0))
    return session


def is_ready(url: str, ca_file: Path, certificate: tuple[Path, Path] | None = None) -> bool:
    """Whether GET ``url`` answers 200 within two seconds, asked with the client ``certificate`` and key where given."""
    with _session(str(ca_file)) as session:
        if certificate is not None:
            session.cert = (str(certificate[0]), str(certificate[1]))
        try:
            return session.get(url, timeout=2, allow_redirects=False).status_code == 200
        except requests.exceptions.RequestException:
            return False


def _json(response: requests.Response) -> dict[str, Any] | None:
    """The body as an object; empty for an empty body; None when it is something else."""
    if not response.content:
        return {}
    try:
        answer = response.json()
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _cause(error: requests.exceptions.ConnectionError) -> object:
    """What urllib3 gave up for."""
    return getattr(error.args[0], "reason", None) if error.args else None


def _never_connected(error: requests.exceptions.ConnectionError) -> bool:
    """Whether the failure came before a connection stood, so that nothing can have been received."""
    return isinstance(_cause(error), urllib3.exceptions.NewConnectionError)


def _handshake_failed(error: requests.exceptions.SSLError) -> bool:
    """Whether TLS failed before anything could be sent: an untrusted certificate, no TLS at all, or none as new as 1.3."""
    cause = _cause(error)
    below = cause.args[0] if isinstance(cause, urllib3.exceptions.SSLError) and cause.args else None
    return isinstance(below, ssl.SSLError) and below.reason in _HANDSHAKE_FAILURES


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after is not None and retry_after.isdecimal() else None
