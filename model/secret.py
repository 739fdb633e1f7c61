"""The reference machine for one secret: what a client may observe, and nothing else (specs/semantics.md).

No shares, no nodes, no ballots, no failures: each function takes a ``Secret`` and a request and gives the next ``Secret`` and
the answer, as if the vault were one machine doing one thing at a time. The vault is right when its answers could have come from
here; ``model.vault`` decides that where an outcome is unknown. ``perform`` is the same for any operation on several secrets,
of which a group of creates changes many at one instant. Times are microseconds since the Unix epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from model.operation import (
    Create,
    Delete,
    Deleted,
    Encoding,
    Failed,
    Found,
    History,
    NewValue,
    Read,
    Result,
    Retry,
    SecretId,
    Update,
    Version,
    Versions,
    Written,
)
from model.record import RETRY_KEPT_US
from model.version import intervals, next_valid_from, valid_at

Write = Create | Update | Delete
"""The operations that change something."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One version and its value. It is valid from ``valid_from`` until the next one is."""

    version: int
    valid_from: int
    encoding: Encoding
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the first request with an idempotency key did, at ``time``: the version it wrote, or None if it deleted the secret.

    ``value`` is kept to tell another request from a retry (SEM-20) until a delete buries it, at ``buried_at``.
    """

    retry: Retry
    version: int | None
    time: int
    value: bytes | None = field(repr=False)
    buried_at: int | None = None


@dataclass(frozen=True, slots=True)
class Secret:
    """Everything that decides a client's observations of one name. Hashable; the default is a name never used.

    ``versions`` run oldest first and are empty while the secret is absent. ``newest_time`` is the time of the last write of
    any kind, deletes included, which every later one must exceed (SEM-13); None before the first.
    """

    versions: tuple[Kept, ...] = ()
    newest_time: int | None = None
    outcomes: tuple[Outcome, ...] = ()

    @property
    def live(self) -> bool:
        return bool(self.versions)

    def intervals(self) -> tuple[Version, ...]:
        """Every version with its validity interval, oldest first."""
        return intervals([(kept.version, kept.valid_from) for kept in self.versions])

    def outcome(self, retry: Retry | None) -> Outcome | None:
        """What this secret remembers of ``retry``'s key, if anything."""
        return None if retry is None else next((outcome for outcome in self.outcomes if outcome.retry.key == retry.key), None)

    def may_forget(self, retry: Retry | None, now: int) -> bool:
        """Whether the key was used so long ago that, its work deleted, it need not be recognised any more (SEM-22)."""
        outcome = self.outcome(retry)
        if outcome is None or outcome.buried_at is None:
            return False
        return max(now, outcome.buried_at) - outcome.time >= RETRY_KEPT_US

    def forget(self, retry: Retry) -> Secret:
        """The same secret, with no memory of this key."""
        return replace(self, outcomes=tuple(outcome for outcome in self.outcomes if outcome.retry.key != retry.key))

    def times(self) -> frozenset[int]:
        """Every time in here. Those of different writes differ; the same write's are equal wherever they occur."""
        kept = {kept.valid_from for kept in self.versions}
        outcomes = {time for outcome in self.outcomes for time in (outcome.time, outcome.buried_at)}
        return frozenset(time for time in {*kept, *outcomes, self.newest_time} if time is not None)

    def retimed(self, move: Mapping[int, int]) -> Secret:
        """The same secret with every time replaced; ``move`` must name them all and keep their order."""

        def moved(time: int | None) -> int | None:
            return None if time is None else move[time]

        return Secret(
            tuple(replace(kept, valid_from=move[kept.valid_from]) for kept in self.versions),
            moved(self.newest_time),
            tuple(replace(outcome, time=move[outcome.time], buried_at=moved(outcome.buried_at)) for outcome in self.outcomes),
        )


def create(secret: Secret, new: NewValue, now: int, retry: Retry | None = None) -> tuple[Secret, Result]:
    """Version 1 of an absent secret (SEM-2). Fails with ``secret_exists``, or as ``recall`` does."""
    first = recall(secret, retry, new.value)
    if first is not None:
        return secret, first
    if secret.live:
        return secret, Failed("secret_exists", names=(new.secret.name,))
    return _write(secret, 1, new, now, retry)


def update(secret: Secret, operation: Update, skipped: int = 0) -> tuple[Secret, Result]:
    """The next version of a live secret (SEM-3).

    ``skipped`` version numbers are left out, for updates before this one whose outcome was unknown and that never took effect
    (SEM-10). Fails with ``secret_not_found``, ``version_mismatch``, or as ``recall`` does.
    """
    first = recall(secret, operation.retry, operation.secret.value)
    if first is not None:
        return secret, first
    if not secret.live:
        return secret, Failed("secret_not_found", names=(operation.secret.secret.name,))
    latest = secret.versions[-1].version
    if operation.expected_version not in (None, latest):
        return secret, Failed("version_mismatch", names=(operation.secret.secret.name,))
    return _write(secret, latest + 1 + skipped, operation.secret, operation.now, operation.retry)


def delete(secret: Secret, operation: Delete) -> tuple[Secret, Result]:
    """End the secret with all its versions (SEM-4). Fails with ``secret_not_found``, or as ``recall`` does."""
    first = recall(secret, operation.retry, None)
    if first is not None:
        return secret, first
    if not secret.live:
        return secret, Failed("secret_not_found", names=(operation.secret.name,))
    time = next_valid_from(operation.now, secret.newest_time)
    buried = tuple(each if each.buried_at is not None else replace(each, value=None, buried_at=time) for each in secret.outcomes)
    own = () if operation.retry is None else (Outcome(operation.retry, None, time, None, time),)
    return Secret((), time, buried + own), Deleted()


def recall(secret: Secret, retry: Retry | None, value: bytes | None) -> Written | Deleted | Failed | None:
    """The first outcome of a key seen before, whatever has happened since (SEM-21); None for a key not remembered.

    Fails with ``idempotency_key_reused`` where the request differs, or the value, as long as that version is kept to compare.
    """
    outcome = secret.outcome(retry)
    if retry is None or outcome is None:
        return None
    if outcome.retry.request != retry.request or outcome.value not in (None, value):
        return Failed("idempotency_key_reused")
    return Deleted() if outcome.version is None else Written((Version(outcome.version, outcome.time),))


def read(secret: Secret, operation: Read) -> Found | Failed:
    """The latest version, that of a number or that valid at a time (SEM-14). Fails with ``secret_not_found``, ``version_not_found``."""
    if not secret.live:
        return Failed("secret_not_found", names=(operation.secret.name,))
    versions = secret.intervals()
    found: Version | None = versions[-1]
    if operation.version is not None:
        found = next((version for version in versions if version.version == operation.version), None)
    elif operation.at is not None:
        found = valid_at(versions, operation.at)
    if found is None:
        return Failed("version_not_found", names=(operation.secret.name,))
    kept = secret.versions[versions.index(found)]
    return Found(found, kept.value if operation.reveal else None, kept.encoding)


def history(secret: Secret, operation: History) -> Versions | Failed:
    """Every version of a live secret (SEM-15). Fails with ``secret_not_found``."""
    if not secret.live:
        return Failed("secret_not_found", names=(operation.secret.name,))
    return Versions(secret.intervals())


def named(operation: Write | Read | History) -> tuple[SecretId, ...]:
    """The secrets that an operation is about, in the order asked."""
    match operation:
        case Create():
            return tuple(new.secret for new in operation.secrets)
        case Update():
            return (operation.secret.secret,)
        case _:
            return (operation.secret,)


def perform(
    secrets: Mapping[SecretId, Secret], operation: Write | Read | History, skipped: int = 0
) -> tuple[dict[SecretId, Secret], Result]:
    """Any operation, on a vault that does one thing at a time: ``secrets`` afterwards, and the answer.

    ``secrets`` holds at least those that the operation names; ``skipped`` is as for ``update``.
    """
    after = dict(secrets)
    answer: Result
    match operation:
        case Create():
            return _create_all(after, operation)
        case Update(secret=new):
            after[new.secret], answer = update(after[new.secret], operation, skipped)
        case Delete(secret=name):
            after[name], answer = delete(after[name], operation)
        case Read(secret=name):
            answer = read(after[name], operation)
        case _:
            answer = history(after[operation.secret], operation)
    return after, answer


def _create_all(after: dict[SecretId, Secret], operation: Create) -> tuple[dict[SecretId, Secret], Result]:
    """All or none (SEM-19). Where only some remember the key, the others having forgotten it, nothing is created (SEM-22)."""
    firsts = {new.secret: recall(after[new.secret], operation.retry, new.value) for new in operation.secrets}
    if any(isinstance(first, Failed) for first in firsts.values()):
        return after, Failed("idempotency_key_reused")
    versions = [version for first in firsts.values() if isinstance(first, Written) for version in first.versions]
    if len(versions) == len(firsts):
        return after, Written(tuple(versions))
    existing = sorted(secret.name for secret, first in firsts.items() if first is not None or after[secret].live)
    if existing:
        return after, Failed("secret_exists", names=tuple(existing))
    for new in operation.secrets:
        after[new.secret], written = _write(after[new.secret], 1, new, operation.now, operation.retry)
        versions.extend(written.versions)
    return after, Written(tuple(versions))


def _write(secret: Secret, version: int, new: NewValue, now: int, retry: Retry | None) -> tuple[Secret, Written]:
    """Append a version, strictly later than every write before it (SEM-13)."""
    time = next_valid_from(now, secret.newest_time)
    kept = Kept(version, time, new.encoding, new.value)
    own = () if retry is None else (Outcome(retry, version, time, new.value),)
    return Secret((*secret.versions, kept), time, secret.outcomes + own), Written((Version(version, time),))
