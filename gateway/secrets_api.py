"""The routes of single secrets, of lists of names and of batch reads.

A route names its caller, reads the request strictly, has it authorised, reads the clock once if it writes, asks the nodes, and renders
what they found. It decides nothing about existence, versions or outcomes.
"""

from __future__ import annotations

import time
from typing import Annotated

import msgspec
from flask import Flask, Response, g, request

from gateway import answer, listing, parse
from gateway.access import Access
from gateway.config import Settings
from gateway.failover import Nodes
from model.errors import InvalidRequest
from model.name import check_name, check_prefix
from model.operation import (
    Create,
    Delete,
    Encoding,
    Found,
    History,
    List,
    Names,
    NewValue,
    Operation,
    Read,
    Result,
    Update,
    Versions,
    Written,
)
from model.version import parse_time

DEFAULT_NAMES = 100
MAX_BATCH = 1000


class _CreateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    value: str
    encoding: Encoding = "utf-8"

    def __repr__(self) -> str:
        return "_CreateBody()"


class _UpdateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    value: str
    encoding: Encoding = "utf-8"

    def __repr__(self) -> str:
        return "_UpdateBody()"


class _BatchBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    names: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=MAX_BATCH)]


class SecretsApi:
    """The routes, over the nodes."""

    def __init__(self, settings: Settings, access: Access, nodes: Nodes) -> None:
        self._value_bytes = settings.value_bytes
        self._access = access
        self._nodes = nodes

    def add_to(self, app: Flask) -> None:
        """Give ``app`` these routes."""
        app.add_url_rule("/api/v1/secrets", view_func=self.list, methods=["GET"])
        app.add_url_rule("/api/v1/secrets", view_func=self.create, methods=["POST"])
        app.add_url_rule("/api/v1/secrets/<name:name>", view_func=self.read, methods=["GET"])
        app.add_url_rule("/api/v1/secrets/<name:name>", view_func=self.update, methods=["PUT"])
        app.add_url_rule("/api/v1/secrets/<name:name>", view_func=self.delete, methods=["DELETE"])
        app.add_url_rule("/api/v1/history/<name:name>", view_func=self.history, methods=["GET"])
        app.add_url_rule("/api/v1/batch/read", view_func=self.read_batch, methods=["POST"])

    def create(self) -> Response:
        """201, or SecretExists."""
        caller = self._access.caller(request, g.trail)
        parse.query(request)
        parse.no_if_match(request)
        body = parse.body(request, _CreateBody)
        secret = caller.may("create", check_name(body.name))
        new = NewValue(secret, parse.value(body.value, body.encoding, self._value_bytes), body.encoding)
        found = self._ask(Create((new,), now(), parse.retry(request, "create", caller.scope, [new])))
        assert isinstance(found, Written)
        version = found.versions[0]
        return answer.json(
            answer.version(secret.name, version), 201, {"Location": answer.location(secret.name), "ETag": answer.etag(version)}
        )

    def update(self, name: str) -> Response:
        """200 with the new version."""
        caller = self._access.caller(request, g.trail)
        parse.query(request)
        expected = parse.if_match(request)
        secret = caller.may("update", check_name(name))
        body = parse.body(request, _UpdateBody)
        new = NewValue(secret, parse.value(body.value, body.encoding, self._value_bytes), body.encoding)
        found = self._ask(Update(new, now(), expected, parse.retry(request, "update", caller.scope, [new], expected)))
        assert isinstance(found, Written)
        version = found.versions[0]
        return answer.json(answer.version(name, version), headers={"ETag": answer.etag(version)})

    def read(self, name: str) -> Response:
        """200 with the value of the latest version, of ``version``, or of the one valid ``at`` a time."""
        caller = self._access.caller(request, g.trail)
        secret = caller.may("read", check_name(name))
        query = parse.query(request, "version", "at")
        if len(query) > 1:
            raise InvalidRequest("Ask for a version or for a time, not for both")
        version = parse.number(query["version"]) if "version" in query else None
        at = parse_time(query["at"]) if "at" in query else None
        found = self._ask(Read(secret, version, at))
        assert isinstance(found, Found)
        headers = {} if query else {"ETag": answer.etag(found.version)}
        return answer.json(answer.secret(name, found), headers=headers)

    def history(self, name: str) -> Response:
        """200 with every version, oldest first."""
        caller = self._access.caller(request, g.trail)
        secret = caller.may("history", check_name(name))
        parse.query(request)
        found = self._ask(History(secret))
        assert isinstance(found, Versions)
        return answer.json({"versions": [answer.version(name, version) for version in found.versions]})

    def delete(self, name: str) -> Response:
        """204 once the nodes say that it is erased."""
        caller = self._access.caller(request, g.trail)
        secret = caller.may("delete", check_name(name))
        parse.query(request)
        parse.no_body(request)
        parse.no_if_match(request)
        self._ask(Delete(secret, now(), parse.retry(request, "delete", caller.scope, [secret])))
        return Response(status=204)

    def list(self) -> Response:
        """200 with one page of names; ``next`` is the last of them where more follow."""
        caller = self._access.caller(request, g.trail)
        query = parse.query(request, "prefix", "after", "limit")
        prefix = check_prefix(query.get("prefix", ""))
        after = check_prefix(query.get("after", ""))
        limit = parse.number(query["limit"], listing.MAX_NAMES) if "limit" in query else DEFAULT_NAMES
        names, more = listing.page(self._list, caller.may_list(prefix), after, limit)
        return answer.json({"names": names, "next": names[-1] if more else None})

    def read_batch(self) -> Response:
        """200 with the latest version of each name, in the order asked, or one error that names every missing one."""
        caller = self._access.caller(request, g.trail)
        parse.query(request)
        parse.no_if_match(request)
        names = parse.body(request, _BatchBody).names
        if len(set(names)) != len(names):
            raise InvalidRequest("Each name may be asked for once")
        secrets = caller.may_all([("read", check_name(name)) for name in names])
        found = answer.all_found(names, self._nodes.perform([Read(secret) for secret in secrets]))
        return answer.json({"secrets": [answer.secret(name, each) for name, each in zip(names, found, strict=True)]})

    def _list(self, asked: List) -> Names:
        found = self._ask(asked)
        assert isinstance(found, Names)
        return found

    def _ask(self, operation: Operation) -> Result:
        """The nodes' answer to one operation; a failure is raised."""
        return answer.checked(self._nodes.perform([operation])[0])


def now() -> int:
    """The gateway's time, microseconds since the Unix epoch; read once for each request that writes."""
    return time.time_ns() // 1000
