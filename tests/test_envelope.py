"""The envelope: published vectors, a second implementation, and everything that must not open."""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from model.envelope import KEY_BYTES, NONCE_BYTES, TAG_BYTES, EnvelopeError, open_sealed, seal

keys = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)
nonces = st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES)

# McGrew and Viega, "The Galois/Counter Mode of Operation (GCM)", submission to NIST, appendix B, test cases 13 to 16 (AES-256).
K = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"
TEXT = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
CIPHER = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
VECTORS = [
    ("00" * 32, "00" * 12, "", "", "", "530f8afbc74536b9a963b4f1c4cb738b"),
    ("00" * 32, "00" * 12, "00" * 16, "", "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919"),
    (K, "cafebabefacedbaddecaf888", TEXT, "", CIPHER, "b094dac5d93471bdec1a502270e3cc6c"),
    (
        K,
        "cafebabefacedbaddecaf888",
        TEXT[:120],
        "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        CIPHER[:120],
        "76fc6ece0f4e1768cddf8853bb2d551b",
    ),
]


@pytest.mark.parametrize(("key", "nonce", "value", "context", "ciphertext", "tag"), VECTORS)
def test_the_published_vectors_of_aes_256_gcm_hold(key: str, nonce: str, value: str, context: str, ciphertext: str, tag: str) -> None:
    sealed = seal(bytes.fromhex(key), bytes.fromhex(nonce), bytes.fromhex(value), bytes.fromhex(context))
    assert sealed.hex() == nonce + ciphertext + tag
    assert open_sealed(bytes.fromhex(key), sealed, bytes.fromhex(context)).hex() == value


@given(keys, nonces, st.binary(max_size=300), st.binary(max_size=300))
def test_a_second_implementation_seals_the_same_bytes(key: bytes, nonce: bytes, value: bytes, context: bytes) -> None:
    sealed = seal(key, nonce, value, context)
    assert sealed == nonce + AESGCM(key).encrypt(nonce, value, context)
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
def test_shorter_aes_keys_and_other_lengths_are_refused(key: bytes) -> None:
    with pytest.raises(EnvelopeError, match="a key has 32 bytes"):
        seal(key, b"n" * 12, b"", b"")
    with pytest.raises(EnvelopeError, match="a key has 32 bytes"):
        open_sealed(key, bytes(28), b"")


@pytest.mark.parametrize("nonce", [b"", b"n" * 11, b"n" * 13, b"n" * 16])
def test_nonces_of_other_lengths_are_refused(nonce: bytes) -> None:
    with pytest.raises(EnvelopeError, match="a nonce has 12 bytes"):
        seal(b"k" * 32, nonce, b"", b"")
