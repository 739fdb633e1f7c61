"""Puts a node together: store, roads, coordinator, repairer, routes."""

from __future__ import annotations

import logging

from flask import Flask

from node.api import create_blueprint
from node.config import Settings
from node.coordinator import Coordinator
from node.exclusion import hold
from node.peers import Roads
from node.repair import Repairer
from node.store import Store


def create_app(settings: Settings) -> Flask:
    """The WSGI application of one node; starts its background threads."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    logging.getLogger("peewee").setLevel(logging.ERROR)  # its debug messages hold what is stored
    hold(settings.database)
    store = Store.open(settings.database, settings.id)
    repairer = Repairer(settings, store)
    coordinator = Coordinator(settings, store, Roads(settings), repairer.notice)
    app = Flask("node", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.exchange_bytes
    app.register_blueprint(create_blueprint(settings.trust_domain, store, coordinator))
    repairer.start(coordinator)
    return app
