"""What gunicorn serves: ``node.wsgi:app``, configured by the file that ``KOFN_NODE_CONFIG`` names."""

from node.app import create_app
from node.config import from_environment

app = create_app(from_environment())
