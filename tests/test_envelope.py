"""The envelope: the published vector, a second implementation, and everything that must not open."""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from model.envelope import KEY_BYTES, NONCE_BYTES, TAG_BYTES, EnvelopeError, open_sealed, seal

keys = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)
nonces = st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES)

# RFC 8439, section 2.8.2.
KEY = "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"
NONCE = "070000004041424344454647"
TEXT = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it."
CONTEXT = "50515253c0c1c2c3c4c5c6c7"
CIPHER = (
    "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b"
    "1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b6116"
)
TAG = "1ae10b594f09e26a7e902ecbd0600691"


def test_the_published_vector_of_chacha20_poly1305_holds() -> None:
    sealed = seal(bytes.fromhex(KEY), bytes.fromhex(NONCE), TEXT, bytes.fromhex(CONTEXT))
    assert sealed.hex() == NONCE + CIPHER + TAG
    assert open_sealed(bytes.fromhex(KEY), sealed, bytes.fromhex(CONTEXT)) == TEXT


@given(keys, nonces, st.binary(max_size=300), st.binary(max_size=300))
def test_a_second_implementation_seals_the_same_bytes(key: bytes, nonce: bytes, value: bytes, context: bytes) -> None:
    sealed = seal(key, nonce, value, context)
    assert sealed == nonce + ChaCha20Poly1305(key).encrypt(nonce, value, context)
    assert len(sealed) == NONCE_BYTES + len(value) + TAG_BYTES
    assert open_sealed(key, sealed, context) == value


def test_a_value_of_a_mebibyte_comes_back() -> None:
    value = bytes(range(256)) * 4096
    assert open_sealed(b"k" * 32, seal(b"k" * 32, b"n" * 12, value, b"c"), b"c") == value


def test_every_single_changed_bit_is_noticed() -> None:
    sealed = seal(b"k" * 32, b"n" * 12, b"value", b"context")
    for bit in range(8 * len(sealed)):
        changed = (int.from_bytes(sealed) ^ (1 << bit)).to_bytes(len(sealed))
        with pytest.raises(EnvelopeError, match="not authentic"):
            open_sealed(b"k" * 32, changed, b"context")


def test_no_part_of_an_envelope_opens() -> None:
    sealed = seal(b"k" * 32, b"n" * 12, b"value", b"context")
    for length in range(len(sealed)):
        with pytest.raises(EnvelopeError, match="not authentic"):
            open_sealed(b"k" * 32, sealed[:length], b"context")
    with pytest.raises(EnvelopeError, match="not authentic"):
        open_sealed(b"k" * 32, sealed + b"\0", b"context")


@given(st.binary(max_size=8), st.binary(max_size=8))
def test_an_envelope_opens_under_its_own_context_only(context: bytes, other: bytes) -> None:
    sealed = seal(b"k" * 32, b"n" * 12, b"value", context)
    if context == other:
        assert open_sealed(b"k" * 32, sealed, other) == b"value"
    else:
        with pytest.raises(EnvelopeError, match="not authentic"):
            open_sealed(b"k" * 32, sealed, other)


def test_an_envelope_opens_under_its_own_key_only() -> None:
    with pytest.raises(EnvelopeError, match="not authentic") as caught:
        open_sealed(b"K" * 32, seal(b"k" * 32, b"n" * 12, b"value", b""), b"")
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("key", [b"", b"k" * 16, b"k" * 24, b"k" * 31, b"k" * 33])
def test_keys_of_other_lengths_are_refused(key: bytes) -> None:
    with pytest.raises(EnvelopeError, match="a key has 32 bytes"):
        seal(key, b"n" * 12, b"", b"")
    with pytest.raises(EnvelopeError, match="a key has 32 bytes"):
        open_sealed(key, bytes(28), b"")


@pytest.mark.parametrize("nonce", [b"", b"n" * 11, b"n" * 13, b"n" * 16])
def test_nonces_of_other_lengths_are_refused(nonce: bytes) -> None:
    with pytest.raises(EnvelopeError, match="a nonce has 12 bytes"):
        seal(b"k" * 32, nonce, b"", b"")
