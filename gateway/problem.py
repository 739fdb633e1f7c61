"""The one shape of every error body (RFC 9457), and the one handler that renders it.

``render`` turns an error of ``model.errors`` into an answer; ``translate`` turns what Flask and Werkzeug raise into an error of that tree,
without their words, which may repeat the request. A defect of ours becomes ``internal_error``; its log entry has the place but not the
message, because the message of an arbitrary exception may hold anything.
"""

from __future__ import annotations

import logging
import traceback
from typing import Final

import msgspec
from flask import Response, g
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed as WerkzeugMethodNotAllowed

from model.errors import (
    BY_CODE,
    InvalidRequest,
    KofnError,
    MethodNotAllowed,
    NotFound,
    TooLarge,
    Unauthenticated,
)

PROBLEM = "application/problem+json"

SECURITY_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
}
"""What every answer carries: it is kept by no cache, and should a browser ever show one, nothing in it is run, framed or guessed at."""

logger = logging.getLogger(__name__)


def body(error: KofnError, request_id: str) -> bytes:
    """The problem document of ``error``, JSON."""
    problem: dict[str, object] = {
        "type": f"urn:kofn:error:{error.code}",
        "title": error.title,
        "status": error.status,
        "code": error.code,
        "detail": error.detail,
        "request_id": request_id,
    }
    if error.phase is not None:
        problem["phase"] = error.phase
    if error.outcome is not None:
        problem["outcome"] = error.outcome
    if error.names:
        problem["names"] = error.names
    return msgspec.json.encode(problem)


def headers(error: KofnError) -> dict[str, str]:
    """The headers that go with ``error``."""
    extra: dict[str, str] = {}
    if error.retry_after_seconds is not None:
        extra["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, Unauthenticated):
        extra["WWW-Authenticate"] = "Bearer"
    return extra


def render(error: Exception) -> Response:
    """The answer to a request that ended in ``error``, whatever it is."""
    known = translate(error)
    g.code = known.code
    response = Response(body(known, g.request_id), known.status, headers(known), content_type=PROBLEM)
    if isinstance(error, WerkzeugMethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return response


def translate(error: Exception) -> KofnError:
    """The error of our own tree that ``error`` amounts to."""
    if isinstance(error, KofnError):
        return error
    if isinstance(error, HTTPException) and error.code is not None and 300 <= error.code < 500:
        return {404: NotFound, 405: MethodNotAllowed, 413: TooLarge}.get(error.code, InvalidRequest)()
    place = "".join(traceback.format_tb(error.__traceback__))
    logger.error("request %s failed: %s\n%s", g.request_id, type(error).__name__, place)
    return KofnError()


def from_code(code: str, detail: str, names: tuple[str, ...]) -> KofnError:
    """The error that a node answered with; an unknown code is a defect."""
    return BY_CODE.get(code, KofnError)(detail, names=names)
