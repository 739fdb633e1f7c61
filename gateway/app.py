"""The gateway as a WSGI application: the routes, one error handler, and what every answer has in common."""

from __future__ import annotations

import secrets
import time

from flask import Flask, Response, g, request
from werkzeug.routing import BaseConverter

from gateway.access import Access
from gateway.audit import AuditLog, Trail
from gateway.config import Settings
from gateway.env_api import EnvApi
from gateway.failover import Nodes
from gateway.limiting import Limits
from gateway.problem import SECURITY_HEADERS, render
from gateway.secrets_api import SecretsApi
from gateway.status_api import Metrics, StatusApi
from model.errors import AuditUnavailable, InvalidRequest, RateLimited

_RECORDED = "/api/"
"""Routes below this are recorded in the audit log. The others show no secret and need no credentials."""
_UNLIMITED = "/healthz"
"""Costs no more than being refused."""
_COMMON = tuple(SECURITY_HEADERS.items())


class _AnyName(BaseConverter):
    """The rest of the path as it is, slashes and all: whether it is a name is for the route to say, with a clear error."""

    part_isolating = False
    regex = "(?s:.*)"


def create_app(settings: Settings, nodes: Nodes) -> Flask:
    """The application over ``nodes``. Reads the access file and opens the audit log.

    Raises OSError, CallersError or AuditError where they cannot be used.
    """
    app = Flask("gateway", static_folder=None)
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
        g.begun = time.monotonic()
        g.request_id = secrets.token_hex(16)
        g.route = route = request.url_rule.rule if request.url_rule is not None else "none"
        source = request.remote_addr or ""
        g.trail = Trail(audit, g.request_id, source, f"{request.method} {route}") if route.startswith(_RECORDED) else None
        g.code = None
        if request.path != _UNLIMITED:
            limits.admit_source(source)
        if "Host" not in request.headers:
            raise InvalidRequest("A Host header is required")

    @app.after_request
    def finish(response: Response) -> Response:
        if g.trail is not None and (g.code != RateLimited.code or g.trail.begun):
            try:
                g.trail.end(response.status_code, g.code)
            except AuditUnavailable as error:
                response = render(error)
        response.headers.extend(_COMMON)
        response.headers.add("X-Request-Id", g.request_id)
        metrics.observe(g.route, request.method, response.status_code, time.monotonic() - g.begun)
        return response

    return app
