"""How gunicorn serves a node: ``gunicorn -c python:node.gunicorn_conf node.wsgi:app``.

One process with many threads: the store, its leases and the roads to the peers belong to one process.
"""

from __future__ import annotations

import gc
import ssl
from collections.abc import Callable
from typing import Any

from node.config import from_environment
from node.hardening import close_to_others, keep_out_of_swap
from node.tls import MutualContext

_COLLECTED_OBJECTS = 50_000
"""How many more objects there must be before cycles among the young ones are looked for; nearly all die without."""

close_to_others()

_settings = from_environment()
_context = MutualContext(_settings, ssl.Purpose.CLIENT_AUTH)

bind = _settings.bind
worker_class = "node.worker.Worker"
workers = 1
threads = _settings.threads
worker_connections = 1000
backlog = 512
preload_app = False
keepalive = 75
timeout = 60
graceful_timeout = 10

certfile = str(_settings.certificate)
keyfile = str(_settings.key)
ca_certs = str(_settings.ca)
cert_reqs = ssl.CERT_REQUIRED
do_handshake_on_connect = False

http_parser = "python"
forwarded_allow_ips = ""
proxy_protocol = "off"
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
