"""Is the process alive, does the vault serve, and what has this process done: health, readiness, status and metrics."""

from __future__ import annotations

from flask import Flask, Response, g, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest

from gateway import answer, parse
from gateway.access import Access
from gateway.audit import AuditLog
from gateway.config import Settings
from gateway.failover import Nodes
from model.errors import Unavailable
from model.operation import NodeStatus, Status

_METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"})


class Metrics:
    """How many requests there were and how long they took (seconds), by route template, method and status, and by nothing else."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._seconds = Histogram(
            "kofn_gateway_request_seconds",
            "Time from the first look at a request to its answer",
            ("route", "method", "status"),
            registry=self.registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
        )

    def observe(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request. A method beyond the usual ones is ``other``."""
        self._seconds.labels(route, method if method in _METHODS else "other", status).observe(seconds)


class StatusApi:
    """The routes, over the nodes."""

    def __init__(self, settings: Settings, access: Access, nodes: Nodes, metrics: Metrics, audit: AuditLog) -> None:
        self._node_count = settings.quorum().share_count
        self._audit = audit
        self._access = access
        self._nodes = nodes
        self._metrics = metrics

    def add_to(self, app: Flask) -> None:
        """Give ``app`` these routes."""
        app.add_url_rule("/api/v1/status", view_func=self.status, methods=["GET"])
        app.add_url_rule("/healthz", view_func=self.healthz, methods=["GET"])
        app.add_url_rule("/readyz", view_func=self.readyz, methods=["GET"])
        app.add_url_rule("/metrics", view_func=self.metrics, methods=["GET"])

    def status(self) -> Response:
        """200, whatever the state."""
        self._access.authorise_status(request, g.trail)
        parse.query(request)
        seen = self._seen()
        return answer.json(
            {
                "reads": seen is not None and seen.serving_count >= seen.read_quorum,
                "writes": seen is not None and seen.serving_count >= seen.write_quorum,
                "degraded": seen is None or seen.serving_count < self._node_count,
            }
        )

    def healthz(self) -> Response:
        """200 as long as this process answers at all."""
        parse.query(request)
        return answer.json({"ok": True})

    def readyz(self) -> Response:
        """200 if reads can be served, else Unavailable, or AuditUnavailable while requests cannot be recorded."""
        parse.query(request)
        self._audit.check()
        seen = self._seen()
        if seen is None or seen.serving_count < seen.read_quorum:
            raise Unavailable
        return answer.json({"ok": True})

    def metrics(self) -> Response:
        """The Prometheus text format."""
        parse.query(request)
        return Response(generate_latest(self._metrics.registry), content_type=CONTENT_TYPE_LATEST)

    def _seen(self) -> NodeStatus | None:
        """What the first node that serves sees; None if none does."""
        seen = self._nodes.perform([Status()])[0]
        return seen if isinstance(seen, NodeStatus) else None
