"""How gunicorn serves the gateway: ``gunicorn -c python:gateway.gunicorn_conf gateway.wsgi:app``.

One process, many threads; for more, run more gateways. TLS is this module's, so that changed certificates serve the next connection.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

from gateway.config import from_environment
from gateway.tls import Context
from gateway.worker import ClientSocket

_settings = from_environment()
_context = Context(ssl.Purpose.CLIENT_AUTH, certificate=_settings.certificate, key=_settings.key, ca=_settings.ca, sockets=ClientSocket)

bind = _settings.bind
worker_class = "gateway.worker.Worker"
workers = 1
threads = _settings.threads
worker_connections = 1000
backlog = 2048
preload_app = False
keepalive = 75
timeout = 60
graceful_timeout = 20

certfile = str(_settings.certificate)
keyfile = str(_settings.key)
ca_certs = str(_settings.ca)
do_handshake_on_connect = False

http_parser = "python"
limit_request_line = 4094
limit_request_fields = 64
limit_request_field_size = 8190
forwarded_allow_ips = ""
control_socket_disable = True

accesslog = None
errorlog = "-"
loglevel = "warning"


def ssl_context(config: Any, default_factory: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """The TLS context of the next connection."""
    del config, default_factory
    return _context.get()
