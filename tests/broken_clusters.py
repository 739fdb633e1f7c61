"""Clusters that are right but for one promise each. The oracle must find out every one of them."""

from __future__ import annotations

from dataclasses import replace

from fake_cluster import FakeCluster
from msgspec.structs import replace as replace_struct

from model.operation import (
    Create,
    Delete,
    Failed,
    Found,
    History,
    List,
    Names,
    Operation,
    Read,
    Result,
    SecretId,
    Update,
    Version,
    Versions,
    Written,
)
from model.secret import Secret, Write, named, perform

Outcome = tuple[dict[SecretId, Secret], Result]


class StaleReads(FakeCluster):
    """Now and then a read is answered from before the latest write."""

    def __init__(self) -> None:
        super().__init__()
        self.before = self.secrets

    def apply(self, operation: Write | Read | History, skipped: int) -> Outcome:
        if isinstance(operation, Write):
            self.before = self.secrets
        elif self.random.random() < 0.3:
            return self.secrets, perform(self.before, operation)[1]
        return super().apply(operation, skipped)


class LosesAcknowledgedWrites(FakeCluster):
    """Now and then a write is acknowledged and gone."""

    def apply(self, operation: Write | Read | History, skipped: int) -> Outcome:
        after, result = super().apply(operation, skipped)
        return (self.secrets if self.random.random() < 0.2 else after), result


class Resurrects(FakeCluster):
    """A deleted secret comes back when a message about it is late."""

    def __init__(self) -> None:
        super().__init__()
        self.graves: dict[SecretId, Secret] = {}

    def apply(self, operation: Write | Read | History, skipped: int) -> Outcome:
        if self.graves and self.random.random() < 0.2:
            self.secrets = {**self.secrets, **self.graves}
            self.graves = {}
        before = self.secrets
        after, result = super().apply(operation, skipped)
        if isinstance(operation, Delete) and before != after:
            self.graves[operation.secret] = before[operation.secret]
        return after, result


class HalvesGroups(FakeCluster):
    """Of a group whose outcome is unknown, the first half may appear."""

    def go_wrong(self, operation: Write) -> Result | None:
        if isinstance(operation, Create):
            super().go_wrong(replace_struct(operation, secrets=operation.secrets[:1]))
            return None
        return super().go_wrong(operation)


class SkipsVersions(FakeCluster):
    """A version number is left out for no reason."""

    def apply(self, operation: Write | Read | History, skipped: int) -> Outcome:
        return super().apply(operation, skipped + self.random.choice([0, 0, 1]))


class ForgetsKeys(FakeCluster):
    """A retry is done again."""

    def apply(self, operation: Write | Read | History, skipped: int) -> Outcome:
        if isinstance(operation, Write) and operation.retry is not None:
            self.secrets = {name: secret.forget(operation.retry) for name, secret in self.secrets.items()}
        return super().apply(operation, skipped)


class TakesAnyValueForAKey(FakeCluster):
    """Another value under a known key is answered as if it were the first."""

    def apply(self, operation: Write | Read | History, skipped: int) -> Outcome:
        after, result = super().apply(operation, skipped)
        if isinstance(operation, Update) and isinstance(result, Failed) and result.code == "idempotency_key_reused":
            for outcome in self.secrets[operation.secret.secret].outcomes:
                if operation.retry == outcome.retry and outcome.version is not None:
                    return after, Written((Version(outcome.version, outcome.time),))
        return after, result


class GoesBackInTime(FakeCluster):
    """A version is valid from when the gateway's clock says, even if that was before the version below it."""

    def apply(self, operation: Write | Read | History, skipped: int) -> Outcome:
        after, result = super().apply(operation, skipped)
        if isinstance(operation, Update) and isinstance(result, Written) and after != self.secrets:
            secret = after[operation.secret.secret]
            *older, newest = secret.versions
            after[operation.secret.secret] = replace(secret, versions=(*older, replace(newest, valid_from=operation.now)))
            result = Written((replace_struct(result.versions[0], valid_from=operation.now),))
        return after, result


class LeavesGapsInTime(FakeCluster):
    """A version ends before the next one begins."""

    def apply(self, operation: Write | Read | History, skipped: int) -> Outcome:
        after, result = super().apply(operation, skipped)
        match result:
            case Found(version=Version(valid_to=int(end)) as version):
                return after, replace_struct(result, version=replace_struct(version, valid_to=end - 1))
            case Versions(versions=(*older, newest)) if older:
                return after, Versions((*(replace_struct(each, valid_to=each.valid_from + 1) for each in older), newest))
            case _:
                return after, result


class IgnoresIfMatch(FakeCluster):
    """An update takes effect whatever version it expected."""

    def apply(self, operation: Write | Read | History, skipped: int) -> Outcome:
        if isinstance(operation, Update):
            operation = replace_struct(operation, expected_version=None)
        return super().apply(operation, skipped)


class RefusesAndWrites(FakeCluster):
    """Says that nothing was written, and writes."""

    def go_wrong(self, operation: Write) -> Result | None:
        self.answer(operation)
        return Failed("voting_failed")


class WritesTwice(FakeCluster):
    """A write of unknown outcome takes effect twice."""

    def arrive(self, index: int) -> None:
        operation = self.late[index]
        super().arrive(index)
        if isinstance(operation, Update):
            self.answer(operation)


class ListsTheDeleted(FakeCluster):
    """Every name ever used is listed."""

    def list_names(self, asked: List) -> Names:
        used = {
            secret.name for secret, state in self.secrets.items() if state.newest_time is not None and secret.namespace == asked.namespace
        }
        names = sorted(name for name in used if name.startswith(asked.prefix) and name > asked.after)
        return Names(tuple(names[: asked.limit]), len(names) > asked.limit)


class ListsTooFew(FakeCluster):
    """The first name of a page is missing."""

    def list_names(self, asked: List) -> Names:
        page = super().list_names(asked)
        return Names(page.names[1:], page.more)


class MixesNamespaces(FakeCluster):
    """The same name in two namespaces is one secret."""

    def apply(self, operation: Write | Read | History, skipped: int) -> Outcome:
        after, result = super().apply(operation, skipped)
        for name in named(operation) if isinstance(operation, Write) else ():
            twin = SecretId("other" if name.namespace == "default" else "default", name.name)
            if twin in after:
                after[twin] = after[name]
        return after, result


class ArrivesTooLate(FakeCluster):
    """A write of unknown outcome takes effect after a later write was acknowledged, which it may not."""

    def answer(self, operation: Operation, later: list[Write] | None = None) -> Result:
        late = list(self.late)
        result = super().answer(operation, later)
        self.late = late
        return result


BROKEN = (
    StaleReads,
    LosesAcknowledgedWrites,
    Resurrects,
    HalvesGroups,
    SkipsVersions,
    ForgetsKeys,
    TakesAnyValueForAKey,
    GoesBackInTime,
    LeavesGapsInTime,
    IgnoresIfMatch,
    RefusesAndWrites,
    WritesTwice,
    ListsTheDeleted,
    ListsTooFew,
    MixesNamespaces,
    ArrivesTooLate,
)
