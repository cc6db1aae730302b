"""Ed25519 (RFC 8032) as strictly as rule S6 wants it.

The library checks that S is below the group order, and compares R byte for byte, without a
cofactor. It takes keys and R of small order, which are refused here.
"""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

KEY_BYTES = 32
SIGNATURE_BYTES = 64

P = 2**255 - 19
"""The order of the field."""

_OF_ORDER_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7

SMALL_ORDER_Y = frozenset({0, 1, P - 1, _OF_ORDER_8, P - _OF_ORDER_8})
"""The y of the eight points whose order divides 8."""


class SecretKey:
    """A key that signs."""

    def __init__(self, seed: bytes) -> None:
        """``seed``: 32 random bytes."""
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    @property
    def public(self) -> bytes:
        """The 32 bytes of the public key."""
        return self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of a signature."""
        return self._key.sign(message)


def is_genuine(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether ``public`` made ``signature`` over ``message``."""
    if has_small_order(public) or has_small_order(signature[:32]):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def has_small_order(point: bytes) -> bool:
    """Whether the encoded ``point`` is one of eight; the sign of x makes no difference."""
    y = int.from_bytes(point, "little") % 2**255
    return y % P in SMALL_ORDER_Y
