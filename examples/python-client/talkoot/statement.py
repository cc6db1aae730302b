"""Statements: read and checked, or made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import cbor, envelope, kinds
from .cbor import Item
from .ed25519 import SecretKey
from .envelope import Envelope
from .kinds import Kind, Payload
from .refusal import require

VERSION = 1
"""The version of every kind that this client reads and signs."""

SKEW_MS = 5 * kinds.MINUTE_MS

MAX_OWNERSHIP_BYTES = 4096
"""What a claim or a report may carry (S75, S92)."""


@dataclass(frozen=True)
class Statement:
    """A statement whose shape, signature and authority have been checked."""

    kind: Kind
    payload: Payload
    envelope: Envelope
    delegation: Statement | None = None
    """Why the signer may say this, if it speaks for a project (S7)."""

    @property
    def id(self) -> bytes:
        """The statement's name."""
        return self.envelope.id

    @property
    def signer(self) -> bytes:
        """Whose key signed it."""
        return self.envelope.header.signer

    def check_time(self, now: int) -> None:
        """Refuses what does not hold at ``now``, in milliseconds since 1970 (S8, S9)."""
        expires = self.payload["expires"]
        require(now < expires + SKEW_MS, "S8", f"expired at {expires}")
        latest = now + self.kind.longest_ms + SKEW_MS
        require(expires <= latest, "S9", f"expires at {expires}, later than {latest}")
        if self.delegation:
            self.delegation.check_time(now)


def read(data: bytes, kind: Kind) -> Statement:
    """Checks everything but time, where a statement of ``kind`` is expected."""
    return check(envelope.parse(data), kind)


def check(sealed: Envelope, kind: Kind) -> Statement:
    """Checks an envelope as a statement of ``kind``."""
    header = sealed.header
    require(header.kind == kind.number, "S4", f"kind {header.kind}, expected {kind.number}")
    version = f"version {header.version} of {kind.name}, which this client does not read"
    require(header.version == VERSION, "S4", version)
    payload = kind.shape(cbor.decode(sealed.payload), kind.name)
    kind.check(payload)
    require(sealed.is_genuine(), "S6", "the signature is not the signer's")
    return Statement(kind, payload, sealed, _check_signer(kind, payload, header.signer))


def _check_signer(kind: Kind, payload: Payload, signer: bytes) -> Statement | None:
    """Checks what the payload says of its signer; gives the delegation, if there is to be one."""
    if kind in (kinds.HOME, kinds.OFFER, kinds.RECEIPT):
        return _check_delegation(payload, signer)
    if kind is kinds.SUCCESSION:
        require(payload["successor"] != signer, "S73", "a key that follows itself")
    if kind is kinds.CLAIM and "ownership" in payload:
        check_ownership(payload["ownership"], signer, "S92")
    return None


def _check_delegation(payload: Payload, signer: bytes) -> Statement:
    delegation = check(payload["delegation"], kinds.DELEGATION)
    ours = delegation.signer == payload["project"]
    require(ours, "S7", "the delegation is another project's")
    require(delegation.payload["node"] == signer, "S7", "the delegation is to another key")
    outlived = payload["expires"] <= delegation.payload["expires"]
    require(outlived, "S7", "it outlives its delegation")
    return delegation


def check_ownership(sealed: Envelope, volunteer: bytes, rule: str) -> None:
    """Refuses by ``rule`` what does not vouch for ``volunteer``."""
    size = len(sealed.data)
    require(size <= MAX_OWNERSHIP_BYTES, rule, f"an ownership of {size} bytes")
    ownership = check(sealed, kinds.OWNERSHIP)
    require(volunteer in ownership.payload["nodes"], rule, "an ownership of others")


def sign(kind: Kind, payload: dict[str, Item], key: SecretKey) -> bytes:
    """Signs one payload alone."""
    return _taken(envelope.seal_alone(kind.number, VERSION, cbor.encode(payload), key), kind)


def sign_batch(kind: Kind, payloads: Sequence[dict[str, Item]], key: SecretKey) -> list[bytes]:
    """Signs payloads of one kind with one signature."""
    encoded = [cbor.encode(payload) for payload in payloads]
    sealed = envelope.seal_batch(kind.number, VERSION, encoded, key)
    return [_taken(data, kind) for data in sealed]


def _taken(data: bytes, kind: Kind) -> bytes:
    """``data``, which others would take: nothing else is to leave this client."""
    read(data, kind)
    return data
