"""The floor: a bare Flask route that answers JSON, on gunicorn's gthread with two workers, without TLS. Nothing in Flask is faster."""

from __future__ import annotations

from flask import Flask

ANSWER = {"name": "floor", "version": 1}

app = Flask(__name__, static_folder=None)


@app.get("/floor")
def floor() -> dict[str, object]:
    """A small JSON object."""
    return ANSWER
