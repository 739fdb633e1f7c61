"""The gateway as a WSGI application: the routes, one error handler, and what every answer has in common."""

from __future__ import annotations

import secrets
import time

from flask import Flask, Response, g, request
from werkzeug.routing import BaseConverter

from gateway.access import Access
from gateway.config import Settings
from gateway.env_api import EnvApi
from gateway.failover import Nodes
from gateway.problem import render
from gateway.secrets_api import SecretsApi
from gateway.status_api import Metrics, StatusApi
from model.errors import InvalidRequest


class _AnyName(BaseConverter):
    """The rest of the path as it is, slashes and all: whether it is a name is for the route to say, with a clear error."""

    part_isolating = False
    regex = "(?s:.*)"


def create_app(settings: Settings, nodes: Nodes) -> Flask:
    """The application over ``nodes``. Reads the tokens file; raises OSError or ValueError where that cannot be used."""
    app = Flask("gateway", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.request_bytes
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.merge_slashes = False
    app.url_map.converters["name"] = _AnyName
    access = Access(settings.tokens, settings.trust_domain)
    metrics = Metrics()
    SecretsApi(settings, access, nodes).add_to(app)
    EnvApi(settings, access, nodes).add_to(app)
    StatusApi(settings, access, nodes, metrics).add_to(app)
    app.register_error_handler(Exception, render)

    @app.before_request
    def begin() -> None:
        g.begun = time.monotonic()
        g.request_id = secrets.token_hex(16)
        if "Host" not in request.headers:
            raise InvalidRequest("A Host header is required")

    @app.after_request
    def finish(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.request_id
        response.headers["Cache-Control"] = "no-store"
        route = request.url_rule.rule if request.url_rule is not None else None
        metrics.observe(route, request.method, response.status_code, time.monotonic() - g.begun)
        return response

    return app
