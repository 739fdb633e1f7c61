"""What gunicorn serves: ``gateway.wsgi:app``, configured by the file that ``KOFN_GATEWAY_CONFIG`` names."""

import atexit

from gateway.app import create_app
from gateway.config import from_environment
from gateway.failover import connect

_settings = from_environment()
app = create_app(_settings, connect(_settings))
atexit.register(app.extensions["audit"].close)
