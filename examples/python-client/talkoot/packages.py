"""Packages, also those that only some volunteers can read (S85, S86)."""

from . import blobs, cbor
from .refusal import require
from .sealing import PACKAGE, DecryptionKey
from .statement import Statement


def key_of(offer: Statement, volunteer: bytes, key: DecryptionKey) -> bytes | None:
    """The key of the package of ``offer``, which has none unless it is private."""
    payload = offer.payload
    if "private" not in payload:
        return None
    recipients = {it["volunteer"]: it["key"] for it in payload["private"]["recipients"]}
    require(volunteer in recipients, "S85", "its package is for others")
    associated = cbor.encode([payload["project"], payload["package"]["hash"], volunteer])
    return key.open(PACKAGE, recipients[volunteer], associated)


def read(offer: Statement, blob: bytes, volunteer: bytes, key: DecryptionKey) -> bytes:
    """The tar archive in ``blob``."""
    found = key_of(offer, volunteer, key)
    if found is None:
        return blob
    return blobs.decrypt(blob, found, 0, offer.payload["private"]["size"])
