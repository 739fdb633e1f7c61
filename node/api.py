"""A node's inner routes: operations from gateways, messages from other nodes. Roles are checked by SPIFFE ID, bodies are msgpack."""

from __future__ import annotations

import msgspec
from flask import Blueprint, Response, g, request

from model.identity import Identity, IdentityError, Role
from model.message import Exchange, Replies, Unfit, decode_exchange, encode
from model.operation import Create, Delete, Operation, Update
from node.coordinator import Coordinator
from node.store import Store
from node.tls import identity_of

_decode_operations = msgspec.msgpack.Decoder(list[Operation]).decode
_MSGPACK = "application/msgpack"


def create_blueprint(trust_domain: str, store: Store, coordinator: Coordinator) -> Blueprint:
    """The routes of one node."""
    routes = Blueprint("inner", __name__)

    @routes.get("/healthz")
    def healthz() -> Response:
        """The process is alive."""
        return Response(b"ok\n", mimetype="text/plain")

    @routes.post("/v1/operations")
    def operations() -> Response:
        """From a gateway: a list of operations in, a list of results out. 503 while this node cannot serve them: nothing was done."""
        refused = _refuse(Role.GATEWAY, trust_domain)
        if refused is not None:
            return refused
        try:
            asked = _decode_operations(request.get_data())
        except ValueError:  # msgspec's own errors are; text that is not UTF-8 is a plain one
            return _plain(400, "the body is not a list of operations")
        if not store.serving:
            return _plain(503, "this node is recovering from a lost store")
        if store.refusing and any(isinstance(operation, Create | Update | Delete) for operation in asked):
            return _plain(503, "this node's disk refuses to write")
        return Response(encode(coordinator.perform(asked)), mimetype=_MSGPACK)

    @routes.post("/v1/messages")
    def messages() -> Response:
        """From a node: an exchange in, replies out."""
        refused = _refuse(Role.NODE, trust_domain)
        if refused is not None:
            return refused
        try:
            exchange = decode_exchange(request.get_data())
        except ValueError:
            return _plain(400, "the body is not an exchange")
        if exchange.sender != g.caller.id or not coordinator.is_peer(exchange.sender):
            return _plain(403, "the sender is not who the certificate says, or no node of this cluster")
        return Response(encode(answer(store, exchange)), mimetype=_MSGPACK)

    return routes


def answer(store: Store, exchange: Exchange) -> Replies:
    """Apply an exchange, unless it was meant for another store than this. A node that recovers takes no part (PROTO-12)."""
    if exchange.store not in (b"", store.id):
        return Replies(store.id, None)
    messages = exchange.messages
    return Replies(store.id, tuple(store.apply(messages) if store.serving else [Unfit() for _ in messages]))


def _refuse(role: Role, trust_domain: str) -> Response | None:
    """None if the caller has ``role``; else the answer that turns it away."""
    try:
        caller: Identity = identity_of(request.environ.get("gunicorn.socket"), trust_domain)
    except IdentityError as error:
        return _plain(403, str(error))
    g.caller = caller
    return None if caller.role is role else _plain(403, f"this route is for the role {role.value}")


def _plain(status: int, text: str) -> Response:
    return Response(text + "\n", status=status, mimetype="text/plain")
