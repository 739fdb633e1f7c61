"""X.509-SVIDs of a SPIFFE Workload API, kept in files, in the manner of spiffe-helper: what ``kofn certificates fetch`` does.

Nodes and gateways know nothing but files, which they read again when they change. The library ``spiffe``, an optional extra, talks to the
API, goes on trying while that is away, and checks the shape of what it sends (SPIFFE X.509-SVID standard, sections 2 to 5).
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

from cryptography.hazmat.primitives import serialization
from spiffe import WorkloadApiClient, X509Svid
from spiffe.errors import ArgumentError
from spiffe.workloadapi.x509_context import X509Context

from cli import files
from cli.certificates import write_pair
from cli.failure import Exit, Failure
from model.identity import Identity

_PEM = serialization.Encoding.PEM


def contexts(address: str) -> Iterator[X509Context]:
    """What the Workload API at ``address`` (``unix:///PATH``) sends: everything at first, and again whenever something has changed.

    Never ends by itself. Raises Failure where there is no such socket, and when the API refuses or sends what is no SVID.
    """
    try:
        client = WorkloadApiClient(address)
    except ArgumentError as error:
        raise Failure(str(error), "name the agent's socket: --socket unix:///PATH", Exit.USAGE) from None
    arrived: SimpleQueue[X509Context | Exception] = SimpleQueue()
    watch = client.stream_x509_contexts(arrived.put, arrived.put)
    try:
        while True:
            context = arrived.get()
            if isinstance(context, Exception):
                raise Failure(f"the Workload API is of no use: {context}", "see the agent's log")
            yield context
    finally:
        watch.cancel()
        client.close()


def save(context: X509Context, wanted: Identity, directory: Path) -> datetime.datetime:
    """Put the SVID of ``wanted`` into ``directory``: ``ca.pem``, ``key.pem`` and ``cert.pem`` with its chain. Returns when it ends.

    Raises Failure, and leaves all as it was, where no such SVID is offered, or one without its key or an authority.
    """
    svid = next((svid for svid in context.x509_svids if str(svid.spiffe_id) == wanted.uri), None)
    if svid is None:
        offered = sorted(str(svid.spiffe_id) for svid in context.x509_svids)
        raise Failure(f"the Workload API offers no SVID for {wanted.uri}, but these:", "register this process for it", Exit.DENIED, offered)
    bundle = context.x509_bundle_set.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
    if bundle is None or not bundle.x509_authorities or svid.private_key.public_key() != svid.leaf.public_key():
        raise Failure(f"the SVID for {wanted.uri} has no authority or not its own key", "see the agent's log")
    authorities = sorted(authority.public_bytes(_PEM) for authority in bundle.x509_authorities)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    files.write(directory / "ca.pem", b"".join(authorities))
    write_pair(directory, _private_pem(svid), b"".join(certificate.public_bytes(_PEM) for certificate in svid.cert_chain))
    return svid.leaf.not_valid_after_utc


def _private_pem(svid: X509Svid) -> bytes:
    return svid.private_key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
