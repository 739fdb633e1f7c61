"""SPIFFE IDs: who a certificate says that its holder is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.identity import MAX_URI_BYTES, Identity, IdentityError, Role, only_identity, parse

segments = st.from_regex(r"[A-Za-z0-9._-]{1,12}", fullmatch=True).filter(lambda segment: segment not in {".", ".."})
trust_domains = st.from_regex(r"[a-z0-9._-]{1,30}", fullmatch=True)
client_ids = st.lists(segments, min_size=1, max_size=4).map("/".join)


@given(trust_domains, st.sampled_from(Role), client_ids, segments)
def test_an_identity_written_and_read_is_the_same(trust_domain: str, role: Role, client_id: str, other_id: str) -> None:
    identity = Identity(trust_domain, role, client_id if role is Role.CLIENT else other_id)
    assert parse(identity.uri) == identity
    assert only_identity([identity.uri], trust_domain) == identity


@pytest.mark.parametrize(
    ("uri", "identity"),
    [
        ("spiffe://kofn.local/node/node-1", Identity("kofn.local", Role.NODE, "node-1")),
        ("spiffe://kofn.local/gateway/gateway-1", Identity("kofn.local", Role.GATEWAY, "gateway-1")),
        ("spiffe://kofn.local/client/app", Identity("kofn.local", Role.CLIENT, "app")),
        ("spiffe://kofn.local/client/ns/prod/sa/App.1_x", Identity("kofn.local", Role.CLIENT, "ns/prod/sa/App.1_x")),
        ("spiffe://" + "d" * 255 + "/node/n", Identity("d" * 255, Role.NODE, "n")),
    ],
)
def test_identities_that_are_read(uri: str, identity: Identity) -> None:
    assert parse(uri) == identity
    assert identity.uri == uri


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "spiffe:",
        "spiffe://",
        "spiffe://kofn.local",
        "spiffe://kofn.local/",
        "spiffe://kofn.local/node",
        "spiffe://kofn.local/node/",
        "spiffe://kofn.local//node-1",
        "spiffe://kofn.local/node//node-1",
        "spiffe://kofn.local/node/node-1/",
        "spiffe://kofn.local/node/node-1/more",
        "spiffe://kofn.local/gateway/a/b",
        "spiffe://kofn.local/client/a//b",
        "spiffe://kofn.local/client/a/",
        "spiffe://kofn.local/client/.",
        "spiffe://kofn.local/client/..",
        "spiffe://kofn.local/client/a/../b",
        "spiffe://kofn.local/admin/a",
        "spiffe://kofn.local/Node/node-1",
        "spiffe://kofn.local/node/node-1?role=gateway",
        "spiffe://kofn.local/node/node-1#x",
        "spiffe://kofn.local/node/node%2d1",
        "spiffe://kofn.local/node/node 1",
        "spiffe://kofn.local/node/node-1\n",
        "spiffe://kofn.local\n/node/node-1",
        "spiffe://kofn.local/node/n\u00f6de",
        "spiffe://kofn.local/node/node-1\0",
        "spiffe://Kofn.local/node/node-1",
        "spiffe://kofn.local:8443/node/node-1",
        "spiffe://user@kofn.local/node/node-1",
        "spiffe://[::1]/node/node-1",
        "spiffe:///node/node-1",
        "spiffe:/kofn.local/node/node-1",
        "SPIFFE://kofn.local/node/node-1",
        "https://kofn.local/node/node-1",
        " spiffe://kofn.local/node/node-1",
        "spiffe://" + "d" * 256 + "/node/n",
        "spiffe://kofn.local/client/" + "x" * MAX_URI_BYTES,
    ],
)
def test_texts_that_are_no_identity_are_refused(uri: str) -> None:
    with pytest.raises(IdentityError):
        parse(uri)


def test_an_identity_is_at_most_2048_bytes() -> None:
    room = MAX_URI_BYTES - len("spiffe://kofn.local/client/")
    assert len(Identity("kofn.local", Role.CLIENT, "x" * room).uri) == MAX_URI_BYTES
    with pytest.raises(IdentityError, match="2048"):
        Identity("kofn.local", Role.CLIENT, "x" * (room + 1))


@pytest.mark.parametrize(
    ("trust_domain", "role", "name"),
    [("", Role.NODE, "n"), ("Kofn", Role.NODE, "n"), ("kofn", Role.NODE, ""), ("kofn", Role.NODE, "a/b"), ("kofn", Role.CLIENT, "a//b")],
)
def test_an_identity_cannot_be_made_of_parts_that_break_the_grammar(trust_domain: str, role: Role, name: str) -> None:
    with pytest.raises(IdentityError):
        Identity(trust_domain, role, name)


@given(st.text() | st.text().map(lambda text: "spiffe://" + text) | st.text().map(lambda text: "spiffe://kofn/client/" + text))
def test_every_text_is_an_identity_that_reads_back_or_refused(uri: str) -> None:
    try:
        identity = parse(uri)
    except IdentityError:
        return
    assert identity.uri == uri


@pytest.mark.parametrize(
    ("uri_sans", "message"),
    [
        ([], "exactly one URI SAN, this one has 0"),
        (["spiffe://kofn.local/node/node-1"] * 2, "exactly one URI SAN, this one has 2"),
        (["spiffe://kofn.local/node/node-1", "https://kofn.local"], "exactly one URI SAN, this one has 2"),
        (["https://kofn.local"], "begins with spiffe://"),
        (["spiffe://other.local/node/node-1"], "another trust domain"),
        (["spiffe://kofn.local.evil/node/node-1"], "another trust domain"),
    ],
)
def test_a_certificate_must_name_exactly_one_principal_of_this_trust_domain(uri_sans: list[str], message: str) -> None:
    with pytest.raises(IdentityError, match=message):
        only_identity(uri_sans, "kofn.local")


def test_identities_can_be_compared_and_kept_in_sets() -> None:
    assert len({parse("spiffe://a/node/n"), parse("spiffe://a/node/n"), parse("spiffe://a/gateway/n")}) == 2
