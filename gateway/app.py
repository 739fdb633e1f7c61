"""The gateway as a WSGI application: the routes, one error handler, and what every answer has in common."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask, Request, Response, g
from flask.globals import request_ctx
from flask.sessions import NullSession, SessionInterface
from werkzeug.routing import BaseConverter, MapAdapter

from gateway.access import Access
from gateway.audit import AuditLog
from gateway.config import Settings
from gateway.env_api import EnvApi
from gateway.failover import Nodes
from gateway.limiting import Limits
from gateway.problem import SECURITY_HEADERS, render
from gateway.secrets_api import SecretsApi
from gateway.status_api import Metrics, StatusApi
from gateway.trail import Trail
from model.errors import AuditUnavailable, InvalidRequest, RateLimited

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_RECORDED = "/api/"
"""Routes below this are recorded in the audit log. The others show no secret and need no credentials."""
_UNLIMITED = "/healthz"
"""Costs no more than being refused."""
_COMMON = tuple(SECURITY_HEADERS.items())
_REQUEST_ID = "kofn.request_id"


class _NoSessions(SessionInterface):
    """There are none: who is asking is told anew with every request."""

    _none = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        del app, request
        return self._none

    def is_null_session(self, obj: object) -> bool:
        del obj
        return True


class _Gateway(Flask):
    """Flask without what it does for every request and no route of ours needs: it costs a tenth of a read."""

    session_interface = _NoSessions()

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """No view is a coroutine."""
        return func

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Routes go by path and method alone, never by host."""
        if request is None:
            return None
        return self.url_map.bind(self.name, default_method=request.method, path_info=request.path)


class _Dressing:
    """WSGI middleware: gives a request its id, unlike any other's of any process, and every answer what all answers have in common."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app
        self._prefix = secrets.token_hex(8)
        self._numbers = itertools.count(1)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request_id = environ[_REQUEST_ID] = f"{self._prefix}{next(self._numbers):016x}"

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
            return start_response(status, [*headers, *_COMMON, ("X-Request-Id", request_id)], exc_info)

        return self._app(environ, start)


class _AnyName(BaseConverter):
    """The rest of the path as it is, slashes and all: whether it is a name is for the route to say, with a clear error."""

    part_isolating = False
    regex = "(?s:.*)"


def create_app(settings: Settings, nodes: Nodes) -> Flask:
    """The application over ``nodes``. Reads the access file and opens the audit log.

    Raises OSError, CallersError or AuditError where they cannot be used.
    """
    app = _Gateway("gateway", static_folder=None)
    app.wsgi_app = _Dressing(app.wsgi_app)  # type: ignore[method-assign]  # as Flask's documentation has it
    app.config["MAX_CONTENT_LENGTH"] = settings.request_bytes
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.merge_slashes = False
    app.url_map.converters["name"] = _AnyName
    limits = Limits(settings)
    access = Access(settings.access, settings.trust_domain, limits)
    audit = app.extensions["audit"] = AuditLog(settings.audit, settings.id, settings.audit_bytes)
    metrics = Metrics()
    SecretsApi(settings, access, nodes).add_to(app)
    EnvApi(settings, access, nodes).add_to(app)
    StatusApi(settings, access, nodes, metrics, audit).add_to(app)
    app.register_error_handler(Exception, render)

    @app.before_request
    def begin() -> None:
        here, asked = g._get_current_object(), request_ctx.request  # each look through a proxy costs as much as a call
        here.begun = time.monotonic()
        here.request_id = asked.environ[_REQUEST_ID]
        here.route = route = asked.url_rule.rule if asked.url_rule is not None else "none"
        source = asked.remote_addr or ""
        here.trail = here.code = None
        if asked.path != _UNLIMITED:
            limits.admit_source(source)
        if "HTTP_HOST" not in asked.environ:
            raise InvalidRequest("A Host header is required")
        if route.startswith(_RECORDED):
            here.trail = Trail(audit, here.request_id, source, f"{asked.method} {route}")

    @app.after_request
    def finish(response: Response) -> Response:
        here = g._get_current_object()
        if here.trail is not None and (here.code != RateLimited.code or here.trail.begun):
            try:
                here.trail.end(response.status_code, here.code)
            except AuditUnavailable as error:
                response = render(error)
        metrics.observe(here.route, request_ctx.request.method, response.status_code, time.monotonic() - here.begun)
        return response

    return app
