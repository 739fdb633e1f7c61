"""How gunicorn serves the gateway: ``gunicorn -c python:gateway.gunicorn_conf gateway.wsgi:app``.

One process, one thread; for more, run more gateways. TLS is this module's, so that changed certificates serve the next connection.
"""

from __future__ import annotations

import gc
import resource
import ssl
from collections.abc import Callable
from typing import Any

from gateway.config import from_environment
from gateway.connection import ClientSocket
from gateway.hardening import close_to_others, keep_out_of_swap
from gateway.tls import Context

_COLLECTED_OBJECTS = 50_000
"""How many more objects there must be before cycles among the young ones are looked for; nearly all die without."""
_OTHER_FILES = 256
"""Descriptors for everything but clients: nodes, files, the interpreter."""


def _room_for(connections: int) -> int:
    """How many clients can be connected, ``connections`` at most, with as many descriptors as the operating system lets us have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = connections + _OTHER_FILES
    if most != resource.RLIM_INFINITY:
        files = min(files, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))
    return max(files - _OTHER_FILES, 1)


close_to_others()

_settings = from_environment()
_context = Context(ssl.Purpose.CLIENT_AUTH, certificate=_settings.certificate, key=_settings.key, ca=_settings.ca, sockets=ClientSocket)

bind = _settings.bind
worker_class = "gateway.worker.Worker"
workers = 1
worker_connections = _room_for(_settings.connections)
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
header_map = "refuse"  # an If_Match that is passed over would be an update without condition
forwarded_allow_ips = ""
control_socket_disable = True

accesslog = None
errorlog = "-"
loglevel = "warning"


def ssl_context(config: Any, default_factory: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """The TLS context of the next connection."""
    del config, default_factory
    return _context.get()


def post_fork(server: Any, worker: Any) -> None:
    """In each new worker."""
    del server, worker
    keep_out_of_swap()


def post_worker_init(worker: Any) -> None:
    """Before the first request: what was loaded stays, so the collector need not look at it again and again; it took 5 %."""
    del worker
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECTED_OBJECTS, 10, 10)
