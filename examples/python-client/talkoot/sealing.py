"""What one node can read: HPKE (RFC 9180), as rules S80 and S81 use it.

DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and ChaCha20Poly1305, in base mode. One encapsulation serves
many bodies: both ends export a secret from it, and each body has a key of its own.
"""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Any

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .refusal import require

REPORT = b"talkoot/1/report"
PACKAGE = b"talkoot/1/package"

P = 2**255 - 19
"""The order of the field."""

SMALL_ORDER = frozenset(
    {
        0,
        1,
        P - 1,
        P,
        P + 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    }
)
"""Keys to which nothing can be sealed (S80)."""

_KEM = b"KEM" + bytes((0, 0x20))
_SUITE = b"HPKE" + bytes((0, 0x20, 0, 1, 0, 3))
_NONCE = bytes(12)


def has_small_order(key: bytes) -> bool:
    """Whether nothing can be sealed to ``key``."""
    return int.from_bytes(key, "little") % 2**255 in SMALL_ORDER


class DecryptionKey:
    """The secret half of an encryption key."""

    def __init__(self, seed: bytes) -> None:
        """``seed``: 32 random bytes."""
        self._key = X25519PrivateKey.from_private_bytes(seed)

    @property
    def public(self) -> bytes:
        """The 32 bytes that others seal to."""
        return _raw(self._key)

    def open(self, purpose: bytes, sealed: dict[str, Any], associated: bytes) -> bytes:
        """The plaintext of what was sealed to this key."""
        require(sealed["to"] == self.public, "S81", "it is sealed to another key")
        encapsulated = sealed["encapsulated"]
        try:
            point = self._key.exchange(X25519PublicKey.from_public_bytes(encapsulated))
            key = numbered(_export(point, encapsulated, self.public, purpose), sealed["number"])
            return ChaCha20Poly1305(key).decrypt(_NONCE, sealed["body"], associated)
        except (InvalidTag, ValueError):
            require(False, "S81", "what is sealed is not sound, or belongs elsewhere")
            raise


@dataclass
class Sealer:
    """Seals to one recipient, all of it under one encapsulation."""

    purpose: bytes
    to: bytes
    ephemeral: X25519PrivateKey
    count: int = 0

    @classmethod
    def begin(cls, purpose: bytes, to: bytes) -> "Sealer":
        """A sealer for the key ``to``."""
        return cls(purpose, to, X25519PrivateKey.generate())

    def seal(self, plaintext: bytes, associated: bytes) -> dict[str, Any]:
        """One more body."""
        encapsulated = _raw(self.ephemeral)
        point = self.ephemeral.exchange(X25519PublicKey.from_public_bytes(self.to))
        key = numbered(_export(point, encapsulated, self.to, self.purpose), self.count)
        body = ChaCha20Poly1305(key).encrypt(_NONCE, plaintext, associated)
        number = self.count
        self.count += 1
        return {"to": self.to, "encapsulated": encapsulated, "number": number, "body": body}


def numbered(secret: bytes, number: int) -> bytes:
    """One key of many that are made from ``secret``."""
    return blake3(number.to_bytes(4, "big"), key=secret).digest()


def _raw(key: X25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def _export(point: bytes, encapsulated: bytes, recipient: bytes, info: bytes) -> bytes:
    """What both ends have in common (RFC 9180 sections 4.1, 5.1 and 5.3)."""
    prk = _extract(_KEM, b"", b"eae_prk", point)
    shared = _expand(_KEM, prk, b"shared_secret", encapsulated + recipient)
    context = bytes(1) + _extract(_SUITE, b"", b"psk_id_hash", b"")
    context += _extract(_SUITE, b"", b"info_hash", info)
    secret = _extract(_SUITE, shared, b"secret", b"")
    return _expand(_SUITE, _expand(_SUITE, secret, b"exp", context), b"sec", b"")


def _extract(suite: bytes, salt: bytes, label: bytes, material: bytes) -> bytes:
    labelled = b"HPKE-v1" + suite + label + material
    return hmac.digest(salt or bytes(32), labelled, hashlib.sha256)


def _expand(suite: bytes, secret: bytes, label: bytes, info: bytes) -> bytes:
    """32 bytes, for which one block will do."""
    labelled = bytes((0, 32)) + b"HPKE-v1" + suite + label + info
    return hmac.digest(secret, labelled + bytes((1,)), hashlib.sha256)
