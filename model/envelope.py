"""The envelope around a value: ChaCha20-Poly1305 under a key that is used for this one value only.

The coordinator draws a fresh key and nonce for every version of every secret, seals the value, splits the key and forgets it. As a
key seals once, nonces cannot repeat under it. The AEAD is that of RFC 8439, section 2.8: no table is looked up by a secret, so it runs in
constant time on every processor, and on small values it costs half of what AES-GCM does here.

``context`` is authenticated and not stored: what it binds (namespace, name, version and so on) is the caller's decision, and an
envelope opens only under the very same bytes. Lengths are not hidden: an envelope is exactly 28 bytes longer than its value.

This is the only module that imports the AEAD. Keys, nonces and contexts are arguments; nothing here is random.
"""

from __future__ import annotations

from Crypto.Cipher import ChaCha20_Poly1305

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16


class EnvelopeError(ValueError):
    """Not authentic, or a parameter of wrong length. The text never tells which byte was wrong, nor any byte at all."""


def seal(key: bytes, nonce: bytes, value: bytes, context: bytes) -> bytes:
    """Encrypt ``value`` (of any length, empty too) under ``key`` and bind it to ``context``: nonce || ciphertext || tag.

    ``key`` is 32 bytes and must never seal a second value, ``nonce`` is 12. Raises EnvelopeError for other lengths.
    """
    if len(key) != KEY_BYTES:
        raise EnvelopeError(f"a key has {KEY_BYTES} bytes, got {len(key)}")
    if len(nonce) != NONCE_BYTES:
        raise EnvelopeError(f"a nonce has {NONCE_BYTES} bytes, got {len(nonce)}")
    cipher = ChaCha20_Poly1305.new(key=key, nonce=nonce)
    cipher.update(context)
    ciphertext, tag = cipher.encrypt_and_digest(value)
    return nonce + ciphertext + tag


def open_sealed(key: bytes, sealed: bytes, context: bytes) -> bytes:
    """The value that ``seal`` put into ``sealed``, provided that key and ``context`` are those it was sealed under.

    Raises EnvelopeError for everything that is not authentic, without telling why, and for a key that is not 32 bytes long.
    """
    if len(key) != KEY_BYTES:
        raise EnvelopeError(f"a key has {KEY_BYTES} bytes, got {len(key)}")
    if len(sealed) < NONCE_BYTES + TAG_BYTES:
        raise EnvelopeError("the envelope is not authentic")
    cipher = ChaCha20_Poly1305.new(key=key, nonce=sealed[:NONCE_BYTES])
    cipher.update(context)
    try:
        return cipher.decrypt_and_verify(sealed[NONCE_BYTES:-TAG_BYTES], sealed[-TAG_BYTES:])
    except ValueError:
        raise EnvelopeError("the envelope is not authentic") from None
